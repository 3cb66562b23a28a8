"""What a head promised from its validation rows, set against what it did on others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.measuring.metrics import N_RESAMPLES, ClassOutcomes, Metric, NumberOutcomes, Outcomes, measure
from heads.measuring.metrics.intervals import Sums
from heads.measuring.proof import CONFIDENCE, Proof

MAX_ERRORS = (0.01, 0.05, 0.1)
"""Shares of wrong answers that promises are checked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPromise:
    """A promise, and what became of it on a split.

    Attributes
    ----------
    promised
        Of errors: the highest share of wrong answers, with 95% confidence. Of intervals: the share that holds the
        number.
    threshold
        Errors: probability from which on answers are given. Intervals: half of their width, in units of the label.
    answered
        Share of the split that got such an answer, or interval.
    seen
        The share on the split: of wrong answers, or of numbers in their intervals.
    kept
        Whether the split agrees: its 95% interval reaches what was promised.
    """

    promised: float
    threshold: float
    answered: float
    seen: Metric
    kept: bool


def kept_promises(
    proof: Proof | None,
    outcomes: Outcomes,
    *,
    groups: NDArray[np.int64] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[KeptPromise, ...]:
    """Check what the validation rows let a head promise on the rows of another split.

    Parameters
    ----------
    proof
        Of the head; None for one that was fitted without validation rows, which promises nothing.
    outcomes
        Of the split.
    groups
        (n,) int64 rows that are drawn together.
    n_resamples, seed
        Of the bootstrap.

    Returns
    -------
    tuple of KeptPromise
        Of classes and levels for each of `MAX_ERRORS` that could be promised for at least one answer; of numbers for
        their 95% interval; of sets of labels nothing, whose single answers are not kept.
    """
    if proof is None:
        return ()
    if isinstance(outcomes, NumberOutcomes):
        half = proof.half_width(CONFIDENCE)
        if half is None:
            return ()
        held = np.abs(outcomes.true - outcomes.predicted) <= half
        seen = _share(held, groups, n_resamples, seed)
        return (
            KeptPromise(promised=CONFIDENCE, threshold=half, answered=1.0, seen=seen, kept=seen.high >= CONFIDENCE),
        )
    if not isinstance(outcomes, ClassOutcomes):
        return ()
    found = []
    for max_error in MAX_ERRORS:
        try:
            promise = proof.promise(max_error)
        except InputError:
            continue  # too few validation rows to promise this
        given = (outcomes.predicted >= 0) & (outcomes.confidence >= np.float32(promise.threshold))
        if math.isinf(promise.threshold) or not given.any():
            continue
        seen = _share(~outcomes.right[given], None if groups is None else groups[given], n_resamples, seed)
        found.append(
            KeptPromise(
                promised=max_error,
                threshold=promise.threshold,
                answered=float(given.mean()),
                seen=seen,
                kept=seen.low <= max_error,
            )
        )
    return tuple(found)


def _share(true: NDArray[np.bool_], groups: NDArray[np.int64] | None, n_resamples: int, seed: int) -> Metric:
    """How many of (n,) rows it is true of, with its interval."""
    part = Sums(
        columns=np.stack([np.ones(len(true)), true.astype(np.float64)], axis=1),
        statistic=lambda sums: {"share": sums[:, 1] / np.maximum(sums[:, 0], 1)},
        proportions=frozenset({"share"}),
    )
    codes = None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64)
    return measure([part], len(true), groups=codes, n_resamples=n_resamples, seed=seed)["share"].interval
