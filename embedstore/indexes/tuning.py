"""Recall of an index, and the least search effort that reaches a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.indexes.compressed import TUNED_K, SearchParams

SAMPLE = 500
"""Stored rows on which recall is measured."""

TARGET = 0.99
"""Recall of the ten nearest that is aimed at."""

_Z = 1.645
_NOWHERE = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """The share of the true ``k`` nearest that is found, over ``n_queries`` stored rows that do not count themselves.

    ``low`` is the lower end of a one-sided 95% interval, ``target`` what it was meant to reach.
    """

    k: int
    value: float
    low: float
    target: float
    n_queries: int

    @property
    def is_reached(self) -> bool:
        """Whether the interval lies above the target."""
        return self.low >= self.target

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON takes them."""
        return {**asdict(self), "reached": self.is_reached}


def estimate_recall(shares: NDArray[np.float64], target: float) -> Recall:
    """Recall from the share that was found for each query, (n,).

    One query more, for which nothing was found, is counted in the bound: where all found everything, that gives
    about the rule of three, and never the certainty that a spread of zero would claim.
    """
    more = np.append(shares, 0.0)
    low = more.mean() - _Z * more.std(ddof=1) / np.sqrt(len(more))
    return Recall(
        k=TUNED_K,
        value=float(shares.mean()),
        low=max(0.0, float(low)),
        target=target,
        n_queries=len(shares),
    )


def tune(
    choices: Sequence[SearchParams],
    candidates: Callable[[SearchParams], NDArray[np.int64]],
    truth: NDArray[np.int64],
    target: float,
) -> tuple[SearchParams, Recall]:
    """The cheapest effort whose recall reaches the target with 95% confidence; else the one with the highest recall.

    Parameters
    ----------
    efforts
        What can be chosen from, the cheapest first.
    candidates
        Gives, for an effort, the candidates (n, c) of each query, the nearest as the index believes first.
    truth
        (n, k) row numbers of the true nearest; -1 where there are fewer.
    target
        Recall to reach.
    """
    most = {
        probes: max(choice.candidates for choice in choices if choice.probes == probes) for probes in _probes(choices)
    }
    places: dict[int, NDArray[np.int64]] = {}
    best: tuple[SearchParams, Recall] | None = None
    for effort in choices:
        if effort.probes not in places:
            widest = candidates(SearchParams(probes=effort.probes, candidates=most[effort.probes]))
            places[effort.probes] = _places(widest, truth)
        is_found = places[effort.probes] < effort.candidates
        is_true = truth >= 0
        shares = (is_found & is_true).sum(axis=1) / np.maximum(is_true.sum(axis=1), 1)
        recall = estimate_recall(shares, target)
        if recall.is_reached:
            return effort, recall
        if best is None or recall.low > best[1].low:
            best = effort, recall
    assert best is not None  # noqa: S101 - there is always an effort
    return best


def _probes(choices: Sequence[SearchParams]) -> list[int]:
    return sorted({choice.probes for choice in choices})


def _places(candidates: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """At which place among its candidates each true neighbour stands, (n, k); behind all of them if at none."""
    out = np.empty(truth.shape, np.int64)
    for row, (row_candidates, true_rows) in enumerate(zip(candidates, truth, strict=True)):
        order = np.argsort(row_candidates, kind="stable")
        positions = np.minimum(np.searchsorted(row_candidates, true_rows, sorter=order), len(row_candidates) - 1)
        out[row] = np.where(row_candidates[order[positions]] == true_rows, order[positions], _NOWHERE)
    return out
