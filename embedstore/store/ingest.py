"""Streams records into a data set, and the sequences that are new into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.sequences import digest
from embedstore.sequences.batching import batched
from embedstore.store.datasets import SequenceTable, encode
from embedstore.store.files import StorePath
from embedstore.store.keys import KeyTable, as_digests, prefixes
from embedstore.store.layout import DATASETS, PARTS, SEQUENCES, ensure_group, ensure_store
from embedstore.store.part_writer import PartWriter, TextColumn
from embedstore.types import DIGEST_BYTES, Digests, Record

_BATCH = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class AddReport:
    """What `Store.add` did.

    ``n_records`` records were kept; they have ``n_distinct`` distinct sequences, of which ``n_new`` were not in the
    store. ``normalised`` counts the characters that were removed or folded, by kind; ``n_repeated_ids`` the records
    whose id came before with another sequence. ``rejected`` names the records left out, with the reason; ``warnings``
    are sentences for a person.
    """

    dataset: str
    n_records: int
    n_distinct: int
    n_new: int
    n_residues: int
    n_repeated_ids: int = 0
    already_there: bool = False
    normalised: dict[str, int] = field(default_factory=dict)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What is known of added files once they are read.

    ``sources`` has name, split, bytes and sha256 of each; ``normalised`` counts the characters that were removed or
    folded, by kind; ``rejected`` has the id and the reason of each record left out.
    """

    sources: list[dict[str, Any]]
    normalised: dict[str, int]
    rejected: list[tuple[str, str]]
    warnings: list[str]


def add_records(
    store: StorePath,
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
        Place of the store, which is made if it is not there.
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
    for place in (DATASETS, f"{DATASETS}/{name}", f"{DATASETS}/{name}/{PARTS}"):
        ensure_group(store / place)
    with ExitStack() as stack:
        rows = stack.enter_context(PartWriter(store, f"{DATASETS}/{name}/{PARTS}", "dataset"))
        fresh = stack.enter_context(_NewSequences(store, known))
        ids, columns, repeats = rows.text("ids"), _Columns(rows), _Repeats()
        n_residues = 0
        for batch in chain([first], batches):
            digests = fresh.append(batch)
            names = [encode(record.id) for record in batch]
            ids.append(names)
            repeats.append(names, digests)
            rows.append("digests", digests, np.uint8)
            columns.append([record.columns for record in batch])
            n_residues += sum(len(record.residues) for record in batch)
        source_facts = provenance()
        warnings = source_facts.warnings + repeats.warnings()
        rows.text("rejected_ids").append([encode(record_id) for record_id, _ in source_facts.rejected])
        rows.text("rejected_reasons").append([encode(why) for _, why in source_facts.rejected])
        n_new = fresh.commit()
        details = {
            "sources": source_facts.sources,
            "columns": columns.names,
            "n_residues": n_residues,
            "normalised": source_facts.normalised,
            "warnings": warnings,
        }
        rows.commit(ids.n_rows, details)
    return AddReport(
        dataset=name,
        n_records=ids.n_rows,
        n_distinct=fresh.n_distinct,
        n_new=n_new,
        n_residues=n_residues,
        n_repeated_ids=repeats.n_repeated,
        normalised=source_facts.normalised,
        rejected=source_facts.rejected,
        warnings=warnings,
    )


def restore_sequences(store: StorePath, records: Iterable[Record], *, known: SequenceTable) -> int:
    """Store again what sequences are missing among these records; returns how many."""
    with _NewSequences(store, known) as fresh:
        for batch in batched(records, _BATCH):
            fresh.append(batch)
        return fresh.commit()


class _NewSequences:
    """Writes the sequences that the store lacks, each once."""

    def __init__(self, store: StorePath, known: SequenceTable) -> None:
        for place in (SEQUENCES, f"{SEQUENCES}/{PARTS}"):
            ensure_group(store / place)
        self._known = known
        self._seen = _Seen()
        self._part = PartWriter(store, f"{SEQUENCES}/{PARTS}", "sequences")
        self._residues = self._part.text("residues")
        # From here on nobody drops a sequence; until here `gc --unused` may have.
        known.refresh()

    def __enter__(self) -> _NewSequences:
        return self

    def __exit__(self, *_: object) -> None:
        self._part.close()

    @property
    def n_distinct(self) -> int:
        return self._seen.n_keys

    def append(self, batch: list[Record]) -> Digests:
        """Take what is new of a batch; returns its keys."""
        digests = as_digests([digest(record.residues) for record in batch])
        first = self._seen.first_seen(digests)
        new = first[~self._known.contains(digests[first])]
        if len(new):
            self._part.append("digests", digests[new], np.uint8)
            self._residues.append([batch[row].residues for row in new.tolist()])
        return digests

    def commit(self) -> int:
        if self._residues.n_rows:
            self._part.commit(self._residues.n_rows, {})
        return self._residues.n_rows


class _Repeats:
    """Which ids stand for more than one sequence, at 16 bytes a record."""

    def __init__(self) -> None:
        self._ids: list[NDArray[np.uint64]] = []
        self._keys: list[NDArray[np.uint64]] = []
        self.n_repeated = 0

    def append(self, ids: list[bytes], digests: Digests) -> None:
        self._ids.append(np.fromiter(map(xxhash.xxh3_64_intdigest, ids), np.uint64, count=len(ids)))
        self._keys.append(prefixes(digests))

    def warnings(self) -> list[str]:
        """A sentence if there are any; counts them."""
        ids, keys = np.concatenate(self._ids), np.concatenate(self._keys)
        order = np.lexsort((keys, ids))
        same_id = ids[order][1:] == ids[order][:-1]
        self.n_repeated = int((same_id & (keys[order][1:] != keys[order][:-1])).sum())
        if not self.n_repeated:
            return []
        return [
            f"{self.n_repeated:,} records have an id that came before with another sequence. All are kept; "
            "results name them by the same id."
        ]


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
            text.append([encode(row.get(name, "")) for row in rows])
        self._n_rows += len(rows)
