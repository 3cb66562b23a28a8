"""Embeds what a space lacks: plan, batches, model, parts, ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.batching import plan_batches
from embedstore.errors import InputError, LedgerError, NonFiniteError, OutOfMemoryError
from embedstore.models import Model
from embedstore.pooling import find_pooling
from embedstore.sequences import key_text
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
    return space_identity(model.identity(), pooling=pooling, dtype=dtype, long_policy=f"{LONG_POLICY} over {limit}")


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
    space = store.create_space(work.identity, model.dim)
    job = _Job(store, model, pooling, dtype, total=int(store.sequences.lengths(work.digests[work.missing]).sum()))
    with SpaceWriter(space) as writer:
        for unit in work.units():
            job.run(unit, writer, progress)
    return _close_ledger(store, work, job, started=started, n_recomputed=model.n_recomputed - before)


def _close_ledger(store: Store, work: _Work, job: _Job, *, started: float, n_recomputed: int) -> BuildReport:
    space = store.create_space(work.identity, work.dim)
    write_skipped(space, job.skipped)
    without = work.digests[space.find(work.digests) < 0]
    lost = [row.tobytes() for row in without if row.tobytes() not in job.skipped]
    if lost:
        named = ", ".join(map(key_text, lost[:5]))
        raise LedgerError(
            f"{len(lost):,} of {len(work.digests):,} sequences are neither embedded nor skipped, among them {named}. "
            "This is a defect of embedstore: please report it. Running the build again embeds them."
        )
    report = BuildReport(
        space=work.space_id,
        datasets=work.datasets,
        n_expected=len(work.digests),
        n_present=int((~work.missing).sum()),
        n_embedded=job.n_embedded,
        n_skipped=len(without),
        n_residues=job.n_residues,
        n_unknown_residues=job.n_unknown_residues,
        n_halved_batches=job.n_halved,
        n_recomputed=n_recomputed,
        seconds=time.monotonic() - started,
        seconds_model=job.seconds_model,
        skipped={key_text(key): why for key, why in job.skipped.items()},
    )
    if report.n_expected != report.n_present + report.n_embedded + report.n_skipped:
        raise LedgerError(f"The ledger does not balance: {report}. This is a defect of embedstore: please report it.")
    covers = {name: [part.name for part in store.dataset(name).parts] for name in work.datasets}
    if work.missing.any() or covers not in [build["covers"] for build in space.builds]:
        write_build(space, {**report.to_dict(), "covers": covers})
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
        self.datasets = store.datasets() if datasets is None else list(dict.fromkeys(datasets))
        if not self.datasets:
            raise InputError(f"The store at {store.path} has no data set. Add one: `embedstore add NAME FILE`.")
        if batch_residues is not None and batch_residues < 1:
            raise InputError(f"A batch of {batch_residues} residues holds nothing; pass at least 1.")
        self.dim = model.dim
        self.identity = identity
        self.space_id = space_id(identity)
        self.digests = distinct(np.concatenate([store.dataset(name).digests for name in self.datasets]))
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
        for batch in unit.batches:
            lengths = unit.lengths[batch]
            self._embed(unit.digests[batch], lengths, writer)
            self._seen += int(lengths.sum())
            progress(Progress(stage="embed", done=self._seen, total=self._total, unit="residues"))

    def _embed(self, digests: Digests, lengths: NDArray[np.int64], writer: SpaceWriter) -> None:
        limit = self._model.max_residues
        if limit is not None and (lengths > limit).any():
            for row in np.flatnonzero(lengths > limit):
                self._skip(digests[row], f"{lengths[row]:,} residues; {self._model.name} takes at most {limit:,}")
            digests, lengths = digests[lengths <= limit], lengths[lengths <= limit]
        if not len(digests):
            return
        sequences = self._store.sequences.take(digests)
        started = time.monotonic()
        try:
            vectors = self._model.embed(sequences, pooling=self._pooling)
        except (OutOfMemoryError, NonFiniteError) as error:
            self._halve(digests, lengths, writer, error)
            return
        finally:
            self.seconds_model += time.monotonic() - started
        self._write(digests, lengths, sequences, vectors, writer)

    def _halve(
        self,
        digests: Digests,
        lengths: NDArray[np.int64],
        writer: SpaceWriter,
        error: OutOfMemoryError | NonFiniteError,
    ) -> None:
        """Run a batch that failed in two halves, down to the one sequence that cannot be embedded."""
        if len(digests) == 1:
            self._skip(digests[0], f"{error.kind} with {lengths[0]:,} residues alone: {error}")
            return
        self.n_halved += 1
        middle = len(digests) // 2
        for half in (slice(None, middle), slice(middle, None)):
            self._embed(digests[half], lengths[half], writer)

    def _write(
        self,
        digests: Digests,
        lengths: NDArray[np.int64],
        sequences: list[bytes],
        vectors: NDArray[np.float32],
        writer: SpaceWriter,
    ) -> None:
        if vectors.shape != (len(digests), self._model.dim):
            raise LedgerError(
                f"{self._model.name} returned vectors of shape {vectors.shape} for {len(digests)} sequences; "
                f"({len(digests)}, {self._model.dim}) was due."
            )
        size = np.abs(vectors).max(axis=1)
        smallest = float(np.finfo(self._dtype).smallest_subnormal)
        good = np.isfinite(vectors).all(axis=1) & (size <= _LARGEST[self._dtype]) & (size >= smallest)
        for row in np.flatnonzero(~good):
            self._skip(
                digests[row], f"its vector is not finite, is zero, or exceeds {self._dtype} (largest {size[row]:g})"
            )
        unknown = np.array([len(s) - len(s.translate(None, self._model.unknown_letters)) for s in sequences])
        flags = np.where(unknown > 0, FLAG_UNKNOWN_RESIDUE, 0).astype(np.uint8)
        if good.any():
            writer.append(digests[good], vectors[good], lengths[good], flags[good])
        self.n_embedded += int(good.sum())
        self.n_residues += int(lengths[good].sum())
        self.n_unknown_residues += int(unknown[good].sum())

    def _skip(self, digest: NDArray[np.uint8], reason: str) -> None:
        self.skipped[digest.tobytes()] = reason
