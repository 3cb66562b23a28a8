"""Embeds what a space lacks: plan, batches, model, parts, ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.batching import plan_batches
from embedstore.errors import (
    EmbedstoreError,
    InputError,
    LedgerError,
    NonFiniteError,
    OutOfMemoryError,
    StoreCorruptError,
)
from embedstore.models import Model
from embedstore.pooling import find_pooling
from embedstore.sequences import digest, key_text
from embedstore.store import Store
from embedstore.store.keys import distinct
from embedstore.store.manifest import space_id, space_identity
from embedstore.store.spaces import FLAG_UNKNOWN_RESIDUE, SpaceWriter, write_build, write_skipped
from embedstore.types import Digests, Progress, ProgressCallback, no_progress

UNIT_ROWS = 65536
"""Sequences in a unit of work, about: enough for sorting by length to leave little padding."""

LONG_POLICY = "skip"
"""Proteins longer than the model takes are not cut: they are skipped, and named with the reason."""

_LARGEST = {"float16": 65504.0, "float32": float(np.finfo(np.float32).max)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """What a build would do.

    ``n_expected`` distinct sequences are asked for, ``n_present`` have a vector, ``n_missing`` would be embedded or
    skipped; of those, ``n_residues`` and the ``longest`` are in residues, ``n_batches`` and ``padded_share`` (part of
    the computed positions that is padding) follow from the batch budget, and ``n_bytes`` is what the vectors take.
    """

    space: str
    model: str
    datasets: list[str]
    n_expected: int
    n_present: int
    n_missing: int
    n_residues: int
    longest: int
    n_batches: int
    padded_share: float
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """The ledger of a build: ``n_expected == n_present + n_embedded + n_skipped``.

    ``n_unknown_residues`` counts residues that the model has no token for, ``n_recomputed`` sequences that overflowed
    in half precision and were computed in float32; ``skipped`` gives the reason by key;
    ``seconds`` is the whole, ``seconds_model`` the part of it spent inside the model.
    """

    space: str
    datasets: list[str]
    n_expected: int
    n_present: int
    n_embedded: int
    n_skipped: int
    n_residues: int
    n_unknown_residues: int
    n_halved_batches: int
    n_recomputed: int
    seconds: float
    seconds_model: float
    skipped: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return asdict(self)


def identity_of(model: Model, *, pooling: str = "mean", dtype: str = "float16") -> dict[str, Any]:
    """The identity of the space that this model would write into."""
    if dtype not in _LARGEST:
        raise InputError(f"Unknown dtype {dtype!r} for stored vectors. Known: {', '.join(_LARGEST)}.")
    find_pooling(pooling)
    limit = "none" if model.max_residues is None else str(model.max_residues)
    return space_identity(
        model.identity(), dim=model.dim, pooling=pooling, dtype=dtype, long_policy=f"{LONG_POLICY} over {limit}"
    )


def plan(
    store: Store,
    model: Model,
    datasets: Sequence[str] | None = None,
    *,
    pooling: str = "mean",
    dtype: str = "float16",
    batch_residues: int | None = None,
) -> BuildPlan:
    """What `build` would do with the same arguments; writes nothing and does not load the model's weights."""
    work = _Work(store, model, datasets, identity_of(model, pooling=pooling, dtype=dtype), batch_residues)
    missing = work.digests[work.missing]
    lengths = store.sequences.lengths(missing)
    computed = n_batches = 0
    for unit in work.units():
        for batch in unit.batches:
            n_batches += 1
            computed += len(batch) * int(unit.lengths[batch].max())
    return BuildPlan(
        space=work.space_id,
        model=model.name,
        datasets=work.datasets,
        n_expected=len(work.digests),
        n_present=len(work.digests) - len(missing),
        n_missing=len(missing),
        n_residues=int(lengths.sum()),
        longest=int(lengths.max(initial=0)),
        n_batches=n_batches,
        padded_share=1 - int(lengths.sum()) / computed if computed else 0.0,
        n_bytes=len(missing) * model.dim * np.dtype(dtype).itemsize,
    )


def build(
    store: Store,
    model: Model,
    datasets: Sequence[str] | None = None,
    *,
    pooling: str = "mean",
    dtype: str = "float16",
    batch_residues: int | None = None,
    progress: ProgressCallback = no_progress,
) -> BuildReport:
    """Embed every distinct sequence of these data sets that the model's space lacks.

    Parts are committed as the work goes on; a run that was killed is continued by running it again, and gives
    the vectors, bit by bit, that it would have given without the interruption.

    Parameters
    ----------
    store
        Opened with ``mode="a"`` or not: building writes into it either way.
    model
        From `embedstore.models.load_model`.
    datasets
        Names of data sets; all where None.
    pooling
        How residue vectors become one, a name in `embedstore.pooling.POOLINGS`.
    dtype
        ``float16`` or ``float32``: how vectors are stored.
    batch_residues
        Padded residues in a batch; the model's own budget where None.
    progress
        Called after each batch, in residues.

    Raises
    ------
    UnknownNameError
        If a data set is not there.
    StoreWriteError
        If the disk is full or not writable; what was committed stays.
    LedgerError
        If a sequence is unaccounted for.
    """
    started, before = time.monotonic(), model.n_recomputed
    work = _Work(store, model, datasets, identity_of(model, pooling=pooling, dtype=dtype), batch_residues)
    space = store.create_space(work.identity)
    job = _Job(store, model, pooling, dtype, total=int(store.sequences.lengths(work.digests[work.missing]).sum()))
    with SpaceWriter(space) as writer:
        for unit in work.units():
            job.run(unit, writer, progress)
    return _close_ledger(store, work, job, started=started, n_recomputed=model.n_recomputed - before)


def _close_ledger(store: Store, work: _Work, job: _Job, *, started: float, n_recomputed: int) -> BuildReport:
    space = store.create_space(work.identity)
    write_skipped(space, job.skipped)
    without = work.digests[space.find(work.digests) < 0]
    lost = [row.tobytes() for row in without if row.tobytes() not in job.skipped]
    if lost:
        named = ", ".join(map(key_text, lost[:5]))
        raise LedgerError(
            f"{len(lost):,} of {len(work.digests):,} sequences are neither embedded nor skipped, among them {named}. "
            "This is a defect of embedstore: please report it. Running the build again embeds them."
        )
    # Another build may have embedded meanwhile what this one skipped, or did twice: the final state counts.
    report = BuildReport(
        space=work.space_id,
        datasets=work.datasets,
        n_expected=len(work.digests),
        n_present=len(work.digests) - job.n_embedded - len(without),
        n_embedded=job.n_embedded,
        n_skipped=len(without),
        n_residues=job.n_residues,
        n_unknown_residues=job.n_unknown_residues,
        n_halved_batches=job.n_halved,
        n_recomputed=n_recomputed,
        seconds=time.monotonic() - started,
        seconds_model=job.seconds_model,
        skipped={key_text(row.tobytes()): job.skipped[row.tobytes()] for row in without},
    )
    if report.n_present < int((~work.missing).sum()):
        raise LedgerError(f"The ledger does not balance: {report}. This is a defect of embedstore: please report it.")
    if job.n_embedded or work.covers not in [build["covers"] for build in space.builds]:
        counts = {name: value for name, value in report.to_dict().items() if name != "skipped"}
        write_build(space, {**counts, "covers": work.covers})
    return report


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    """A stretch of keys with its batches: index arrays into the missing ones among them."""

    digests: Digests
    lengths: NDArray[np.int64]
    batches: list[NDArray[np.int64]]


class _Work:
    """The keys asked for, and which of them have no vector yet."""

    def __init__(
        self,
        store: Store,
        model: Model,
        datasets: Sequence[str] | None,
        identity: dict[str, Any],
        batch_residues: int | None,
    ) -> None:
        store.refresh()
        self.datasets = store.datasets() if datasets is None else list(dict.fromkeys(datasets))
        if not self.datasets:
            raise InputError(f"The store at {store.path} has no data set. Add one: `embedstore add NAME FILE`.")
        if batch_residues is not None and batch_residues < 1:
            raise InputError(f"A batch of {batch_residues} residues holds nothing; pass at least 1.")
        self.identity = identity
        self.space_id = space_id(identity)
        chosen = [store.dataset(name) for name in self.datasets]
        # What the ledger may claim: the parts that were there when the work was planned, and no later one.
        self.covers = {dataset.name: [part.name for part in dataset.parts] for dataset in chosen}
        self.digests = distinct(np.concatenate([dataset.digests for dataset in chosen]))
        there = self.space_id in store.spaces()
        self.missing: NDArray[np.bool_] = (
            store.space(self.space_id).find(self.digests) < 0 if there else np.ones(len(self.digests), np.bool_)
        )
        self._store = store
        self._budget = batch_residues or model.batch_residues

    def units(self) -> Iterator[_Unit]:
        """Units in key order.

        Batches are drawn over all keys of a unit and then stripped of what is done: after a crash, what is left
        runs in the same batches as it would have, so that not even the rounding of a vector differs.
        """
        n_units = -(-len(self.digests) // UNIT_ROWS)
        for rows in np.array_split(np.arange(len(self.digests)), n_units):
            if not self.missing[rows].any():
                continue
            lengths = self._store.sequences.lengths(self.digests[rows])
            batches = [batch[self.missing[rows[batch]]] for batch in plan_batches(lengths, budget=self._budget)]
            yield _Unit(digests=self.digests[rows], lengths=lengths, batches=[batch for batch in batches if len(batch)])


class _Job:
    """Runs units through the model and keeps count."""

    def __init__(self, store: Store, model: Model, pooling: str, dtype: str, *, total: int) -> None:
        self.skipped: dict[bytes, str] = {}
        self.n_embedded = self.n_residues = self.n_unknown_residues = self.n_halved = 0
        self.seconds_model = 0.0
        self._store = store
        self._model = model
        self._pooling = pooling
        self._dtype = dtype
        self._total = total
        self._seen = 0

    def run(self, unit: _Unit, writer: SpaceWriter, progress: ProgressCallback) -> None:
        """Embed a unit."""
        rows = np.concatenate(unit.batches)
        sequences = dict(zip(rows.tolist(), self._store.sequences.take(unit.digests[rows]), strict=True))
        for wanted in unit.batches:
            batch = _Batch(unit.digests[wanted], unit.lengths[wanted], [sequences[row] for row in wanted.tolist()])
            batch.check()
            self._embed(self._without_long(batch), writer)
            self._seen += int(batch.lengths.sum())
            padded = 1 - batch.lengths.mean() / batch.lengths.max()
            note = f"{padded:.0%} padding"
            progress(Progress(stage="embed", done=self._seen, total=self._total, unit="residues", note=note))

    def _without_long(self, batch: _Batch) -> _Batch:
        """What of a batch the model takes; the rest is skipped by name."""
        limit = self._model.max_residues
        if limit is None or batch.lengths.max() <= limit:
            return batch
        for row in np.flatnonzero(batch.lengths > limit):
            self._skip(batch, row, f"{batch.lengths[row]:,} residues; {self._model.name} takes at most {limit:,}")
        return batch.rows(np.flatnonzero(batch.lengths <= limit))

    def _embed(self, batch: _Batch, writer: SpaceWriter) -> None:
        """Embed a batch; one that fails is run in two halves, down to the sequence that cannot be embedded."""
        if not len(batch.digests):
            return
        failure: EmbedstoreError | None = None
        started = time.monotonic()
        try:
            vectors = self._model.embed(batch.sequences, pooling=self._pooling)
        except (OutOfMemoryError, NonFiniteError) as error:
            failure = error
        self.seconds_model += time.monotonic() - started
        if failure is None:
            self._write(batch, vectors, writer)
        elif len(batch.digests) == 1:
            self._skip(batch, 0, f"{failure.kind} with {batch.lengths[0]:,} residues alone: {failure}")
        else:
            self.n_halved += 1
            for half in np.array_split(np.arange(len(batch.digests)), 2):
                self._embed(batch.rows(half), writer)

    def _write(self, batch: _Batch, vectors: NDArray[np.float32], writer: SpaceWriter) -> None:
        due = (len(batch.digests), self._model.dim)
        if vectors.shape != due:
            raise LedgerError(f"{self._model.name} returned vectors of shape {vectors.shape}; {due} was due.")
        good = storable(vectors, self._dtype)
        for row in np.flatnonzero(~good):
            largest = np.abs(vectors[row]).max()
            self._skip(batch, row, f"its vector is not finite, is zero, or exceeds {self._dtype} (largest {largest:g})")
        letters = self._model.unknown_letters
        unknown = np.array([len(text) - len(text.translate(None, letters)) for text in batch.sequences])
        flags = np.where(unknown > 0, FLAG_UNKNOWN_RESIDUE, 0).astype(np.uint8)
        if good.any():
            writer.append(batch.digests[good], vectors[good], batch.lengths[good], flags[good])
        self.n_embedded += int(good.sum())
        self.n_residues += int(batch.lengths[good].sum())
        self.n_unknown_residues += int(unknown[good].sum())

    def _skip(self, batch: _Batch, row: int | np.intp, reason: str) -> None:
        self.skipped[batch.digests[row].tobytes()] = reason


@dataclass(frozen=True, slots=True)
class _Batch:
    """Keys, lengths and sequences of one forward pass."""

    digests: Digests
    lengths: NDArray[np.int64]
    sequences: list[bytes]

    def rows(self, rows: NDArray[np.intp]) -> _Batch:
        """Some of its rows."""
        return _Batch(self.digests[rows], self.lengths[rows], [self.sequences[row] for row in rows.tolist()])

    def check(self) -> None:
        """Prove that each sequence is the one of its key: a damaged store must not end in a wrong vector."""
        for row, sequence in enumerate(self.sequences):
            if digest(sequence) != self.digests[row].tobytes():
                raise StoreCorruptError(
                    f"The stored sequence of {key_text(self.digests[row].tobytes())} was changed. "
                    "Run `embedstore verify` to see which file is hurt."
                )


def storable(vectors: NDArray[np.float32], dtype: str) -> NDArray[np.bool_]:
    """Which rows can be stored in ``dtype`` as what they are: finite, not zero, within its range."""
    size = np.abs(vectors).max(axis=1)
    smallest = float(np.finfo(dtype).smallest_subnormal)
    kept: NDArray[np.bool_] = np.isfinite(vectors).all(axis=1) & (size <= _LARGEST[dtype]) & (size >= smallest)
    return kept
