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
    store: Store, work: BuildPlanner, embedder: Embedder, sample_seconds: float, *, n_workers: int = 1
) -> Estimate:
    """Embed a few batches of the work and keep nothing.

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
    unit = max(work.units(), key=_n_residues, default=None)
    if unit is None or not unit.batches:
        return Estimate(seconds=0.0, seconds_range=(0.0, 0.0), memory_bytes=psutil.Process().memory_info().rss)
    total = work.totals(embedder.long).n_residues
    chosen = _strata(unit)
    n_lanes = min(embedder.model.n_lanes, unit.n_planned)
    rates = _rates(store, embedder, unit, chosen, sample_seconds, n_lanes)
    if not rates:
        return Estimate()
    known = sorted(rates)
    each = np.interp(sorted(chosen), known, [rates[stratum] for stratum in known])
    seconds = float(each.mean() * total) / n_lanes / n_workers
    spread = 0.1 if len(rates) == len(chosen) else float((each.max() - each.min()) / (2 * each.mean()))
    low, high = seconds * (1 - max(spread, 0.1)), seconds * (1 + max(spread, 0.1))
    return Estimate(seconds=seconds, seconds_range=(low, high), memory_bytes=int(psutil.Process().memory_info().rss))


def check_disk_space(store: Store, n_bytes: int) -> None:
    """Raise StoreWriteError where the disk is too small for so many bytes: better now than after a month."""
    free = store.free_bytes()
    if free is not None and n_bytes > max(0, free - _RESERVE_BYTES):
        raise StoreWriteError(
            f"The vectors will take {n_bytes / 2**30:,.2f} GiB; the disk of {store.path} has {free / 2**30:,.2f} GiB "
            "free. Free space, choose another --store, or store less (--dtype float16, no --residues)."
        )


def _n_residues(unit: WorkUnit) -> int:
    """Residues of what is to be embedded of a unit."""
    return int(unit.keys.lengths[unit.needed].sum())


def _strata(unit: WorkUnit) -> dict[int, NDArray[np.int64]]:
    """A batch from the middle of each eighth of the residues, by number of the eighth."""
    residues = np.cumsum([unit.keys.lengths[batch].sum() for batch in unit.batches])
    wanted = (np.arange(_STRATA) + 0.5) / _STRATA * residues[-1]
    numbers = np.searchsorted(residues, wanted)
    return {stratum: unit.batches[number] for stratum, number in enumerate(numbers.tolist())}


def _rates(
    store: Store,
    embedder: Embedder,
    unit: WorkUnit,
    chosen: dict[int, NDArray[np.int64]],
    sample_seconds: float,
    n_lanes: int,
) -> dict[int, float]:
    """Seconds a residue in each stratum that was timed; with several lanes, in one of them."""
    if n_lanes > 1:
        with embedder.lanes(n_lanes) as lane, WorkerPool(lambda: partial(_timed, store, lane(), unit), 1) as lanes:
            (attempt,) = lanes.map([(chosen, sample_seconds)])
        if attempt.error is not None:
            raise attempt.error
        return attempt.result or {}
    return _timed(store, embedder, unit, (chosen, sample_seconds))


def _timed(
    store: Store, embedder: Embedder, unit: WorkUnit, asked: tuple[dict[int, NDArray[np.int64]], float]
) -> dict[int, float]:
    chosen, sample_seconds = asked
    started = time.monotonic()
    rates: dict[int, float] = {}
    # The longest decides the memory, the shortest the other end of the range; then the middle.
    order = sorted(chosen, key=lambda stratum: (stratum not in (min(chosen), max(chosen)), stratum))
    for stratum in order:
        if len(rates) >= 2 and time.monotonic() - started > sample_seconds:
            break
        rate = _seconds_per_residue(store, embedder, unit, chosen[stratum], warm=bool(rates))
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
    groups = [[text] for text in sequences if embedder.goes_alone(len(text))]
    together = [text for text in sequences if not embedder.goes_alone(len(text))]
    groups += [together] if together else []
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
