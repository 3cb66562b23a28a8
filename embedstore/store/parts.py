"""Reads committed parts: one part, and the rows of many parts under one numbering."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import StoreCorruptError, StoreError
from embedstore.sequences import key_text
from embedstore.store import object_store
from embedstore.store.files import StorePath, directories, is_file
from embedstore.store.keys import KeyTable
from embedstore.store.layout import DATASETS, NAMESPACE, RECORD, REMOVALS, SKIPPED
from embedstore.store.manifest import REPAIR, read_record
from embedstore.store.zarr_shards.reader import ShardedArray
from embedstore.types import DIGEST_BYTES, Digests


class Part:
    """One committed part; its arrays by name.

    Parameters
    ----------
    path
        Its directory.
    payload
        Its commit record, if it was read already.
    """

    def __init__(self, path: StorePath, payload: bytes | None = None) -> None:
        self.path = path
        record = read_record(path, payload)
        self.details: dict[str, Any] = record["attributes"][NAMESPACE]
        if "place" not in self.details:
            raise StoreCorruptError(f"{path / RECORD} is not the record of a part. {REPAIR}")
        if not path.absolute().as_posix().endswith(f"/{self.details['place']}"):
            raise StoreCorruptError(f"{path} was moved there from {self.details['place']}. Move it back.")
        self.n_rows = int(self.details["n_rows"])
        self._metadata: dict[str, Any] = record["consolidated_metadata"]["metadata"]
        self._arrays: dict[str, ShardedArray] = {}

    @property
    def name(self) -> str:
        """Name of the part."""
        return self.path.name

    @property
    def n_bytes(self) -> int:
        """Bytes of its files, by its record."""
        return sum(file["bytes"] for file in self.details["files"].values())

    @property
    def array_names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._metadata)

    def array(self, name: str) -> ShardedArray:
        """The array ``name``."""
        if name not in self._arrays:
            self._arrays[name] = ShardedArray(self.path / name, self._metadata[name])
        return self._arrays[name]

    def texts(self, name: str) -> list[bytes]:
        """All texts of a column."""
        offsets = self.array(f"{name}_offsets").read().tolist()
        data = self.array(name).read().tobytes()
        return [data[start:stop] for start, stop in pairwise(offsets)]


def recorded_paths(directory: StorePath) -> list[StorePath]:
    """Directories of all parts with a record, in order of their names, whatever order the file system lists them in."""
    return [path for path, _ in _recorded(directory)]


def committed_paths(directory: StorePath) -> list[StorePath]:
    """Directories of the parts with a record that were not removed, in order of their names."""
    hidden = _hidden_names(directory)
    return [path for path in recorded_paths(directory) if path.name not in hidden]


def has_parts(directory: StorePath) -> bool:
    """Whether any part in a directory has a record and was not removed, found without reading all of them."""
    hidden = _hidden_names(directory)
    return any(path.name not in hidden and is_file(path / RECORD) for path in directories(directory))


def committed_parts(directory: StorePath) -> list[Part]:
    """Parts with a record that were not removed and that no other replaces, in order of their names."""
    parts, removed = _read_parts(directory)
    # What was made from something that was removed meanwhile is removed with it.
    kept = [part for part in parts if not removed.intersection([part.name, *part.details["replaces"]])]
    replaced = {name for part in kept for name in part.details["replaces"]}
    return [part for part in kept if part.name not in replaced]


def _recorded(directory: StorePath) -> list[tuple[StorePath, bytes | None]]:
    """Each part with a record, and that record where it had to be read to know so."""
    if isinstance(directory, Path):
        return [(path, None) for path in directories(directory) if (path / RECORD).is_file()]
    paths = object_store.directories(directory)
    records = object_store.read_many([path / RECORD for path in paths])
    return [(path, record) for path, record in zip(paths, records, strict=True) if record is not None]


def _read_parts(directory: StorePath) -> tuple[list[Part], frozenset[str]]:
    while True:
        removed, parts = removed_names(directory), []
        for path, record in _recorded(directory):
            try:
                parts.append(Part(path, record))
            except StoreCorruptError:
                if is_file(path / RECORD):
                    raise
                # Another process removed it since it was listed; what replaces it is there.
                break
        else:
            return parts, removed


def removals_directory(directory: StorePath) -> StorePath:
    """Where it stands that parts of this directory were removed: one place for a data set, one for all of a space."""
    owner = directory.parent
    # A data set may be called "skipped" too.
    is_skipped = owner.name == SKIPPED and owner.parent.name != DATASETS
    return (owner.parent if is_skipped else owner) / REMOVALS


def removed_names(directory: StorePath) -> frozenset[str]:
    """Names of the parts in this directory that were removed, whether or not their files are still there."""
    removals = _recorded(removals_directory(directory))
    return frozenset(name for path, record in removals for name in Part(path, record).details["removed"])


def _hidden_names(directory: StorePath) -> frozenset[str]:
    try:
        return removed_names(directory)
    except StoreCorruptError:
        # A record that is damaged must not hide the others: all is listed, and an error for whoever opens it.
        return frozenset()


class KeyedParts:
    """Rows of several parts, numbered in part order, found by key.

    Attributes
    ----------
    parts
        The parts, in order of their names.
    starts
        (P + 1,) int64: number of the first row of each part, and the total.
    """

    def __init__(self, parts: list[Part]) -> None:
        self.parts = parts
        self.starts = np.concatenate([[0], np.cumsum([part.n_rows for part in parts])]).astype(np.int64)
        self._table: KeyTable | None = None

    @property
    def n_rows(self) -> int:
        """Rows of all parts, a key that stands in several counted each time."""
        return int(self.starts[-1])

    @property
    def n_distinct(self) -> int:
        """Distinct keys."""
        return self.n_rows if self._first is None else int(self._first.sum())

    @property
    def digests(self) -> Digests:
        """Distinct keys, (N, 24) uint8, in row order."""
        if not self.parts:
            return np.empty((0, DIGEST_BYTES), np.uint8)
        digests: Digests = np.concatenate([part.array("digests").read() for part in self.parts])
        return digests if self._first is None else digests[self._first]

    @cached_property
    def _first(self) -> NDArray[np.bool_] | None:
        """Whether a row is the first of its key; None where all are, as in one part and as a rule."""
        if len(self.parts) < 2:
            return None
        found = [self.find(part.array("digests").read()) for part in self.parts]
        first: NDArray[np.bool_] = np.concatenate(found) == np.arange(self.n_rows)
        return None if first.all() else first

    def find(self, digests: Digests) -> NDArray[np.int64]:
        """Row of each key, (n,) int64; -1 where there is none."""
        if self._table is None:
            table = KeyTable(lambda rows: self.gather("digests", rows))
            for part in self.parts:
                table.extend(part.array("digests").read())
            self._table = table
        return self._table.find(digests)

    def require(self, digests: Digests, *, what: str) -> NDArray[np.int64]:
        """Row of each key.

        Raises
        ------
        StoreError
            If a key is not there; names the first ones.
        """
        rows = self.find(digests)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            named = ", ".join(key_text(digests[row].tobytes()) for row in missing[:3])
            raise StoreError(f"{len(missing):,} of {len(rows):,} keys have no {what}, among them {named}.")
        return rows

    def owners(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of the part that each row stands in, (n,) int64."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def stretches(
        self, array: str, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Index of the part, first element and number of elements of each row of a ragged array, (n,) int64 each."""
        owners = self.owners(rows)
        starts, lengths = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        for index in np.unique(owners):
            where = np.flatnonzero(owners == index)
            offsets = self.parts[index].array(f"{array}_offsets")
            local = rows[where] - self.starts[index]
            starts[where] = offsets.take(local)
            lengths[where] = offsets.take(local + 1) - starts[where]
        return owners, starts, lengths

    def first_of_key(self, index: int) -> NDArray[np.bool_]:
        """Whether each row of a part is the first of its key, (n,) bool."""
        if self._first is None:
            return np.ones(self.parts[index].n_rows, np.bool_)
        return self._first[self.starts[index] : self.starts[index + 1]]

    def gather(self, array: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of an array by number, in the order asked for."""
        if not len(rows):
            return self.parts[0].array(array).read(0, 0) if self.parts else np.empty((0, DIGEST_BYTES), np.uint8)
        owner = self.owners(rows)
        out: NDArray[Any] | None = None
        for index in np.unique(owner):
            source = self.parts[index].array(array)
            where = np.flatnonzero(owner == index)
            if out is None:
                out = np.empty((len(rows), *source.shape[1:]), source.dtype)
            out[where] = source.take(rows[where] - self.starts[index])
        assert out is not None  # noqa: S101 - rows is not empty
        return out

    def blocks(self, array: str, block_rows: int) -> Iterator[tuple[Digests, NDArray[Any]]]:
        """Stream ``(keys, rows)`` blocks; a key that stands in several parts comes once."""
        for index, part in enumerate(self.parts):
            for start in range(0, part.n_rows, block_rows):
                digests = part.array("digests").read(start, start + block_rows)
                rows = part.array(array).read(start, start + block_rows)
                if self._first is not None:
                    first = self.first_of_key(index)[start : start + len(rows)]
                    digests, rows = digests[first], rows[first]
                yield digests, rows
