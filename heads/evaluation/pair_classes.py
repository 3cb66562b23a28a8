"""Pairs by how many of their two proteins were trained on: what one figure for all pairs hides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heads.evaluation.leakage import NEAR_DUPLICATE, Relatives
from heads.evaluation.metrics import N_RESAMPLES, measure
from heads.evaluation.outcomes import take
from heads.evaluation.scoring import Scores
from heads.tasks.data import TaskData
from heads.tasks.leakage import isin_keys

CLASSES = {2: "both", 1: "one", 0: "none"}
"""Proteins of a pair that stand in training pairs: C1, C2 and C3 of Park and Marcotte 2012, Nature Methods 9:1134."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerClass:
    """The pairs of a split of one class.

    Attributes
    ----------
    identity
        From which identity to a protein of any training pair on a protein counts as seen; 1 is the same sequence.
    seen
        ``"both"``, ``"one"`` or ``"none"`` of the two proteins.
    n, share
        Pairs, of those looked at.
    value, low, high
        The metric, with its 95% interval; None without such pairs, or where they do not give it.
    """

    identity: float
    seen: str
    n: int
    share: float
    value: float | None = None
    low: float | None = None
    high: float | None = None


def partners_seen(data: TaskData, split: str) -> NDArray[np.int64]:
    """(n,) of each pair of a split, how many of its proteins stand in a training pair, first or second."""
    first, second, rows, trained = data.digests, data.require_partners(), data.rows(split), data.splits["train"]
    known = np.concatenate([first[trained], second[trained]])
    return isin_keys(first[rows], known).astype(np.int64) + isin_keys(second[rows], known)


def by_partners(
    found: Scores,
    data: TaskData,
    split: str,
    near: Relatives | str | None,
    *,
    metric: str,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[PartnerClass, ...]:
    """A metric by how many proteins of a pair were trained on: the same sequences, then near duplicates too.

    Parameters
    ----------
    found
        Of all rows of the split.
    data, split
        The task; empty for one that is not on pairs.
    near
        The nearest training proteins of some rows; without them the same sequences alone are told.
    metric, n_resamples, seed
        What to measure, and the bootstrap.
    """
    if data.input != "pair":
        return ()
    exact = partners_seen(data, split)
    target_types = [(1.0, np.arange(len(exact)), exact)]
    if isinstance(near, Relatives):
        # A protein too short to be found again is seen all the same if it stands there.
        alike = (near.each >= NEAR_DUPLICATE).sum(axis=0)
        target_types.append((NEAR_DUPLICATE, near.rows, np.maximum(alike, exact[near.rows])))
    classes = []
    for identity, rows, n_seen in target_types:
        for number, name in CLASSES.items():
            held = rows[n_seen == number]
            one = PartnerClass(identity=identity, seen=name, n=len(held), share=len(held) / len(rows))
            classes.append(_measured(one, found, held, metric, n_resamples, seed))
    return tuple(classes)


def _measured(
    one: PartnerClass, found: Scores, rows: NDArray[np.int64], metric: str, n_resamples: int, seed: int
) -> PartnerClass:
    if not len(rows):
        return one
    groups = None if found.groups is None else np.unique(found.groups[rows], return_inverse=True)[1].astype(np.int64)
    figures = measure(take(found.outcomes, rows).parts(), len(rows), groups=groups, n_resamples=n_resamples, seed=seed)
    if metric not in figures:
        return one
    interval = figures[metric].interval
    return PartnerClass(
        identity=one.identity, seen=one.seen, n=one.n, share=one.share,
        value=interval.value, low=interval.low, high=interval.high,
    )  # fmt: skip
