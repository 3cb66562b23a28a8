"""What a head promised from its validation rows, set against what it did on others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from embedstore.errors import InputError
from heads.calibration.risk_control import lower_bound
from heads.calibration.validation_predictions import CONFIDENCE, ValidationPredictions
from heads.evaluation.metrics import N_RESAMPLES, ClassOutcomes, Interval, NumberOutcomes, measure
from heads.evaluation.metrics.bootstrap import Sums
from heads.evaluation.scoring import Scores

MAX_ERRORS = (0.01, 0.05, 0.1)
"""Shares of wrong answers that promises are checked for."""

_RISK = 0.025
"""Of saying that a promise was not kept where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuaranteeCheck:
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
        False where the split shows, but for a risk of a fortieth, that the share is worse than promised.
    """

    promised: float
    threshold: float
    answered: float
    seen: Interval
    kept: bool


def check_guarantees(
    proof: ValidationPredictions | None, found: Scores, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[GuaranteeCheck, ...]:
    """Check what the validation rows let a head promise on the rows of another split.

    Parameters
    ----------
    proof
        Of the head; None for one that was fitted without validation rows, which promises nothing.
    found
        What the head did on the split.
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
    if isinstance(found.outcomes, NumberOutcomes):
        return tuple(_interval(proof, found, found.outcomes, n_resamples, seed))
    if isinstance(found.outcomes, ClassOutcomes):
        return tuple(_errors(proof, found, found.outcomes, n_resamples, seed))
    return ()


def _errors(
    proof: ValidationPredictions, found: Scores, outcomes: ClassOutcomes, n_resamples: int, seed: int
) -> Iterator[GuaranteeCheck]:
    for max_error in MAX_ERRORS:
        try:
            promise = proof.promise(max_error)
        except InputError:
            continue  # too few validation rows to promise this
        given = (outcomes.predicted >= 0) & (outcomes.confidence >= np.float32(promise.threshold))
        if math.isinf(promise.threshold) or not given.any():
            continue
        wrong, groups = ~outcomes.right[given], _groups(found, given)
        yield GuaranteeCheck(
            promised=max_error,
            threshold=promise.threshold,
            answered=float(given.mean()),
            seen=_share(wrong, groups, n_resamples, seed),
            kept=lower_bound(wrong, groups, _RISK) <= max_error,
        )


def _interval(
    proof: ValidationPredictions, found: Scores, outcomes: NumberOutcomes, n_resamples: int, seed: int
) -> Iterator[GuaranteeCheck]:
    half, rank = proof.half_width(CONFIDENCE), proof.rank(CONFIDENCE)
    there = found.with_vector
    if half is None or rank is None or not there.any():
        return
    missed = (np.abs(outcomes.true - outcomes.predicted) > half)[there]
    groups = _groups(found, there)
    # The promise is on average over validation rows: those of this head cover as much as a beta variable says.
    least = float(beta.ppf(_RISK, rank, len(proof.residuals) + 1 - rank))
    yield GuaranteeCheck(
        promised=CONFIDENCE,
        threshold=half,
        answered=float(there.mean()),
        seen=_share(~missed, groups, n_resamples, seed),
        kept=lower_bound(missed, groups, _RISK) <= 1 - least,
    )


def _groups(found: Scores, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) from 0: which of some rows are drawn together."""
    groups = np.arange(len(rows)) if found.groups is None else found.groups
    return np.unique(groups[rows], return_inverse=True)[1].astype(np.int64)


def _share(true: NDArray[np.bool_], groups: NDArray[np.int64], n_resamples: int, seed: int) -> Interval:
    """How many of (n,) rows it is true of, with its interval."""
    part = Sums(
        columns=np.stack([np.ones(len(true)), true.astype(np.float64)], axis=1),
        statistic=lambda sums: {"share": sums[:, 1] / np.maximum(sums[:, 0], 1)},
        proportions=frozenset({"share"}),
    )
    return measure([part], len(true), groups=groups, n_resamples=n_resamples, seed=seed)["share"].interval
