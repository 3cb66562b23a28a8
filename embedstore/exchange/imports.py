"""Importing vectors of other tools as a space: matched to proteins by id, checked, and accounted for."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from embedstore.catalog import suggest_arguments
from embedstore.errors import InputError, LedgerError
from embedstore.exchange.id_matching import IdMatcher
from embedstore.exchange.provenance import ArrayLayout, common_layout, identity_into, import_identity
from embedstore.exchange.readers import Item, Source, SourceOptions, open_source
from embedstore.store import ResidueSpace, Space, Store
from embedstore.store.space_writer import SpaceWriter, write_build, write_skipped
from embedstore.types import Progress, ProgressCallback, null_progress

ON_CONFLICT = ("error", "first")
"""What to do where a sequence comes with two different vectors: stop, or keep the first and name the others."""

NOT_IN_FILE = "the imported files have no vector for it"
CONFLICT = "its sequence came before with another vector"

_N_PROBED = 32
_BATCH_ROWS = 1024
_BATCH_BYTES = 1 << 25


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What `import_vectors` did: ``n_read == n_stored + n_present + n_repeated + n_left_out``.

    Of the ``n_read`` entries of the file, ``n_stored`` are new, ``n_present`` were there with the same numbers,
    ``n_repeated`` came before in the file with the same numbers, and the rest is in ``left_out``: (name, reason).
    ``n_without`` distinct sequences of the data set have no vector in the space.
    """

    space: str
    dataset: str
    source: str
    format: str
    n_read: int
    n_stored: int
    n_present: int
    n_repeated: int
    n_left_out: int
    n_without: int
    seconds: float
    reasons: dict[str, int] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return asdict(self)


@suggest_arguments
def import_vectors(
    store: Store,
    path: str | os.PathLike[str],
    *,
    dataset: str,
    fasta: str | os.PathLike[str] | None = None,
    model: str | None = None,
    pooling: str | None = None,
    layer: int | None = None,
    format: str = "auto",  # noqa: A002 - as in read_records and on the command line
    ids: str | os.PathLike[str] | None = None,
    match: str = "exact",
    into: str | None = None,
    on_conflict: str = "error",
    progress: ProgressCallback = null_progress,
) -> ImportReport:
    """Store the vectors of a file that another tool wrote, under the sequences of a data set.

    Parts are committed as the work goes on; a run that was killed is continued by running it again.

    Parameters
    ----------
    store
        Where to.
    path
        A file or a folder; see `IMPORT_FORMATS`.
    dataset
        The data set whose ids name the sequences.
    fasta
        Its file, where it is not in the store: it is added first, under that name.
    model, pooling, layer
        What the vectors were made with, if known; recorded as stated, it cannot be checked. If the file holds several
        poolings or layers, these select one.
    format
        A name in `IMPORT_FORMATS`, or ``auto`` to look at the content.
    ids
        File of the ids of an ``.npy``, where it is not beside it.
    match
        ``exact``, or ``accession``: an id ``sp|P69905|HBA_HUMAN`` of the data set is also ``P69905``.
    into
        An imported space whose vectors, as you state, were made in exactly the same way: this file's are added to
        it. By default another file is another space.
    on_conflict
        ``error``, or ``first``, which keeps the first vector of a sequence and names entries with another one.
    progress
        Called now and then, in entries of the file.

    Raises
    ------
    FileFormatError
        If the file is damaged, or not of the format.
    InputError
        If nothing in it can be stored, a choice is missing, or (``on_conflict="error"``) a sequence comes with two
        vectors. What was committed before stays.
    """
    if on_conflict not in ON_CONFLICT:
        raise InputError(f"Unknown on_conflict {on_conflict!r}. Known: {', '.join(ON_CONFLICT)}.")
    started = time.monotonic()
    options = SourceOptions(pooling=pooling, layer=layer, ids=None if ids is None else Path(ids))
    # Looked at before anything is added: a file of another kind shows at once.
    source = open_source(Path(path), format, options)
    if fasta is not None:
        store.add(dataset, fasta, progress=progress)
    store.refresh()
    matcher = IdMatcher(store.dataset(dataset), match)
    importer = _Importer(store, source, matcher, on_conflict=on_conflict, progress=progress)
    entries = importer.match_entries()
    first = list(islice(entries, _N_PROBED))
    if not first:
        raise importer.no_vectors_error()
    layout = common_layout((entry.array for entry in first), source)
    identity = (
        identity_into(store, into, source, layout)
        if into
        else import_identity(store, source, layout, model=model, pooling=pooling, layer=layer)
    )
    importer.run(store.create_space(identity), layout, chain(first, entries))
    return _close_ledger(store, importer, dataset, seconds=time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry whose protein is known: its name, the protein's number, and its array."""

    name: str
    number: int
    array: NDArray[Any]


class _Importer:
    """Imports a source entry by entry and counts what becomes of each."""

    space: Space | ResidueSpace

    def __init__(
        self, store: Store, source: Source, matcher: IdMatcher, *, on_conflict: str, progress: ProgressCallback
    ) -> None:
        self.source = source
        self.matcher = matcher
        self.left_out: list[tuple[str, str]] = []
        self.skipped: dict[bytes, str] = {}
        self.n_read = self.n_stored = self.n_present = self.n_repeated = self.n_cut = 0
        self._store = store
        self._on_conflict = on_conflict
        self._progress = progress
        self._lengths = store.sequences.lengths(matcher.keys)
        # What this run took: whether, a hash of the numbers, and the name in the file, for proteins that come twice.
        self._is_stored = np.zeros(len(matcher.keys), np.bool_)
        self._hashes = np.zeros(len(matcher.keys), np.uint64)
        self._names: dict[int, str] = {}
        self._batch: list[_Entry] = []
        self._batch_bytes = 0

    def match_entries(self) -> Iterator[_Entry]:
        """The entries that match a protein of the data set; the others are recorded as left out."""
        for item in self.source:
            self.n_read += 1
            if self.n_read % _BATCH_ROWS == 0:
                self._report_progress()
            if (entry := self._match_entry(item)) is not None:
                yield entry
        self._report_progress()

    def _report_progress(self) -> None:
        total = self.source.n_items
        known = total if total is not None and total >= self.n_read else None
        self._progress(Progress(stage="import", done=self.n_read, total=known, unit="entries"))

    def _match_entry(self, item: Item) -> _Entry | None:
        number, reason = self.matcher.find(item.names)
        if item.problem or reason:
            self.left_out.append((item.names[0], item.problem or reason))
            return None
        return _Entry(item.names[0], number, item.read())

    def no_vectors_error(self) -> InputError:
        """The error for a file of which nothing can be stored."""
        reasons = Counter(reason for _, reason in self.left_out)
        if not reasons:
            return InputError(f"{self.source.root} holds no vector: nothing to import. Check that it was written.")
        summary = "; ".join(f"{count:,} x {reason}" for reason, count in reasons.most_common(3))
        names = [name for name, _ in self.left_out]
        examples = ", ".join(map(repr, names[:3]))
        return InputError(
            f"Nothing of {self.source.root} can be stored: {summary}. Its entries are called {examples}. "
            f"{self.matcher.hint(names)}"
        )

    def run(self, space: Space | ResidueSpace, layout: ArrayLayout, entries: Iterable[_Entry]) -> None:
        """Store all entries."""
        self.space = space
        with SpaceWriter(space) as writer:
            for entry in entries:
                if reason := layout.problem(entry.array) or self._problem(entry, is_matrix=layout.is_matrix):
                    self._leave_out(entry, reason)
                elif self._is_new(entry, writer):
                    self._batch.append(entry)
                    self._batch_bytes += entry.array.nbytes
                    if len(self._batch) >= _BATCH_ROWS or self._batch_bytes >= _BATCH_BYTES:
                        self._flush(writer)
            self._flush(writer)

    def _problem(self, entry: _Entry, *, is_matrix: bool) -> str:
        """Why an array of the right kind cannot be stored; empty if it can."""
        length = int(self._lengths[entry.number])
        if is_matrix and len(entry.array) != length:
            difference = len(entry.array) - length
            more = "more" if difference > 0 else "fewer"
            return f"its matrix has {abs(difference):,} rows {more} than its protein has residues"
        rows = entry.array.reshape(-1, entry.array.shape[-1])
        if not np.isfinite(rows).all():
            return "it holds NaN or infinity"
        if not rows.any(axis=1).all():
            return "a residue's vector is zero" if is_matrix else "its vector is zero"
        if not is_matrix and self.source.cut_at is not None and length > self.source.cut_at:
            self.n_cut += 1
        return ""

    def _is_new(self, entry: _Entry, writer: SpaceWriter) -> bool:
        """Whether the protein comes for the first time in this run; other numbers than then are a conflict."""
        hashed = xxhash.xxh3_64_intdigest(np.ascontiguousarray(entry.array).data)
        if not self._is_stored[entry.number]:
            self._is_stored[entry.number] = True
            self._hashes[entry.number] = hashed
            self._names[entry.number] = entry.name
            return True
        if int(self._hashes[entry.number]) == hashed:
            self.n_repeated += 1
            return False
        if self._on_conflict == "error":
            self._flush(writer)
            writer.commit()
            self.space = self._store.create_space(self.space.identity)
        self._conflict(entry, f"the vector of {self._names[entry.number]!r}, which has the same sequence, is another")
        return False

    def _conflict(self, entry: _Entry, what: str) -> None:
        if self._on_conflict == "first":
            self._leave_out(entry, CONFLICT)
            return
        stored = self.space.take(self.matcher.keys[[entry.number]])[0]
        difference = np.abs(stored.astype(np.float64) - entry.array.astype(np.float64)).max()
        raise InputError(
            f"{self.source.root}: {entry.name!r} cannot be stored: {what} (by up to {difference:.3g}). Keep the first "
            "and have the others named: on_conflict='first' (--on-conflict first)."
        )

    def _leave_out(self, entry: _Entry, reason: str) -> None:
        self.left_out.append((entry.name, reason))
        self.skipped.setdefault(self.matcher.keys[entry.number].tobytes(), reason)

    def _flush(self, writer: SpaceWriter) -> None:
        """Write the waiting entries, except those that the space already holds."""
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if not batch:
            return
        numbers = np.array([entry.number for entry in batch], np.int64)
        is_present = self.space.find(self.matcher.keys[numbers]) >= 0
        if is_present.any():
            self._compare([entry for entry, known in zip(batch, is_present, strict=True) if known])
        new = [entry for entry, known in zip(batch, is_present, strict=True) if not known]
        if not new:
            return
        new_numbers = numbers[~is_present]
        arrays: Any = [entry.array for entry in new]
        values = arrays if isinstance(self.space, ResidueSpace) else np.stack(arrays)
        writer.append(
            self.matcher.keys[new_numbers], values, self._lengths[new_numbers], np.zeros(len(new_numbers), np.uint8)
        )
        self.n_stored += len(new)

    def _compare(self, known: list[_Entry]) -> None:
        """Check that the stored vectors of entries that the space already holds are the same."""
        stored = self.space.take(self.matcher.keys[[entry.number for entry in known]])
        for entry, array in zip(known, stored, strict=True):
            if np.ascontiguousarray(array).tobytes() == np.ascontiguousarray(entry.array).tobytes():
                self.n_present += 1
            else:
                self._conflict(entry, "the space holds another vector for its sequence")


def _close_ledger(store: Store, importer: _Importer, dataset: str, *, seconds: float) -> ImportReport:
    if not importer.n_stored + importer.n_present:
        raise importer.no_vectors_error()
    n_left_out = len(importer.left_out)
    if importer.n_read != importer.n_stored + importer.n_present + importer.n_repeated + n_left_out:
        raise LedgerError(
            f"{importer.n_read:,} entries were read; {importer.n_stored:,} are stored, {importer.n_present:,} were "
            f"present, {importer.n_repeated:,} are repeated and {n_left_out:,} were left out. This is a defect of "
            "embedstore: please report it."
        )
    space = store.create_space(importer.space.identity)
    missing = importer.matcher.keys[space.find(importer.matcher.keys) < 0]
    write_skipped(space, {row.tobytes(): importer.skipped.get(row.tobytes(), NOT_IN_FILE) for row in missing})
    warnings = []
    if importer.n_cut:
        warnings.append(
            f"{importer.n_cut:,} proteins are longer than {importer.source.cut_at:,} residues, where the tool that "
            "wrote the file truncates by default; the file does not show whether a mean is over the whole protein."
        )
    report = ImportReport(
        space=space.id,
        dataset=dataset,
        source=str(importer.source.root),
        format=importer.source.format,
        n_read=importer.n_read,
        n_stored=importer.n_stored,
        n_present=importer.n_present,
        n_repeated=importer.n_repeated,
        n_left_out=n_left_out,
        n_without=len(missing),
        seconds=seconds,
        reasons=dict(Counter(reason for _, reason in importer.left_out)),
        left_out=importer.left_out,
        warnings=warnings,
    )
    covers = {dataset: [part.name for part in store.dataset(dataset).parts]}
    if importer.n_stored or covers not in [build["covers"] for build in space.builds]:
        counts = {name: value for name, value in report.to_dict().items() if name not in ("left_out", "reasons")}
        write_build(space, {**counts, "source": importer.source.root.name, "covers": covers})
    return report
