"""Paired comparison of two heads on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from embedstore.errors import InputError
from heads.evaluation.metrics.bootstrap import BootstrapEstimate, Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A difference between two heads.

    Attributes
    ----------
    difference
        First minus second, with its 95% interval.
    p_value
        Two-sided, of no difference.
    test
        ``"mcnemar"`` or ``"paired bootstrap"``.
    """

    difference: Interval
    p_value: float
    test: str


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Exact two-sided p-value that two heads have equal accuracy (McNemar 1947): a sign test where they disagree.

    >>> mcnemar(np.array([True] * 8 + [False] * 2), np.array([False] * 8 + [False] * 2))
    0.0078125
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def compare_paired(
    first: BootstrapEstimate,
    second: BootstrapEstimate,
    right: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
) -> Paired:
    """The difference of a metric between two heads that were scored with the same rows, groups and seed.

    Parameters
    ----------
    first, second
        The metric of each.
    right
        (N,) whether each is correct, for accuracy without resampling groups: the p-value is McNemar's. None: that of
        the paired bootstrap, twice the smaller share of resamples on one side of zero.

    Raises
    ------
    InputError
        If there are no resamples.
    """
    n = min(len(first.draws), len(second.draws))
    differences = first.draws[:n] - second.draws[:n]
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        raise InputError("There are no resamples to compare by. Ask for some (n_resamples=).")
    low, high = np.quantile(differences, [0.025, 0.975])
    value = first.value - second.value
    interval = Interval(value=value, low=float(low), high=float(high))
    if right is not None:
        return Paired(difference=interval, p_value=mcnemar(*right), test="mcnemar")
    # One more on each side, because the p-value of a finite number of resamples is never 0.
    one_side = 1 + min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return Paired(difference=interval, p_value=min(1.0, 2 * one_side / (len(differences) + 1)), test="paired bootstrap")
