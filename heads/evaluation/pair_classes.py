"""Metrics of pairs by how many of their two proteins are in training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from heads.evaluation.leakage import NEAR_DUPLICATE, Relatives
from heads.evaluation.metrics import N_RESAMPLES, measure
from heads.evaluation.outcomes import subset
from heads.evaluation.scoring import Scores
from heads.tasks.data import TaskData
from heads.tasks.keys import isin_keys

CLASSES = {2: "both", 1: "one", 0: "none"}
"""Proteins of a pair that are in training pairs: C1, C2 and C3 of Park and Marcotte 2012, Nature Methods 9:1134."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerClass:
    """The pairs of a split of one class.

    Attributes
    ----------
    identity
        A protein is in training if it has this identity to a protein of a training pair; 1: the same sequence.
    seen
        ``"both"``, ``"one"`` or ``"none"`` of the two proteins.
    n, share
        Number and share of pairs.
    value, low, high
        The metric, with its 95% interval; None where there are no such pairs, or it is undefined on them.
    """

    identity: float
    seen: str
    n: int
    share: float
    value: float | None = None
    low: float | None = None
    high: float | None = None


def partners_seen(data: TaskData, split: str) -> NDArray[np.int64]:
    """(n,) number of proteins of each pair of a split that are in a training pair, first or second."""
    first, second, rows, train = data.digests, data.require_partners(), data.rows(split), data.splits["train"]
    trained = np.concatenate([first[train], second[train]])
    return isin_keys(first[rows], trained).astype(np.int64) + isin_keys(second[rows], trained)


def by_partners(
    scores: Scores,
    data: TaskData,
    split: str,
    relatives: Relatives | str | None,
    *,
    metric: str,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[PartnerClass, ...]:
    """A metric by how many proteins of a pair are in training: identical sequences, then near duplicates too.

    Parameters
    ----------
    scores
        Of all rows of the split.
    data, split
        The task; empty for one that is not on pairs.
    relatives
        The nearest training proteins of some rows; without them identical sequences only.
    metric, n_resamples, seed
        The metric, and the bootstrap.
    """
    if data.input != "pair":
        return ()
    exact = partners_seen(data, split)
    counts = [(1.0, np.arange(len(exact)), exact)]
    if isinstance(relatives, Relatives):
        near = (relatives.each >= NEAR_DUPLICATE).sum(axis=0)
        # A protein too short to be found again counts where it is in training itself.
        counts.append((NEAR_DUPLICATE, relatives.rows, np.maximum(near, exact[relatives.rows])))
    classes = []
    for identity, rows, n_seen in counts:
        for number, name in CLASSES.items():
            inside = rows[n_seen == number]
            empty = PartnerClass(identity=identity, seen=name, n=len(inside), share=len(inside) / len(rows))
            classes.append(_score_class(empty, scores, inside, metric, n_resamples, seed))
    return tuple(classes)


def _score_class(
    empty: PartnerClass, scores: Scores, rows: NDArray[np.int64], metric: str, n_resamples: int, seed: int
) -> PartnerClass:
    if not len(rows):
        return empty
    groups = None if scores.groups is None else np.unique(scores.groups[rows], return_inverse=True)[1].astype(np.int64)
    outcomes = subset(scores.outcomes, rows)
    metrics = measure(outcomes.parts(), len(rows), groups=groups, n_resamples=n_resamples, seed=seed)
    if metric not in metrics:
        return empty
    interval = metrics[metric].interval
    return replace(empty, value=interval.value, low=interval.low, high=interval.high)
