"""Vectors that were made elsewhere become a space: matched to proteins by id, checked, and accounted for."""

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
from embedstore.exchange.id_matching import Matching
from embedstore.exchange.provenance import ArrayLayout, common_layout, identity_into, import_identity
from embedstore.exchange.readers import Item, Source, SourceOptions, open_source
from embedstore.store import ResidueSpace, Space, Store
from embedstore.store.space_writer import SpaceWriter, write_build, write_skipped
from embedstore.types import Progress, ProgressCallback, null_progress

ON_CONFLICT = ("error", "first")
"""What to do where a sequence comes with two different vectors: stop, or keep the first and name the others."""

NOT_IN_FILE = "the imported files have no vector for it"
CONFLICT = "its sequence came before with another vector"

_LOOKED_AT = 32
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
        What the vectors were made with, as far as you know; it is recorded as stated and cannot be checked. Where
        the file holds several poolings or layers, these choose.
    format
        A row of `IMPORT_FORMATS`, or ``auto`` to look at the content.
    ids
        File of the ids of an ``.npy``, where it is not beside it.
    match
        ``exact``, or ``accession``: an id ``sp|P69905|HBA_HUMAN`` of the data set is also ``P69905``.
    into
        An imported space that holds vectors made in exactly the same way, by your word: this file's are added to
        it. Else another file is another space.
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
    matching = Matching(store.dataset(dataset), match)
    job = _Job(store, source, matching, on_conflict=on_conflict, progress=progress)
    found = job.matched()
    first = list(islice(found, _LOOKED_AT))
    if not first:
        raise job.nothing()
    layout = common_layout((one.array for one in first), source)
    identity = (
        identity_into(store, into, source, layout)
        if into
        else import_identity(store, source, layout, model=model, pooling=pooling, layer=layer)
    )
    job.run(store.create_space(identity), layout, chain(first, found))
    return _close_ledger(store, job, dataset, seconds=time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Found:
    """An entry whose protein is known: its name, the protein's number, and its array."""

    name: str
    number: int
    array: NDArray[Any]


class _Job:
    """Takes a source entry by entry, and keeps count of where each ended."""

    space: Space | ResidueSpace

    def __init__(
        self, store: Store, source: Source, matching: Matching, *, on_conflict: str, progress: ProgressCallback
    ) -> None:
        self.source = source
        self.matching = matching
        self.left_out: list[tuple[str, str]] = []
        self.skipped: dict[bytes, str] = {}
        self.n_read = self.n_stored = self.n_present = self.n_repeated = self.n_cut = 0
        self._store = store
        self._on_conflict = on_conflict
        self._progress = progress
        self._lengths = store.sequences.lengths(matching.keys)
        # What this run took: whether, a hash of the numbers, and the name in the file, for proteins that come twice.
        self._taken = np.zeros(len(matching.keys), np.bool_)
        self._hashes = np.zeros(len(matching.keys), np.uint64)
        self._names: dict[int, str] = {}
        self._batch: list[_Found] = []
        self._batch_bytes = 0

    def matched(self) -> Iterator[_Found]:
        """The entries that stand for a protein of the data set; the others are named."""
        for item in self.source:
            self.n_read += 1
            if self.n_read % _BATCH_ROWS == 0:
                self._tell()
            if (found := self._match(item)) is not None:
                yield found
        self._tell()

    def _tell(self) -> None:
        total = self.source.n_items
        known = total if total is not None and total >= self.n_read else None
        self._progress(Progress(stage="import", done=self.n_read, total=known, unit="entries"))

    def _match(self, item: Item) -> _Found | None:
        number, reason = self.matching.find(item.names)
        if item.problem or reason:
            self.left_out.append((item.names[0], item.problem or reason))
            return None
        return _Found(item.names[0], number, item.read())

    def nothing(self) -> InputError:
        """The error for a file of which nothing can be stored."""
        reasons = Counter(reason for _, reason in self.left_out)
        if not reasons:
            return InputError(f"{self.source.root} holds no vector: nothing to import. Check that it was written.")
        told = "; ".join(f"{count:,} x {reason}" for reason, count in reasons.most_common(3))
        names = [name for name, _ in self.left_out]
        shown = ", ".join(map(repr, names[:3]))
        return InputError(
            f"Nothing of {self.source.root} can be stored: {told}. Its entries are called {shown}. "
            f"{self.matching.hint(names)}"
        )

    def run(self, space: Space | ResidueSpace, layout: ArrayLayout, found: Iterable[_Found]) -> None:
        """Take all entries."""
        self.space = space
        with SpaceWriter(space) as writer:
            for one in found:
                if reason := layout.problem(one.array) or self._problem(one, is_matrix=layout.is_matrix):
                    self._leave_out(one, reason)
                elif self._is_new(one, writer):
                    self._batch.append(one)
                    self._batch_bytes += one.array.nbytes
                    if len(self._batch) >= _BATCH_ROWS or self._batch_bytes >= _BATCH_BYTES:
                        self._flush(writer)
            self._flush(writer)

    def _problem(self, one: _Found, *, is_matrix: bool) -> str:
        """Why an array of the right kind cannot be stored; empty if it can."""
        length = int(self._lengths[one.number])
        if is_matrix and len(one.array) != length:
            off = len(one.array) - length
            return f"its matrix has {abs(off):,} rows {'more' if off > 0 else 'fewer'} than its protein has residues"
        rows = one.array.reshape(-1, one.array.shape[-1])
        if not np.isfinite(rows).all():
            return "it holds NaN or infinity"
        if not rows.any(axis=1).all():
            return "a residue's vector is zero" if is_matrix else "its vector is zero"
        if not is_matrix and self.source.cut_at is not None and length > self.source.cut_at:
            self.n_cut += 1
        return ""

    def _is_new(self, one: _Found, writer: SpaceWriter) -> bool:
        """Whether the protein comes for the first time in this run; other numbers than then are a conflict."""
        hashed = xxhash.xxh3_64_intdigest(np.ascontiguousarray(one.array).data)
        if not self._taken[one.number]:
            self._taken[one.number] = True
            self._hashes[one.number] = hashed
            self._names[one.number] = one.name
            return True
        if int(self._hashes[one.number]) == hashed:
            self.n_repeated += 1
            return False
        if self._on_conflict == "error":
            self._flush(writer)
            writer.commit()
            self.space = self._store.create_space(self.space.identity)
        self._conflict(one, f"the vector of {self._names[one.number]!r}, which has the same sequence, is another")
        return False

    def _conflict(self, one: _Found, what: str) -> None:
        if self._on_conflict == "first":
            self._leave_out(one, CONFLICT)
            return
        stored = self.space.take(self.matching.keys[[one.number]])[0]
        difference = np.abs(stored.astype(np.float64) - one.array.astype(np.float64)).max()
        raise InputError(
            f"{self.source.root}: {one.name!r} cannot be stored: {what} (by up to {difference:.3g}). Keep the first "
            "and have the others named: on_conflict='first' (--on-conflict first)."
        )

    def _leave_out(self, one: _Found, reason: str) -> None:
        self.left_out.append((one.name, reason))
        self.skipped.setdefault(self.matching.keys[one.number].tobytes(), reason)

    def _flush(self, writer: SpaceWriter) -> None:
        """Write the entries that are waiting, but for what the space holds from before."""
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if not batch:
            return
        numbers = np.array([one.number for one in batch], np.int64)
        there = self.space.find(self.matching.keys[numbers]) >= 0
        if there.any():
            self._compare([one for one, known in zip(batch, there, strict=True) if known])
        new = [one for one, known in zip(batch, there, strict=True) if not known]
        if not new:
            return
        fresh = numbers[~there]
        arrays: Any = [one.array for one in new]
        values = arrays if isinstance(self.space, ResidueSpace) else np.stack(arrays)
        writer.append(self.matching.keys[fresh], values, self._lengths[fresh], np.zeros(len(fresh), np.uint8))
        self.n_stored += len(new)

    def _compare(self, known: list[_Found]) -> None:
        """Prove that what the space holds already is the same."""
        stored = self.space.take(self.matching.keys[[one.number for one in known]])
        for one, array in zip(known, stored, strict=True):
            if np.ascontiguousarray(array).tobytes() == np.ascontiguousarray(one.array).tobytes():
                self.n_present += 1
            else:
                self._conflict(one, "the space holds another vector for its sequence")


def _close_ledger(store: Store, job: _Job, dataset: str, *, seconds: float) -> ImportReport:
    if not job.n_stored + job.n_present:
        raise job.nothing()
    n_left_out = len(job.left_out)
    if job.n_read != job.n_stored + job.n_present + job.n_repeated + n_left_out:
        raise LedgerError(
            f"{job.n_read:,} entries were read; {job.n_stored:,} are stored, {job.n_present:,} were there, "
            f"{job.n_repeated:,} came twice and {n_left_out:,} were left out. This is a defect of embedstore: please "
            "report it."
        )
    space = store.create_space(job.space.identity)
    without = job.matching.keys[space.find(job.matching.keys) < 0]
    write_skipped(space, {row.tobytes(): job.skipped.get(row.tobytes(), NOT_IN_FILE) for row in without})
    warnings = []
    if job.n_cut:
        warnings.append(
            f"{job.n_cut:,} proteins are longer than {job.source.cut_at:,} residues, where the tool that wrote the "
            "file cuts them unless told otherwise; a mean over a part of a protein cannot be told from the file."
        )
    report = ImportReport(
        space=space.id,
        dataset=dataset,
        source=str(job.source.root),
        format=job.source.format,
        n_read=job.n_read,
        n_stored=job.n_stored,
        n_present=job.n_present,
        n_repeated=job.n_repeated,
        n_left_out=n_left_out,
        n_without=len(without),
        seconds=seconds,
        reasons=dict(Counter(reason for _, reason in job.left_out)),
        left_out=job.left_out,
        warnings=warnings,
    )
    covers = {dataset: [part.name for part in store.dataset(dataset).parts]}
    if job.n_stored or covers not in [build["covers"] for build in space.builds]:
        kept = {name: value for name, value in report.to_dict().items() if name not in ("left_out", "reasons")}
        write_build(space, {**kept, "source": job.source.root.name, "covers": covers})
    return report
