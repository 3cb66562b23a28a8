"""Metrics with 95% bootstrap intervals over proteins or groups, all from the same resamples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

Float64: TypeAlias = NDArray[np.float64]

N_RESAMPLES = 1000
"""Default number of resamples."""

_LEVEL = 0.95
_BATCH_DRAWS = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """The three numbers by name, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BootstrapEstimate:
    """A value, and its values on the resamples.

    Resample i has the same rows for every head that is scored on the same rows with the same seed, so the difference of
    two heads is the difference of their draws.
    """

    value: float
    draws: Float64
    interval: Interval

    def to_dict(self) -> dict[str, float]:
        """The value and its interval, for JSON."""
        return self.interval.to_dict()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Metrics that are a function of sums over rows.

    Attributes
    ----------
    columns
        (n, m) contribution of each row to each sum; sparse or not.
    statistic
        (r, m) sums of r resamples to (r,) values, by name.
    shifted
        Metrics whose draws are biased, for example because resamples lack rare classes; their intervals are shifted by
        the bias.
    proportions
        Metrics that are a share of all rows; where it is 0 or 1 the bootstrap has no spread, and the interval is
        Wilson's.
    """

    columns: csr_array | Float64
    statistic: Callable[[Float64], Mapping[str, Float64]]
    shifted: frozenset[str] = frozenset()
    proportions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weighted:
    """Metrics that depend on the order of rows, such as ranks.

    Attributes
    ----------
    values
        On all rows, by name, by a library.
    statistic
        (r, n) counts of each row in r resamples to (r,) values, by the same names.
    limit
        Most resamples, for expensive metrics.
    shifted
        As in `Sums`.
    """

    values: Mapping[str, float]
    statistic: Callable[[Float64], Mapping[str, Float64]]
    limit: int = N_RESAMPLES
    shifted: frozenset[str] = field(default_factory=frozenset)


Part: TypeAlias = Sums | Weighted


def measure(
    parts: Sequence[Part],
    n_rows: int,
    *,
    groups: NDArray[np.int64] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, BootstrapEstimate]:
    """Values and intervals of all parts.

    Parameters
    ----------
    parts
        The metrics.
    n_rows
        Rows of each part.
    groups
        (n,) int64 from 0: whole groups (the residues of a protein, the members of a cluster) are resampled. None
        resamples rows.
    n_resamples, seed
        Of the bootstrap.
    """
    # Sparse and dense columns apart, because their products differ.
    sums = [
        _joined([part for part in parts if isinstance(part, Sums) and isinstance(part.columns, np.ndarray) is is_dense])
        for is_dense in (True, False)
    ]
    by_unit = [(part, _by_unit(part.columns, n_rows, groups)) for part in sums if part is not None]
    n_units = n_rows if groups is None else int(groups.max()) + 1
    draws: dict[str, list[Float64]] = {}
    done = 0
    for counts in resamples(n_units, n_resamples, seed=seed):
        for joined, columns in by_unit:
            _append(draws, joined.statistic(counts @ columns))
        weighted = [part for part in parts if isinstance(part, Weighted) and done < part.limit]
        # A group has many rows: as many draws at a time as fit into memory by rows.
        step = len(counts) if groups is None else max(1, _BATCH_DRAWS // n_rows)
        for start in range(0, len(counts) if weighted else 0, step):
            batch = counts[start : start + step]
            weights = batch if groups is None else batch[:, groups]
            for metric in weighted:
                if metric.limit > done + start:
                    _append(draws, metric.statistic(weights[: metric.limit - done - start]))
        done += len(counts)
    estimates: dict[str, BootstrapEstimate] = {}
    for part in parts:
        for name, value in _values(part).items():
            resampled = np.concatenate([np.zeros(0), *draws.get(name, [])])
            interval = _interval(value, resampled, shifted=name in part.shifted)
            if isinstance(part, Sums) and name in part.proportions and n_resamples and value in (0, 1):
                low, high = wilson_interval(round(value * n_units), n_units)
                interval = Interval(value=value, low=low, high=high)
            estimates[name] = BootstrapEstimate(value=value, draws=resampled, interval=interval)
    return estimates


def average(fits: Sequence[Mapping[str, BootstrapEstimate]]) -> dict[str, BootstrapEstimate]:
    """Mean of each metric over fits that were scored on the same resamples, with the interval of the mean.

    The interval is over test rows; the spread between fits is not in it.
    """
    if len(fits) == 1:
        return dict(fits[0])
    means = {}
    for name in fits[0]:
        estimates = [fit[name] for fit in fits if name in fit]
        value, low, high = (
            float(np.mean([getattr(estimate.interval, bound) for estimate in estimates]))
            for bound in ("value", "low", "high")
        )
        draws = np.mean([estimate.draws for estimate in estimates], axis=0)
        if np.isfinite(draws).any() and np.nanmax(draws) > np.nanmin(draws):
            # Without spread in the draws (all rows correct) the mean of the fits' intervals stays.
            below, above = np.nanquantile(draws - np.nanmean(draws), [0.025, 0.975])
            low, high = value + float(below), value + float(above)
        means[name] = BootstrapEstimate(value=value, draws=draws, interval=Interval(value=value, low=low, high=high))
    return means


def resamples(n: int, n_resamples: int, *, seed: int) -> Iterator[Float64]:
    """Yield how often each of n units is in resamples of n, (r, n) float64, a few at a time.

    Each resample has its own generator, so that draws do not depend on the batch.
    """
    batch = max(1, _BATCH_DRAWS // n)
    for start in range(0, n_resamples, batch):
        counts = np.empty((min(batch, n_resamples - start), n))
        for row in range(len(counts)):
            rng = np.random.default_rng((seed, start + row))
            counts[row] = np.bincount(rng.integers(0, n, n, dtype=np.int64), minlength=n)
        yield counts


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95% score interval of a proportion (Wilson 1927), which has a width at 0 and ``n`` too.

    >>> low, high = wilson_interval(100, 100)
    >>> round(low, 4), round(high, 4)
    (0.963, 1.0)
    """
    z = 1.959963984540054
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    # Exactly 0 and 1 at the ends, where the formula has rounding errors.
    return (centre - half if successes else 0.0), (centre + half if successes < n else 1.0)


def ratio(upper: Float64, lower: Float64) -> Float64:
    """Quotient, 0 where the lower is 0."""
    return np.divide(upper, lower, out=np.zeros(np.broadcast(upper, lower).shape), where=lower != 0)


def _joined(parts: Sequence[Sums]) -> Sums | None:
    """Parts joined by columns."""
    if not parts:
        return None
    edges = np.cumsum([0, *(part.columns.shape[1] for part in parts)]).tolist()

    def statistic(sums: Float64) -> dict[str, Float64]:
        values: dict[str, Float64] = {}
        for part, start, stop in zip(parts, edges[:-1], edges[1:], strict=True):
            values |= part.statistic(sums[:, start:stop])
        return values

    columns = [part.columns for part in parts]
    is_dense = isinstance(columns[0], np.ndarray)
    return Sums(columns=np.concatenate(columns, axis=1) if is_dense else hstack(columns, "csr"), statistic=statistic)


def _by_unit(columns: csr_array | Float64, n_rows: int, groups: NDArray[np.int64] | None) -> Any:
    """Columns summed over the rows of each group."""
    if groups is None:
        return columns
    membership = csr_array((np.ones(n_rows), (groups, np.arange(n_rows))), shape=(int(groups.max()) + 1, n_rows))
    return membership @ columns


def _values(part: Part) -> dict[str, float]:
    if isinstance(part, Weighted):
        return dict(part.values)
    totals = np.asarray(part.columns.sum(axis=0), np.float64).reshape(1, -1)
    return {name: float(values[0]) for name, values in part.statistic(totals).items()}


def _append(draws: dict[str, list[Float64]], values_by_name: Mapping[str, Float64]) -> None:
    for name, values in values_by_name.items():
        draws.setdefault(name, []).append(values)


def _interval(value: float, resampled: Float64, *, shifted: bool) -> Interval:
    draws = resampled[np.isfinite(resampled)]
    if not len(draws):
        return Interval(value=value, low=float("nan"), high=float("nan"))
    if shifted:
        draws = np.clip(draws + (value - draws.mean()), 0, 1)
    low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(value=value, low=float(low), high=float(high))
