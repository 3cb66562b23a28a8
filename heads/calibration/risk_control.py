"""How likely a voted label is right, and from which probability on a stated share of errors is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import beta

Float64 = NDArray[np.float64]

N_FOLDS = 5
"""Groups of families that are scored by a calibrator which has seen none of them."""

_PENALTY = 1.0
"""Of the squared slopes, in rows: enough that separable rows give finite slopes."""

_ISOTONIC_ROWS = 200
"""With fewer rows steps would be noise: the logistic curve alone is used."""

_NO_VARIANCE = 1e-12
_N_CANDIDATES = 200
_STARTS = (1, 3, 9)
"""A search for a threshold begins where the fewest rows that can prove anything are answered, and at three and nine
times as many: a wrong row or two at the very top do not end all three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSet:
    """Calibration rows: what a vote looked like, and whether it was right.

    Attributes
    ----------
    features
        (n, F) float64; the probability grows with each of the first ``n_rising``.
    right
        (n,) bool.
    weights
        (n,) positive: how much each row counts, because known and unknown families are mixed in a stated share.
    groups
        (n,) what each row belongs to (its family): groups are never parted by cross-fitting.
    clusters
        (n,) rows that are drawn together and not taken for independent.
    """

    features: Float64
    right: NDArray[np.bool_]
    weights: Float64
    groups: NDArray[np.int64]
    clusters: NDArray[np.int64]

    def take(self, rows: NDArray[Any]) -> CalibrationSet:
        """Some of the rows, by number or mask."""
        return CalibrationSet(**{name: getattr(self, name)[rows] for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrator:
    """Features of a vote to a probability: a logistic curve whose slopes are not negative, then a monotone correction.

    Attributes
    ----------
    centre, scale
        (F,) of the features.
    slopes, offset
        Of the standardised features.
    knots, heights
        Logits and the probabilities there, both ascending, between which is interpolated; empty without a correction.
    """

    centre: Float64
    scale: Float64
    slopes: Float64
    offset: float
    knots: Float64
    heights: Float64

    def logits(self, features: Float64) -> Float64:
        """Scores of (n, F) features, (n,): the order in which answers are given up."""
        logits: Float64 = (features - self.centre) / self.scale @ self.slopes + self.offset
        return logits

    def probabilities(self, features: Float64) -> Float64:
        """Probability that the label is right, (n,)."""
        return self.probabilities_of(self.logits(features))

    def probabilities_of(self, logits: Float64) -> Float64:
        """Probabilities of logits, (n,)."""
        if not len(self.knots):
            return np.asarray(expit(logits), np.float64)
        return np.interp(logits, self.knots, self.heights)


def fit_calibrator(evidence: CalibrationSet, *, n_rising: int, n_folds: int = N_FOLDS) -> tuple[Calibrator, Float64]:
    """A calibrator, and the logit of each calibration row by one that has not seen its group.

    Parameters
    ----------
    evidence
        With right and wrong rows.
    n_rising
        So many of the features come first that the probability must grow with.

    Returns
    -------
    calibrator : Calibrator
        Fitted on all rows; the correction on the cross-fitted logits.
    logits : numpy.ndarray
        (n,) cross-fitted.
    """
    whole = _logistic(evidence, n_rising)
    # Groups are dealt out by size, so that folds have about as many rows.
    names, code, sizes = np.unique(evidence.groups, return_inverse=True, return_counts=True)
    fold_of = np.empty(len(names), np.int64)
    fold_of[np.argsort(-sizes, kind="stable")] = np.arange(len(names)) % n_folds
    fold = fold_of[code]
    logits = whole.logits(evidence.features)
    for number in range(n_folds):
        held = fold == number
        rest = evidence.take(~held)
        if held.any() and rest.right.any() and not rest.right.all():
            logits[held] = _logistic(rest, n_rising).logits(evidence.features[held])
    if len(logits) < _ISOTONIC_ROWS:
        return whole, logits
    knots, heights = _isotonic(logits, evidence.right, evidence.weights)
    return replace(whole, knots=knots, heights=heights), logits


def _logistic(evidence: CalibrationSet, n_rising: int) -> Calibrator:
    """Weighted logistic regression with slopes of at least 0 for the rising features and a small ridge penalty."""
    centre = evidence.features.mean(axis=0)
    scale = evidence.features.std(axis=0)
    scale[scale < 1e-9] = 1.0
    x = (evidence.features - centre) / scale
    n_rows, n_features = x.shape
    weights = evidence.weights * (n_rows / evidence.weights.sum())
    sign = np.where(evidence.right, 1.0, -1.0)

    def loss(parameters: Float64) -> tuple[float, Float64]:
        margin = sign * (x @ parameters[:-1] + parameters[-1])
        pull = -sign * weights * expit(-margin)
        slopes = parameters[:-1]
        value = float(weights @ np.logaddexp(0.0, -margin)) + _PENALTY * float(slopes @ slopes) / 2
        return value, np.append(x.T @ pull + _PENALTY * slopes, pull.sum())

    share = float(np.clip(weights[evidence.right].sum() / n_rows, 1e-3, 1 - 1e-3))
    start = np.append(np.zeros(n_features), math.log(share / (1 - share)))
    bounds = [(0.0, None)] * n_rising + [(None, None)] * (n_features - n_rising + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibrator(
        centre=centre, scale=scale, slopes=found[:-1], offset=float(found[-1]), knots=np.empty(0), heights=np.empty(0)
    )


def _isotonic(logits: Float64, right: NDArray[np.bool_], weights: Float64) -> tuple[Float64, Float64]:
    """Isotonic regression, joined by lines between the centres of its steps (Oron and Flournoy 2017).

    A step is the share of right rows with half a row of each kind added: nothing is certain after a finite number.
    """
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(logits, kind="stable")
    weight = weights[order] * (len(logits) / weights.sum())
    level = isotonic_regression(right[order].astype(np.float64), sample_weight=weight)
    starts = np.flatnonzero(np.append(True, np.diff(level) > 0))
    total = np.add.reduceat(weight, starts)
    n_right = np.add.reduceat(weight * right[order], starts)
    knots = np.add.reduceat(weight * logits[order], starts) / total
    heights = np.maximum.accumulate((n_right + 0.5) / (total + 1))
    return knots, heights


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskThreshold:
    """From which logit on answers are given, and what the calibration rows say of them.

    Attributes
    ----------
    threshold
        Lowest logit that is answered; infinite where nothing can be.
    bound
        Upper confidence bound of the share of wrong answers.
    error
        The share seen.
    answered
        Share of all calibration rows, weighted, that are answered.
    n_answered
        Their number.
    lowest
        The least rate that some threshold could have promised.
    """

    threshold: float
    bound: float
    error: float
    answered: float
    n_answered: int
    lowest: float


def rows_needed(max_error: float, confidence: float) -> int:
    """Fewest answers, all right, that prove an error of at most `max_error`; see `find_threshold`.

    >>> rows_needed(0.01, 0.95), rows_needed(0.05, 0.95)
    (408, 80)
    """
    return math.ceil(math.log((1 - confidence) / len(_STARTS)) / math.log1p(-max_error))


def effective_rows(weights: Float64) -> float:
    """How many of equal weight tell as much (Kish 1965).

    >>> effective_rows(np.ones(7))
    7.0
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def find_threshold(logits: Float64, evidence: CalibrationSet, *, max_error: float, confidence: float) -> RiskThreshold:
    """The lowest threshold at which the share of wrong answers is at most `max_error`, with the stated confidence.

    Thresholds are tested from strict to lax until one fails (fixed-sequence testing, as in Angelopoulos et al. 2021,
    "Learn then test"), from three starts that share the allowed risk. Each test is a Clopper-Pearson bound with an
    effective number of rows, which weights and relatives make smaller (Korn and Graubard 1998). Where errors say
    nothing of how alike relatives are, there being none or as many in each cluster, a cluster counts once, as it does
    for the starts. The logits are cross-fitted, so that no row is judged by a calibrator that has seen its family.

    The promise holds for queries that are like the calibration rows, mixed as their weights say. It is on average over
    such queries, not for each family.
    """
    order = np.argsort(-logits, kind="stable")
    ranked = evidence.take(order)
    clusters = np.unique(ranked.clusters, return_inverse=True)[1]
    sorted_logits = logits[order]
    n_rows = len(logits)
    # A threshold answers all rows of its logit or none.
    ends = np.flatnonzero(np.append(np.diff(sorted_logits) < 0, True)) + 1
    wanted = np.linspace(n_rows / _N_CANDIDATES, n_rows, _N_CANDIDATES)
    stops = ends[np.unique(np.minimum(np.searchsorted(ends, wanted), len(ends) - 1))]
    risk = (1 - confidence) / len(_STARTS)
    bounds = np.array([_upper_bound(ranked, clusters, int(stop), risk) for stop in stops])
    sizes = np.array([_effective_clusters(ranked.weights[:stop], clusters[:stop]) for stop in stops])
    needed = rows_needed(max_error, confidence)
    reached = -1
    for factor in _STARTS:
        enough = np.flatnonzero(sizes >= factor * needed)
        first = int(enough[0]) if len(enough) else len(stops)
        failing = np.flatnonzero(bounds[first:] > max_error)
        last = first + (int(failing[0]) if len(failing) else len(stops) - first) - 1
        if last >= first:
            reached = max(reached, last)
    if reached < 0:
        return RiskThreshold(
            threshold=math.inf, bound=math.nan, error=math.nan, answered=0.0, n_answered=0, lowest=float(bounds.min())
        )
    stop = int(stops[reached])
    answered = float(ranked.weights[:stop].sum())
    return RiskThreshold(
        threshold=float(sorted_logits[stop - 1]),
        bound=float(bounds[reached]),
        error=float(ranked.weights[:stop][~ranked.right[:stop]].sum()) / answered,
        answered=answered / float(ranked.weights.sum()),
        n_answered=stop,
        lowest=float(bounds.min()),
    )


def _effective_clusters(weights: Float64, clusters: NDArray[np.int64]) -> float:
    return effective_rows(np.bincount(clusters, weights=weights).astype(np.float64))


def _upper_bound(ranked: CalibrationSet, numbers: NDArray[np.int64], stop: int, risk: float) -> float:
    """Upper bound of the share of wrong rows among the first `stop`, whose clusters are numbered from 0."""
    share, size = _share(ranked.weights[:stop], ~ranked.right[:stop], numbers[:stop])
    return 1.0 if share == 1 else float(beta.ppf(1 - risk, share * size + 1, (1 - share) * size))


def lower_bound(true: NDArray[np.bool_], clusters: NDArray[np.int64], risk: float) -> float:
    """Lower bound of the share of (n,) rows that something is true of: it lies under it but for this risk.

    That of Clopper and Pearson with as many rows as tell as much: see `find_threshold`.

    >>> round(lower_bound(np.ones(1, bool), np.zeros(1, int), 0.025), 3)
    0.025
    """
    share, size = _share(np.ones(len(true)), true, np.unique(clusters, return_inverse=True)[1])
    return 0.0 if share == 0 else float(beta.ppf(risk, share * size, (1 - share) * size + 1))


def _share(weights: Float64, wrong: NDArray[np.bool_], clusters: NDArray[np.int64]) -> tuple[float, float]:
    """Weighted share of wrong rows, and how many independent rows of equal weight tell as much of it."""
    total = float(weights.sum())
    share = float(weights[wrong].sum()) / total
    n_clusters = int((np.bincount(clusters) > 0).sum())
    sums = np.bincount(clusters, weights=weights * (wrong - share)) / total
    variance = float((sums**2).sum()) * n_clusters / max(n_clusters - 1, 1)
    size = _effective_clusters(weights, clusters)
    if variance > _NO_VARIANCE * share * (1 - share):
        size = min(effective_rows(weights), share * (1 - share) / variance)
    return share, size
