"""Data sets (ids, keys, columns) and the sequences that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.batching import batched
from embedstore.errors import InputError
from embedstore.registry import unknown_name
from embedstore.sequences import digest
from embedstore.store.keys import KeyTable, as_digests, distinct
from embedstore.store.layout import DATASETS, PARTS, SEQUENCES, ensure_group, ensure_store
from embedstore.store.reader import KeyedParts, Part, committed_parts
from embedstore.store.writer import PartWriter, TextColumn
from embedstore.types import DIGEST_BYTES, Digests, Record

_BATCH = 8192


class SequenceTable:
    """Every distinct sequence of the store, by key."""

    def __init__(self, directory: Path) -> None:
        self._rows = KeyedParts(committed_parts(directory / PARTS))

    @property
    def parts(self) -> list[Part]:
        """The committed parts."""
        return self._rows.parts

    @property
    def n_rows(self) -> int:
        """Number of stored sequences."""
        return self._rows.n_rows

    @property
    def digests(self) -> Digests:
        """Keys, (N, 24) uint8."""
        return self._rows.digests

    def contains(self, digests: Digests) -> NDArray[np.bool_]:
        """Whether each key is there, (n,) bool."""
        return self._rows.find(digests) >= 0

    def lengths(self, digests: Digests) -> NDArray[np.int64]:
        """Length of each sequence in residues, (n,) int64; StoreError names keys that are not there."""
        return self._locate(digests)[2]

    def take(self, digests: Digests) -> list[bytes]:
        """The sequences with these keys, in this order; StoreError names keys that are not there."""
        owners, starts, lengths = self._locate(digests)
        out: list[bytes] = [b""] * len(digests)
        # In file order, so that a sweep over a large store reads each page once.
        for index in np.lexsort((starts, owners)).tolist():
            start = int(starts[index])
            residues = self.parts[owners[index]].array("residues")
            out[index] = residues.read(start, start + int(lengths[index])).tobytes()
        return out

    def _locate(self, digests: Digests) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Part, first byte and length of each sequence."""
        rows = self._rows.require(digests, what="sequence in this store")
        owners = np.searchsorted(self._rows.starts, rows, side="right") - 1
        starts, lengths = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        for index in np.unique(owners):
            where = np.flatnonzero(owners == index)
            offsets = self.parts[index].array("residues_offsets")
            local = rows[where] - self._rows.starts[index]
            starts[where] = offsets.take(local)
            lengths[where] = offsets.take(local + 1) - starts[where]
        return owners, starts, lengths


class Dataset:
    """One data set: rows in the order of its sources; ids need not be unique, several may share a key."""

    def __init__(self, directory: Path, name: str) -> None:
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
        found = []
        for part in self.parts:
            ids, reasons = part.texts("rejected_ids"), part.texts("rejected_reasons")
            found += [(_decode(name), _decode(why)) for name, why in zip(ids, reasons, strict=True)]
        return found

    def describe(self) -> dict[str, Any]:
        """What is known of the data set, as JSON takes it."""
        return {
            "name": self.name,
            "n_records": self.n_rows,
            "n_distinct": len(distinct(self.digests)),
            "n_residues": sum(part.details["n_residues"] for part in self.parts),
            "columns": self.columns,
            "sources": self.sources,
            "warnings": [text for part in self.parts for text in part.details["warnings"]],
            "rejected": [f"{name}: {reason}" for name, reason in self.rejected],
        }

    def ids(self) -> list[str]:
        """Id of each row, as its source gave it."""
        return [_decode(text) for part in self.parts for text in part.texts("ids")]

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
                out += [_decode(text) for text in part.texts(f"column_{names.index(name)}")]
            else:
                out += [""] * part.n_rows
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class AddReport:
    """What `Store.add` did.

    ``n_records`` records were kept; they have ``n_distinct`` distinct sequences, of which ``n_new`` were not in the
    store; ``rejected`` names the records left out, with the reason; ``warnings`` are sentences for a person.
    """

    dataset: str
    n_records: int
    n_distinct: int
    n_new: int
    n_residues: int
    already_there: bool = False
    rejected: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What is known of added files once they are read.

    ``sources`` has name, split, bytes and sha256 of each; ``rejected`` the id and the reason of each record left out.
    """

    sources: list[dict[str, Any]]
    rejected: list[tuple[str, str]]
    warnings: list[str]


def add_records(
    store: Path,
    name: str,
    records: Iterable[Record],
    *,
    known: SequenceTable,
    provenance: Callable[[], Provenance],
) -> AddReport:
    """Stream records into one new part of a data set, and the sequences that are new into one part of theirs.

    Sequences are committed first: a data set never names a key without a sequence. Memory is bounded by a batch
    and by 40 bytes a distinct key.

    Parameters
    ----------
    store
        Directory of the store, which is made if it is not there.
    name
        Name of the data set.
    records
        What to add, any number but none.
    known
        The sequences that are there.
    provenance
        Called once the records are exhausted.
    """
    batches = batched(records, _BATCH)
    # Most bad files show themselves in the first batch, before anything is written.
    first = next(batches, None)
    if first is None:
        raise InputError(
            f"Nothing to add to data set {name!r}: there is no record. Check that the right file was named."
        )
    ensure_store(store)
    dataset, sequences = store / DATASETS / name, store / SEQUENCES
    for directory in (dataset.parent, dataset, dataset / PARTS, sequences, sequences / PARTS):
        ensure_group(directory)
    with ExitStack() as stack:
        rows = stack.enter_context(PartWriter(dataset / PARTS, "dataset"))
        fresh = stack.enter_context(_NewSequences(sequences / PARTS, known))
        ids, columns = rows.text("ids"), _Columns(rows)
        n_residues = 0
        for batch in chain([first], batches):
            digests = as_digests([digest(record.residues) for record in batch])
            fresh.append(digests, [record.residues for record in batch])
            ids.append([_encode(record.id) for record in batch])
            rows.append("digests", digests, np.uint8)
            columns.append([record.columns for record in batch])
            n_residues += sum(len(record.residues) for record in batch)
        told = provenance()
        rows.text("rejected_ids").append([_encode(one) for one, _ in told.rejected])
        rows.text("rejected_reasons").append([_encode(why) for _, why in told.rejected])
        n_new = fresh.commit()
        details = {
            "sources": told.sources,
            "columns": columns.names,
            "n_residues": n_residues,
            "warnings": told.warnings,
        }
        rows.commit(ids.n_rows, details)
    return AddReport(
        dataset=name,
        n_records=ids.n_rows,
        n_distinct=fresh.n_distinct,
        n_new=n_new,
        n_residues=n_residues,
        rejected=told.rejected,
        warnings=told.warnings,
    )


class _NewSequences:
    """Writes the sequences that the store lacks, each once."""

    def __init__(self, parts: Path, known: SequenceTable) -> None:
        self._known = known
        self._seen = _Seen()
        self.part = PartWriter(parts, "sequences")
        self._residues = self.part.text("residues")

    def __enter__(self) -> _NewSequences:
        return self

    def __exit__(self, *_: object) -> None:
        self.part.close()

    @property
    def n_distinct(self) -> int:
        return self._seen.n_keys

    def append(self, digests: Digests, residues: list[bytes]) -> None:
        first = self._seen.first_seen(digests)
        new = first[~self._known.contains(digests[first])]
        if len(new):
            self.part.append("digests", digests[new], np.uint8)
            self._residues.append([residues[row] for row in new.tolist()])

    def commit(self) -> int:
        if self._residues.n_rows:
            self.part.commit(self._residues.n_rows, {})
        return self._residues.n_rows


class _Seen:
    """Which keys came by in this run, at 40 bytes a key (a Python set takes three times that)."""

    def __init__(self) -> None:
        self._digests = np.empty((_BATCH, DIGEST_BYTES), np.uint8)
        self._table = KeyTable(lambda rows: self._digests[rows])

    @property
    def n_keys(self) -> int:
        return self._table.n_rows

    def first_seen(self, digests: Digests) -> NDArray[np.int64]:
        """Rows whose key comes for the first time."""
        _, first = np.unique(np.ascontiguousarray(digests).view(f"V{DIGEST_BYTES}").ravel(), return_index=True)
        first = np.sort(first)
        new = first[self._table.find(digests[first]) < 0]
        start, stop = self.n_keys, self.n_keys + len(new)
        if stop > len(self._digests):
            grown = np.empty((max(stop, 2 * len(self._digests)), DIGEST_BYTES), np.uint8)
            grown[:start] = self._digests[:start]
            self._digests = grown
        self._digests[start:stop] = digests[new]
        self._table.extend(digests[new])
        return new


class _Columns:
    """Text columns of a data set part, which may appear after the first rows."""

    def __init__(self, part: PartWriter) -> None:
        self._part = part
        self._texts: dict[str, TextColumn] = {}
        self._n_rows = 0

    @property
    def names(self) -> list[str]:
        return list(self._texts)

    def append(self, rows: list[dict[str, str]]) -> None:
        for name in dict.fromkeys(name for row in rows for name in row):
            if name not in self._texts:
                # Arrays are numbered: a column's name is the user's text, not a path.
                self._texts[name] = self._part.text(f"column_{len(self._texts)}")
                for start in range(0, self._n_rows, _BATCH):
                    self._texts[name].append([b""] * min(_BATCH, self._n_rows - start))
        for name, text in self._texts.items():
            text.append([_encode(row.get(name, "")) for row in rows])
        self._n_rows += len(rows)


def _encode(text: str) -> bytes:
    # Ids that are not UTF-8 reach us with surrogates, one a byte, and leave as the same bytes.
    return text.encode("utf-8", "surrogateescape")


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
