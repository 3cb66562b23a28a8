"""Data sets (ids, keys, columns) and the sequences that they share, as they are read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.catalog import unknown_name
from embedstore.store.files import StorePath, directories, is_file
from embedstore.store.keys import distinct
from embedstore.store.layout import PARTS, RECORD
from embedstore.store.parts import KeyedParts, Part, committed_parts, committed_paths
from embedstore.types import DIGEST_BYTES, Digests

_SPREAD = 8
"""Reading this many times too much in one go still beats one read a sequence."""


class SequenceTable:
    """Every distinct sequence of the store, by key.

    Keys that are not found are looked for once more among the parts that others have committed since.
    """

    def __init__(self, directory: StorePath) -> None:
        self._directory = directory / PARTS
        self.refresh()

    def refresh(self) -> None:
        """Look again for what is committed."""
        # Also those that others replace: else each key that is not found would make us look again.
        self._seen = {path.name for path in committed_paths(self._directory)}
        self._rows = KeyedParts(committed_parts(self._directory))

    @property
    def parts(self) -> list[Part]:
        """The committed parts."""
        return self._rows.parts

    @property
    def n_rows(self) -> int:
        """Number of distinct sequences."""
        return self._rows.n_distinct

    @property
    def digests(self) -> Digests:
        """Keys, (N, 24) uint8."""
        return self._rows.digests

    def contains(self, digests: Digests) -> NDArray[np.bool_]:
        """Whether each key is there, (n,) bool."""
        return self._find(digests) >= 0

    def lengths(self, digests: Digests) -> NDArray[np.int64]:
        """Length of each sequence in residues, (n,) int64; StoreError names keys that are not there."""
        return self._locate(digests)[2]

    def take(self, digests: Digests) -> list[bytes]:
        """The sequences with these keys, in this order; StoreError names keys that are not there."""
        owners, starts, lengths = self._locate(digests)
        out: list[bytes] = [b""] * len(digests)
        for index in np.unique(owners):
            where = np.flatnonzero(owners == index)
            residues = self.parts[index].array("residues")
            first, stops = int(starts[where].min()), starts[where] + lengths[where]
            if int(stops.max()) - first <= _SPREAD * int(lengths[where].sum()):
                # Many of a stretch are wanted: one read of it all costs less than one a sequence.
                data = residues.read(first, int(stops.max())).tobytes()
                for row, start, stop in zip(where.tolist(), starts[where] - first, stops - first, strict=True):
                    out[row] = data[start:stop]
            else:
                for row, text in zip(where.tolist(), residues.ranges(starts[where], stops), strict=True):
                    out[row] = text.tobytes()
        return out

    def read(self, parts: NDArray[np.int32], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[bytes]:
        """The sequences that begin at these residues of these parts, by number in `parts`; no key is looked up."""
        out: list[bytes] = [b""] * len(parts)
        for index in np.unique(parts):
            where = np.flatnonzero(parts == index)
            found = self.parts[index].array("residues").ranges(starts[where], starts[where] + lengths[where])
            for row, residues in zip(where.tolist(), found, strict=True):
                out[row] = residues.tobytes()
        return out

    def _find(self, digests: Digests) -> NDArray[np.int64]:
        rows = self._rows.find(digests)
        if (rows < 0).any():
            new = [path for path in directories(self._directory) if path.name not in self._seen]
            if any(is_file(path / RECORD) for path in new):
                self.refresh()
                rows = self._rows.find(digests)
        return rows

    def _locate(self, digests: Digests) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Part, first byte and length of each sequence."""
        self._find(digests)
        rows = self._rows.require(digests, what="sequence in this store")
        return self._rows.stretches("residues", rows)


class Dataset:
    """One data set: rows in the order of its sources; ids need not be unique, several may share a key."""

    def __init__(self, directory: StorePath, name: str) -> None:
        self.name = name
        self.parts = committed_parts(directory / PARTS)

    @property
    def n_rows(self) -> int:
        """Number of records."""
        return sum(part.n_rows for part in self.parts)

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Name, sha256, size and number of records of each source file."""
        return [source for part in self.parts for source in part.details["sources"]]

    @property
    def columns(self) -> list[str]:
        """Names of the columns besides id and sequence."""
        return list(dict.fromkeys(name for part in self.parts for name in part.details["columns"]))

    @property
    def digests(self) -> Digests:
        """Key of each row, (N, 24) uint8."""
        if not self.parts:
            return np.empty((0, DIGEST_BYTES), np.uint8)
        return np.concatenate([part.array("digests").read() for part in self.parts])

    @property
    def rejected(self) -> list[tuple[str, str]]:
        """Id and reason of each record that was left out when the data set was added."""
        pairs = []
        for part in self.parts:
            ids, reasons = part.texts("rejected_ids"), part.texts("rejected_reasons")
            pairs += [(decode(name), decode(why)) for name, why in zip(ids, reasons, strict=True)]
        return pairs

    def describe(self) -> dict[str, Any]:
        """What is known of the data set, as JSON takes it."""
        return {
            "name": self.name,
            "n_records": self.n_rows,
            "n_distinct": len(distinct(self.digests)),
            "n_residues": sum(part.details["n_residues"] for part in self.parts),
            "columns": self.columns,
            "sources": self.sources,
            "normalised": self.normalised,
            "warnings": [text for part in self.parts for text in part.details["warnings"]],
            "rejected": [f"{name}: {reason}" for name, reason in self.rejected],
        }

    @property
    def normalised(self) -> dict[str, int]:
        """Characters removed or folded when the sources were read, by kind."""
        counts: dict[str, int] = {}
        for part in self.parts:
            for kind, count in part.details["normalised"].items():
                counts[kind] = counts.get(kind, 0) + count
        return counts

    def ids(self) -> list[str]:
        """Id of each row, as its source gave it."""
        return [decode(text) for part in self.parts for text in part.texts("ids")]

    def column(self, name: str) -> list[str]:
        """Text of each row in a column, empty where a source lacks it.

        Raises
        ------
        UnknownNameError
            If no source has such a column.
        """
        if name not in self.columns:
            raise unknown_name(f"column of data set {self.name!r},", name, self.columns)
        out: list[str] = []
        for part in self.parts:
            names = part.details["columns"]
            if name in names:
                out += [decode(text) for text in part.texts(f"column_{names.index(name)}")]
            else:
                out += [""] * part.n_rows
        return out


def encode(text: str) -> bytes:
    """Text as it is stored."""
    # Ids that are not UTF-8 reach us with surrogates, one a byte, and leave as the same bytes.
    return text.encode("utf-8", "surrogateescape")


def decode(text: bytes) -> str:
    """Stored text as it was."""
    return text.decode("utf-8", "surrogateescape")
