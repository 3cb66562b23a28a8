"""How long a build will take, how much memory and disk: from a timed sample of its own batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import psutil
from numpy.typing import NDArray

from embedstore.embedding.embedder import RETRYABLE_ERRORS, Embedder
from embedstore.embedding.planner import BuildPlanner, WorkUnit
from embedstore.embedding.threads import WorkerPool
from embedstore.errors import StoreWriteError
from embedstore.store import Store

_STRATA = 8
"""Batches that are timed: one of each eighth of the work, sorted by length."""

_RESERVE_BYTES = 64 << 20
"""Disk that is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a sample says: seconds, a range that holds them roughly, and the resident memory of a process in bytes."""

    seconds: float | None = None
    seconds_range: tuple[float, float] | None = None
    memory_bytes: int | None = None


def estimate(
    store: Store, planner: BuildPlanner, embedder: Embedder, sample_seconds: float, *, n_workers: int = 1
) -> Estimate:
    """Embed a few of the planned batches and discard the vectors.

    Batches are sorted by length, and time a residue grows with length; so one batch is timed of each eighth of the
    residues, and stands for its eighth. The range is a tenth to either side; where some were not timed, half the
    difference between the slowest and the fastest if that is more.

    Parameters
    ----------
    sample_seconds
        No further batch is timed after so many seconds; the longest and the shortest always are. 0: none at all.
    n_workers
        Processes that will share the work, each on a device like the one that is timed.
    """
    if sample_seconds <= 0:
        return Estimate()
    # The fullest: of a unit that a build was killed in, only the short ones are left.
    unit = max(planner.units(), key=_n_residues, default=None)
    if unit is None or not unit.batches:
        return Estimate(seconds=0.0, seconds_range=(0.0, 0.0), memory_bytes=psutil.Process().memory_info().rss)
    total = planner.totals(embedder.long).n_residues
    sample = _sample_strata(unit)
    n_parallel = min(embedder.model.n_parallel, unit.n_planned)
    rates = _time_strata(store, embedder, unit, sample, sample_seconds, n_parallel)
    if not rates:
        return Estimate()
    known = sorted(rates)
    stratum_rates = np.interp(sorted(sample), known, [rates[stratum] for stratum in known])
    seconds = float(stratum_rates.mean() * total) / n_parallel / n_workers
    spread = (
        0.1
        if len(rates) == len(sample)
        else float((stratum_rates.max() - stratum_rates.min()) / (2 * stratum_rates.mean()))
    )
    low, high = seconds * (1 - max(spread, 0.1)), seconds * (1 + max(spread, 0.1))
    return Estimate(seconds=seconds, seconds_range=(low, high), memory_bytes=int(psutil.Process().memory_info().rss))


def check_disk_space(store: Store, n_bytes: int) -> None:
    """Raise StoreWriteError if the disk is too small for so many bytes, before anything is computed."""
    free = store.free_bytes()
    if free is not None and n_bytes > max(0, free - _RESERVE_BYTES):
        raise StoreWriteError(
            f"The vectors will take {n_bytes / 2**30:,.2f} GiB; the disk of {store.path} has {free / 2**30:,.2f} GiB "
            "free. Free space, choose another --store, or store less (--dtype float16, no --residues)."
        )


def _n_residues(unit: WorkUnit) -> int:
    """Residues of what is to be embedded of a unit."""
    return int(unit.keys.lengths[unit.needed].sum())


def _sample_strata(unit: WorkUnit) -> dict[int, NDArray[np.int64]]:
    """A batch from the middle of each eighth of the residues, by number of the eighth."""
    residues = np.cumsum([unit.keys.lengths[batch].sum() for batch in unit.batches])
    midpoints = (np.arange(_STRATA) + 0.5) / _STRATA * residues[-1]
    numbers = np.searchsorted(residues, midpoints)
    return {stratum: unit.batches[number] for stratum, number in enumerate(numbers.tolist())}


def _time_strata(
    store: Store,
    embedder: Embedder,
    unit: WorkUnit,
    sample: dict[int, NDArray[np.int64]],
    sample_seconds: float,
    n_parallel: int,
) -> dict[int, float]:
    """Seconds a residue in each stratum that was timed; with several batches in parallel, in one thread."""
    if n_parallel > 1:
        with (
            embedder.parallel(n_parallel) as make_copy,
            WorkerPool(lambda: partial(_time_in_thread, store, make_copy(), unit), 1) as pool,
        ):
            (task,) = pool.map([(sample, sample_seconds)])
        if task.error is not None:
            raise task.error
        return task.result or {}
    return _time_in_thread(store, embedder, unit, (sample, sample_seconds))


def _time_in_thread(
    store: Store, embedder: Embedder, unit: WorkUnit, arguments: tuple[dict[int, NDArray[np.int64]], float]
) -> dict[int, float]:
    sample, sample_seconds = arguments
    started = time.monotonic()
    rates: dict[int, float] = {}
    # The longest decides the memory, the shortest the other end of the range; then the middle.
    order = sorted(sample, key=lambda stratum: (stratum not in (min(sample), max(sample)), stratum))
    for stratum in order:
        if len(rates) >= 2 and time.monotonic() - started > sample_seconds:
            break
        rate = _seconds_per_residue(store, embedder, unit, sample[stratum], warm=bool(rates))
        if rate is not None:
            rates[stratum] = rate
    return rates


def _seconds_per_residue(
    store: Store,
    embedder: Embedder,
    unit: WorkUnit,
    rows: NDArray[np.int64],
    *,
    warm: bool,
) -> float | None:
    """Time of a batch over its residues; None if it did not fit into memory."""
    batch = unit.keys.rows(rows)
    sequences = store.sequences.read(batch.parts, batch.starts, batch.lengths)
    groups = [[text] for text in sequences if embedder.exceeds_limit(len(text))]
    batched = [text for text in sequences if not embedder.exceeds_limit(len(text))]
    groups += [batched] if batched else []
    try:
        if not warm:
            # Weights are read and kernels chosen in the first pass.
            embedder.embed(groups[-1])
        started = time.monotonic()
        for group in groups:
            embedder.embed(group)
    except RETRYABLE_ERRORS:
        return None
    return (time.monotonic() - started) / int(batch.lengths.sum())
