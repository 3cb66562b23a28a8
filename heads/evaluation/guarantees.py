"""Whether guarantees from the validation rows hold on other rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from embedstore.errors import InputError
from heads.calibration.risk_control import CONFIDENCE, ValidationPredictions, lower_bound
from heads.evaluation.metrics import N_RESAMPLES, ClassOutcomes, Interval, NumberOutcomes, measure
from heads.evaluation.metrics.bootstrap import Sums
from heads.evaluation.scoring import Scores

MAX_ERRORS = (0.01, 0.05, 0.1)
"""Shares of wrong answers for which guarantees are checked."""

_RISK = 0.025
"""Of reporting a violation where the guarantee holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuaranteeCheck:
    """A guarantee from the validation rows, and whether it holds on a split.

    Attributes
    ----------
    guaranteed
        For answers: the highest share of wrong ones, with 95% confidence. For intervals: the lowest coverage.
    threshold
        For answers: the lowest probability that is answered. For intervals: half their width, in units of the label.
    answered
        Share of the split with an answer, or an interval.
    observed
        On the split: the share of wrong answers, or the coverage of the intervals.
    holds
        False where the split shows a violation, at a risk of 2.5%.
    """

    guaranteed: float
    threshold: float
    answered: float
    observed: Interval
    holds: bool


def check_guarantees(
    validation: ValidationPredictions | None, scores: Scores, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[GuaranteeCheck, ...]:
    """Check on another split what the validation rows guarantee.

    Parameters
    ----------
    validation
        Of the head; None where it was fitted without validation rows: there is no guarantee.
    scores
        Of the head on the split.
    n_resamples, seed
        Of the bootstrap.

    Returns
    -------
    tuple of GuaranteeCheck
        For classes and levels one for each of `MAX_ERRORS` that leaves at least one answer; for regression one for the
        95% interval; for multilabel none, because outcomes hold no single answers.
    """
    if validation is None:
        return ()
    if isinstance(scores.outcomes, NumberOutcomes):
        return tuple(_check_interval(validation, scores, scores.outcomes, n_resamples, seed))
    if isinstance(scores.outcomes, ClassOutcomes):
        return tuple(_check_errors(validation, scores, scores.outcomes, n_resamples, seed))
    return ()


def _check_errors(
    validation: ValidationPredictions, scores: Scores, outcomes: ClassOutcomes, n_resamples: int, seed: int
) -> Iterator[GuaranteeCheck]:
    for max_error in MAX_ERRORS:
        try:
            risk = validation.risk_threshold(max_error)
        except InputError:
            continue  # too few validation rows for this error
        answered = (outcomes.predicted >= 0) & (outcomes.confidence >= np.float32(risk.threshold))
        if math.isinf(risk.threshold) or not answered.any():
            continue
        wrong, groups = ~outcomes.right[answered], _groups(scores, answered)
        yield GuaranteeCheck(
            guaranteed=max_error,
            threshold=risk.threshold,
            answered=float(answered.mean()),
            observed=_share(wrong, groups, n_resamples, seed),
            holds=lower_bound(wrong, groups, _RISK) <= max_error,
        )


def _check_interval(
    validation: ValidationPredictions, scores: Scores, outcomes: NumberOutcomes, n_resamples: int, seed: int
) -> Iterator[GuaranteeCheck]:
    half_width, rank = validation.interval_half_width(CONFIDENCE), validation.interval_rank(CONFIDENCE)
    predicted = scores.has_vector
    if half_width is None or rank is None or not predicted.any():
        return
    missed = (np.abs(outcomes.true - outcomes.predicted) > half_width)[predicted]
    groups = _groups(scores, predicted)
    # Coverage is guaranteed on average over validation sets; for this one it follows a beta distribution.
    lowest = float(beta.ppf(_RISK, rank, len(validation.residuals) + 1 - rank))
    yield GuaranteeCheck(
        guaranteed=CONFIDENCE,
        threshold=half_width,
        answered=float(predicted.mean()),
        observed=_share(~missed, groups, n_resamples, seed),
        holds=lower_bound(missed, groups, _RISK) <= 1 - lowest,
    )


def _groups(scores: Scores, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) resampling group, from 0, of some rows."""
    groups = np.arange(len(mask)) if scores.groups is None else scores.groups
    return np.unique(groups[mask], return_inverse=True)[1].astype(np.int64)


def _share(true: NDArray[np.bool_], groups: NDArray[np.int64], n_resamples: int, seed: int) -> Interval:
    """Share of True among (n,) rows, with its interval."""
    part = Sums(
        columns=np.stack([np.ones(len(true)), true.astype(np.float64)], axis=1),
        statistic=lambda sums: {"share": sums[:, 1] / np.maximum(sums[:, 0], 1)},
        proportions=frozenset({"share"}),
    )
    return measure([part], len(true), groups=groups, n_resamples=n_resamples, seed=seed)["share"].interval
