"""95% bootstrap intervals of anything that is a function of sums over proteins, over proteins or groups of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heads.evaluation.metrics import N_RESAMPLES, Interval, wilson_interval

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""(r, m) sums of m columns in r resamples -> (r,) values."""

_BATCH_DRAWS = 2**22


def interval(columns: ArrayLike, statistic: Statistic, *, groups: ArrayLike | None = None, seed: int = 0) -> Interval:
    """A statistic of column sums, with percentiles of a bootstrap over the rows.

    Parameters
    ----------
    columns
        (n, m): what each protein adds to each sum.
    statistic
        From sums to values.
    groups
        (n,) what each protein belongs to; groups are then drawn, and not proteins.
    seed
        Of the bootstrap. Calls with as many rows, the same groups and seed draw the same resamples.
    """
    held = np.asarray(columns, np.float64)
    if groups is not None:
        names, number = np.unique(np.asarray(groups), return_inverse=True)
        grouped = np.zeros((len(names), held.shape[1]))
        np.add.at(grouped, number, held)
        held = grouped
    rng = np.random.default_rng(seed)
    batch = max(1, _BATCH_DRAWS // len(held))
    found: list[NDArray[np.float64]] = []
    for start in range(0, N_RESAMPLES, batch):
        draws = rng.multinomial(len(held), np.full(len(held), 1 / len(held)), min(batch, N_RESAMPLES - start))
        found.append(statistic(draws.astype(np.float64) @ held))
    return percentiles(float(statistic(held.sum(axis=0)[None])[0]), np.concatenate(found))


def percentiles(value: float, resampled: NDArray[np.float64]) -> Interval:
    """A value between the 2.5% and 97.5% quantiles of its resamples."""
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(value=value, low=float(low), high=float(high))


def share(right: NDArray[Any], of: NDArray[Any] | None = None, *, groups: ArrayLike | None = None) -> Interval:
    """The share of what is right: (n,) counts of each protein out of ``of``, by default 1."""
    counts = np.ones(len(right)) if of is None else of
    found = interval(np.stack([right, counts], axis=1), _ratio, groups=groups)
    if of is None and found.value in (0, 1):
        # The bootstrap has no spread there.
        low, high = wilson_interval(int(np.sum(right)), len(right))
        return Interval(value=found.value, low=low, high=high)
    return found


def difference(
    first: NDArray[Any], second: NDArray[Any], of: NDArray[Any] | None = None, *, groups: ArrayLike | None = None
) -> Interval:
    """Share of the first less that of the second, on the same proteins: (n,) counts of each."""
    counts = np.ones(len(first)) if of is None else of
    return interval(np.stack([first.astype(np.float64) - second, counts], axis=1), _ratio, groups=groups)


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return sums[:, 0] / sums[:, 1]
