"""Spaces: the vectors that one exact way of embedding made, by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError, StoreCorruptError
from embedstore.store.files import StorePath, directories, is_file
from embedstore.store.keys import KeyTable, as_digests
from embedstore.store.layout import (
    BUILDS,
    NAMESPACE,
    PARTS,
    RECORD,
    SKIPPED,
    SPACES,
    create_exclusive,
    ensure_group,
    ensure_store,
    make_directory,
    to_json,
    translate_write_errors,
    utc_now,
)
from embedstore.store.manifest import REPAIR, checksummed_group, read_record, space_id
from embedstore.store.parts import KeyedParts, Part, committed_parts, has_parts
from embedstore.store.row_reader import RowReader
from embedstore.types import DIGEST_BYTES, RESIDUES, Digests, Vectors

_BLOCK_ROWS = 1 << 16

FLAG_UNKNOWN_RESIDUE = 1
"""Bit of ``flags``: the model has no token for a residue of this sequence."""

FLAG_WINDOWED = 2
"""Bit of ``flags``: the protein was longer than one pass, and was embedded in overlapping windows."""

FLAG_TRUNCATED = 4
"""Bit of ``flags``: the vector is over the first residues alone."""

IMPORTED = "import"
"""The ``origin`` of a space whose vectors were read from another tool's file; one that was built here has none."""


class SpaceBase:
    """What every space is: an identity, and keys that have something in it.

    Attributes
    ----------
    id
        ``<model>-<short hash of the identity>``.
    identity
        All that decides the bits of a vector: model, weights' sha256, layer, pooling, dtype, policies.
    dim
        D, the length of a vector.
    path
        Its directory in a store, or None: a space of which nothing is stored here, whose vectors can only be made.
    """

    values: ClassVar[str]
    """Name of the array that holds what the space is for."""

    def __init__(self, identity: Mapping[str, Any], *, path: StorePath | None = None) -> None:
        self.identity: dict[str, Any] = dict(identity)
        self.id = space_id(self.identity)
        self.dim = int(self.identity["dim"])
        self.path = path
        self._rows = KeyedParts([] if path is None else committed_parts(path / PARTS))

    @property
    def parts(self) -> list[Part]:
        """The committed parts, oldest first."""
        return self._rows.parts

    @property
    def n_rows(self) -> int:
        """Number of proteins, one a distinct sequence."""
        return self._rows.n_distinct

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.identity["model"])

    @property
    def pooling(self) -> str:
        """How residue vectors became one, or ``residues`` where they did not."""
        return str(self.identity["pooling"])

    @property
    def is_imported(self) -> bool:
        """Whether another tool made the vectors: the model is then what a person stated, or unknown."""
        return self.identity.get("origin") == IMPORTED

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type as stored."""
        return np.dtype(str(self.identity["dtype"]))

    @property
    def digests(self) -> Digests:
        """Keys, (N, 24) uint8."""
        return self._rows.digests

    @property
    def skipped(self) -> dict[bytes, str]:
        """Reason by key of every sequence that was tried and has no vector."""
        reasons: dict[bytes, str] = {}
        for part in committed_parts(self.path / SKIPPED / PARTS) if self.path else []:
            texts = part.texts("reasons")
            for digest, reason in zip(part.array("digests").read(), texts, strict=True):
                reasons[digest.tobytes()] = reason.decode()
        if not reasons:
            return {}
        # A table of the few that were skipped, and not of all keys: memory must not grow with the space.
        wanted = as_digests(list(reasons))
        table = KeyTable(lambda rows: wanted[rows])
        table.extend(wanted)
        for part in self.parts:
            for start in range(0, part.n_rows, _BLOCK_ROWS):
                found = table.find(part.array("digests").read(start, start + _BLOCK_ROWS))
                for row in np.unique(found[found >= 0]).tolist():
                    reasons.pop(wanted[row].tobytes(), None)
        return reasons

    @property
    def builds(self) -> list[dict[str, Any]]:
        """The ledger of each finished build, oldest first."""
        return [part.details for part in committed_parts(self.path / BUILDS)] if self.path else []

    def describe(self) -> dict[str, Any]:
        """What is known of the space, as JSON takes it: provenance, sizes, and the reasons for what is missing."""
        reasons: dict[str, int] = {}
        for reason in self.skipped.values():
            reasons[reason] = reasons.get(reason, 0) + 1
        return {
            "id": self.id,
            **self.identity,
            "n_vectors": self.n_rows,
            "n_skipped": len(self.skipped),
            "skipped": [f"{count:,} x {reason}" for reason, count in reasons.items()],
            "n_parts": len(self.parts),
            "n_bytes": sum(file["bytes"] for part in self.parts for file in part.details["files"].values()),
            "n_builds": len(self.builds),
        }

    def find(self, digests: Digests) -> NDArray[np.int64]:
        """Row of each key, (n,) int64; -1 where the space has nothing for it."""
        return self._rows.find(digests)


class Space(SpaceBase):
    """One vector a protein, of one model, layer, pooling, precision and residue policy, read by key."""

    values = "vectors"

    def take(self, digests: Digests) -> Vectors:
        """Vectors of these keys, (n, D) in the stored dtype; StoreError names keys that have none."""
        rows = self._rows.require(digests, what=f"vector in space {self.id}")
        return self._rows.gather("vectors", rows) if len(rows) else np.empty((0, self.dim), self.dtype)

    @property
    def row_starts(self) -> NDArray[np.int64]:
        """(P + 1,) int64: number of the first row of each part, and of all rows, second copies of a key included."""
        return self._rows.starts

    def first_of_key(self, index: int) -> NDArray[np.bool_]:
        """Whether each row of a part, by its index in `parts`, is the first of its key, (n,) bool."""
        return self._rows.first_of_key(index)

    def take_rows(self, rows: NDArray[np.int64]) -> Vectors:
        """Vectors of rows by number, (n, D) in the stored dtype."""
        return self._reader("vectors").take(rows)

    def keys_of_rows(self, rows: NDArray[np.int64]) -> Digests:
        """Keys of rows by number, (n, 24)."""
        return self._reader("digests").take(rows)

    def _reader(self, array: str) -> RowReader:
        if array not in self._readers:
            shape = {"vectors": (self.dim,), "digests": (DIGEST_BYTES,)}[array]
            dtype = self.dtype if array == "vectors" else np.dtype(np.uint8)
            self._readers[array] = RowReader(self._rows, array, shape, dtype)
        return self._readers[array]

    @cached_property
    def _readers(self) -> dict[str, RowReader]:
        return {}

    def blocks(self, block_rows: int = 8192) -> Iterator[tuple[Digests, Vectors]]:
        """Stream all vectors as ``(keys (n, 24), vectors (n, D))`` in row order, each key once."""
        return self._rows.blocks("vectors", block_rows)


class ResidueSpace(SpaceBase):
    """One matrix (L, D) a protein, a row a residue; ragged: a part holds them end to end, with N + 1 offsets."""

    values = "residues"

    def matrix(self, digest: bytes, start: int = 0, stop: int | None = None) -> Vectors:
        """Residues ``start`` to ``stop`` of one protein, (stop - start, D) in the stored dtype; reads no others.

        Raises
        ------
        StoreError
            If the space has no matrix for this key; it is named.
        InputError
            If the protein has no such residues.
        """
        owners, starts, lengths = self._locate(as_digests([digest]))
        part, first, length = self.parts[int(owners[0])], int(starts[0]), int(lengths[0])
        last = length if stop is None else stop
        if not 0 <= start <= last <= length:
            raise InputError(f"Residues {start} to {stop} were asked of a protein that has {length}.")
        rows: Vectors = part.array("residues").read(first + start, first + last)
        return rows

    def take(self, digests: Digests) -> list[Vectors]:
        """Matrices of these keys, each (L, D) in the stored dtype; StoreError names keys that have none."""
        owners, starts, lengths = self._locate(digests)
        out: list[Vectors] = [np.empty((0, self.dim), self.dtype)] * len(digests)
        for index in np.unique(owners):
            where = np.flatnonzero(owners == index)
            stops = starts[where] + lengths[where]
            for row, matrix in zip(
                where, self.parts[index].array("residues").ranges(starts[where], stops), strict=True
            ):
                out[row] = matrix
        return out

    def lengths(self, digests: Digests) -> NDArray[np.int64]:
        """Number of residues of each of these keys, (n,) int64; StoreError names keys that have none."""
        return self._locate(digests)[2]

    def take_residues(self, digests: Digests, owners: NDArray[np.int64], positions: NDArray[np.int64]) -> Vectors:
        """Single residues of proteins, (n, D) in the stored dtype.

        Parameters
        ----------
        digests
            (P, 24) uint8: keys of the proteins.
        owners
            (n,) int64: which of the keys each residue belongs to.
        positions
            (n,) int64: its place in that protein, from 0.
        """
        parts, starts, _ = self._locate(digests)
        out = np.empty((len(owners), self.dim), self.dtype)
        for index in np.unique(parts):
            where = np.flatnonzero(parts[owners] == index)
            out[where] = self.parts[index].array("residues").take(starts[owners[where]] + positions[where])
        return out

    def blocks(self, block_residues: int = 65536) -> Iterator[tuple[Digests, list[Vectors]]]:
        """Stream all matrices as ``(keys (n, 24), [(L, D), …])``, each key once.

        A block holds whole proteins, together about ``block_residues`` residues and at least one protein.
        """
        for index, part in enumerate(self.parts):
            digests, offsets = part.array("digests").read(), part.array("residues_offsets").read()
            wanted = self._rows.first_of_key(index)
            start = 0
            while start < part.n_rows:
                stop = int(np.searchsorted(offsets, offsets[start] + block_residues, side="right")) - 1
                stop = min(max(stop, start + 1), part.n_rows)
                rows = part.array("residues").read(int(offsets[start]), int(offsets[stop]))
                cuts = (offsets[start + 1 : stop] - offsets[start]).tolist()
                kept = wanted[start:stop]
                matrices = [matrix for matrix, keep in zip(np.split(rows, cuts), kept, strict=True) if keep]
                if matrices:
                    yield digests[start:stop][kept], matrices
                start = stop

    def _locate(self, digests: Digests) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Index of the part, first row and number of rows of each matrix, (n,) int64 each."""
        numbers = self._rows.require(digests, what=f"residue vectors in space {self.id}")
        return self._rows.stretches("residues", numbers)


def open_space(directory: StorePath) -> Space | ResidueSpace:
    """The space in a directory of a store.

    Raises
    ------
    StoreCorruptError
        If its description was changed, or is not that of this directory.
    """
    identity = read_record(directory)["attributes"][NAMESPACE].get("identity")
    if identity is None:
        raise StoreCorruptError(f"{directory / RECORD} is not the description of a space. {REPAIR}")
    space = make_space(identity, path=directory)
    if space.id != directory.name:
        raise StoreCorruptError(f"Space {space.id} stands in a directory called {directory.name}. Rename it back.")
    return space


def make_space(identity: Mapping[str, Any], *, path: StorePath | None = None) -> Space | ResidueSpace:
    """The space of an identity: of matrices where its pooling is ``residues``, else of vectors."""
    kind = ResidueSpace if identity["pooling"] == RESIDUES else Space
    return kind(identity, path=path)


def create_space(store: StorePath, identity: dict[str, Any]) -> Space | ResidueSpace:
    """The space of this identity, described if it is not there; it counts once something is committed into it."""
    ensure_store(store)
    path = store / SPACES / space_id(identity)
    ensure_group(path.parent)
    with translate_write_errors(path):
        make_directory(path)
    create_exclusive(path / RECORD, to_json(checksummed_group({"identity": identity, "created": utc_now()})))
    for folder in (PARTS, SKIPPED, f"{SKIPPED}/{PARTS}", BUILDS):
        ensure_group(path / folder)
    return open_space(path)


def space_names(directory: StorePath) -> list[str]:
    """Ids of the spaces in alphabetical order; one into which nothing was ever committed does not count."""
    kept = (PARTS, f"{SKIPPED}/{PARTS}", BUILDS)
    spaces = [path for path in directories(directory) if is_file(path / RECORD)]
    return [path.name for path in spaces if any(has_parts(path / folder) for folder in kept)]
