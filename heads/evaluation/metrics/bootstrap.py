"""Values with 95% bootstrap intervals over proteins, all of them from one set of resamples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

Float64: TypeAlias = NDArray[np.float64]

N_RESAMPLES = 1000
"""Resamples of an interval."""

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
    """A value and what the resamples give, in the order of the resamples.

    Resample number i has the same rows for every head that is measured on the same rows with the same seed: the
    difference of two heads is the difference of their draws.
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
        (n, m): what each row adds to each sum; sparse or not.
    statistic
        (r, m) sums of r resamples to (r,) values, by name.
    shifted
        Metrics whose draws are biased (they lack rare classes that the rows have, say): their intervals are shifted
        back by that bias.
    proportions
        Metrics that are a share of all rows: Wilson's interval where the share is 0 or 1 and the bootstrap has no
        spread.
    """

    columns: csr_array | Float64
    statistic: Callable[[Float64], Mapping[str, Float64]]
    shifted: frozenset[str] = frozenset()
    proportions: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weighted:
    """Metrics of the order of rows, which no sums give.

    Attributes
    ----------
    values
        On the rows as they are, by name: a library's figures.
    statistic
        (r, n) counts of each row in r resamples to (r,) values, by the same names.
    limit
        Most resamples, for what is dear.
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
        What to measure.
    n_rows
        Rows of each part.
    groups
        (n,) int64 from 0: rows of one group (the residues of a protein, the members of a cluster) are drawn together.
        None draws rows.
    n_resamples, seed
        Of the bootstrap.
    """
    # Sparse columns and full ones apart: each kind has its own fast product.
    sums = [
        _joined([part for part in parts if isinstance(part, Sums) and isinstance(part.columns, np.ndarray) is full])
        for full in (True, False)
    ]
    by_unit = [(part, _by_unit(part.columns, n_rows, groups)) for part in sums if part is not None]
    n_units = n_rows if groups is None else int(groups.max()) + 1
    draws: dict[str, list[Float64]] = {}
    done = 0
    for counts in resamples(n_units, n_resamples, seed=seed):
        for joined, columns in by_unit:
            _keep(draws, joined.statistic(counts @ columns))
        wanted = [part for part in parts if isinstance(part, Weighted) and done < part.limit]
        # A group has many rows: as many draws at a time as fit into memory by rows.
        step = len(counts) if groups is None else max(1, _BATCH_DRAWS // n_rows)
        for start in range(0, len(counts) if wanted else 0, step):
            some = counts[start : start + step]
            weights = some if groups is None else some[:, groups]
            for one in wanted:
                if one.limit > done + start:
                    _keep(draws, one.statistic(weights[: one.limit - done - start]))
        done += len(counts)
    found: dict[str, BootstrapEstimate] = {}
    for part in parts:
        for name, value in _values(part).items():
            resampled = np.concatenate([np.zeros(0), *draws.get(name, [])])
            interval = _interval(value, resampled, shifted=name in part.shifted)
            if isinstance(part, Sums) and name in part.proportions and n_resamples and value in (0, 1):
                low, high = wilson_interval(round(value * n_units), n_units)
                interval = Interval(value=value, low=low, high=high)
            found[name] = BootstrapEstimate(value=value, draws=resampled, interval=interval)
    return found


def resamples(n: int, n_resamples: int, *, seed: int) -> Iterator[Float64]:
    """Yield how often each of n units stands in resamples of n, (r, n) float64, a few at a time.

    Every resample has a generator of its own, so that the draws do not depend on how many are made at once.
    """
    batch = max(1, _BATCH_DRAWS // n)
    for start in range(0, n_resamples, batch):
        counts = np.empty((min(batch, n_resamples - start), n))
        for row in range(len(counts)):
            rng = np.random.default_rng((seed, start + row))
            counts[row] = np.bincount(rng.integers(0, n, n, dtype=np.int64), minlength=n)
        yield counts


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95% score interval of a proportion (Wilson 1927), which has a width at 0 and at ``n`` too.

    >>> low, high = wilson_interval(100, 100)
    >>> round(low, 4), round(high, 4)
    (0.963, 1.0)
    """
    z = 1.959963984540054
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    # Exactly 0 and 1 at the ends, where the formula gives them up to rounding.
    return (centre - half if successes else 0.0), (centre + half if successes < n else 1.0)


def ratio(upper: Float64, lower: Float64) -> Float64:
    """Quotient, 0 where the lower is 0."""
    return np.divide(upper, lower, out=np.zeros(np.broadcast(upper, lower).shape), where=lower != 0)


def _joined(parts: Sequence[Sums]) -> Sums | None:
    """Parts side by side, as one."""
    if not parts:
        return None
    edges = np.cumsum([0, *(part.columns.shape[1] for part in parts)]).tolist()

    def statistic(sums: Float64) -> dict[str, Float64]:
        found: dict[str, Float64] = {}
        for part, start, stop in zip(parts, edges[:-1], edges[1:], strict=True):
            found |= part.statistic(sums[:, start:stop])
        return found

    columns = [part.columns for part in parts]
    full = isinstance(columns[0], np.ndarray)
    return Sums(columns=np.concatenate(columns, axis=1) if full else hstack(columns, "csr"), statistic=statistic)


def _by_unit(columns: csr_array | Float64, n_rows: int, groups: NDArray[np.int64] | None) -> Any:
    """Columns summed over the rows of each group."""
    if groups is None:
        return columns
    belongs = csr_array((np.ones(n_rows), (groups, np.arange(n_rows))), shape=(int(groups.max()) + 1, n_rows))
    return belongs @ columns


def _values(part: Part) -> dict[str, float]:
    if isinstance(part, Weighted):
        return dict(part.values)
    whole = np.asarray(part.columns.sum(axis=0), np.float64).reshape(1, -1)
    return {name: float(values[0]) for name, values in part.statistic(whole).items()}


def _keep(draws: dict[str, list[Float64]], found: Mapping[str, Float64]) -> None:
    for name, values in found.items():
        draws.setdefault(name, []).append(values)


def _interval(value: float, resampled: Float64, *, shifted: bool) -> Interval:
    there = resampled[np.isfinite(resampled)]
    if not len(there):
        return Interval(value=value, low=float("nan"), high=float("nan"))
    if shifted:
        there = np.clip(there + (value - there.mean()), 0, 1)
    low, high = np.quantile(there, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(value=value, low=float(low), high=float(high))
