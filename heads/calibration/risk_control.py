"""Calibrated probabilities of answers, and thresholds that bound the share of wrong answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import beta

from embedstore.errors import InputError

Float64 = NDArray[np.float64]

CONFIDENCE = 0.95
"""Of a guarantee, unless another is asked for."""

N_FOLDS = 5
"""Folds of the cross-fitting; a group (family) is never split between folds."""

_PENALTY = 1.0
"""Weight of the squared slopes, in examples: separable examples get finite slopes."""

_MIN_ISOTONIC = 200
"""Fewest examples for the isotonic correction; with fewer only the logistic curve is used."""

_NO_VARIANCE = 1e-12
_N_CANDIDATES = 200
_STARTS = (1, 3, 9)
"""The search for a threshold starts at `min_examples`, and at three and nine times as many, so that one or two wrong
answers with a very high score do not end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSet:
    """Scored answers with known truth.

    Attributes
    ----------
    features
        (n, F) float64; the probability increases with each of the first ``n_monotone``.
    right
        (n,) bool, whether the answer is correct.
    weights
        (n,) positive weights.
    groups
        (n,) group (family) of each answer; cross-fitting never splits a group.
    clusters
        (n,) cluster of each answer; answers of one cluster are not independent.
    """

    features: Float64
    right: NDArray[np.bool_]
    weights: Float64
    groups: NDArray[np.int64]
    clusters: NDArray[np.int64]

    def subset(self, indices: NDArray[Any]) -> CalibrationSet:
        """Some of the answers, by index or mask."""
        return CalibrationSet(**{name: getattr(self, name)[indices] for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrator:
    """Maps features to a probability: logistic regression with non-negative slopes, then isotonic regression.

    Attributes
    ----------
    centre, scale
        (F,) mean and standard deviation of the features.
    slopes, offset
        Coefficients of the standardised features.
    knots, heights
        Logits and their probabilities, both ascending; linear interpolation in between. Empty without isotonic
        regression.
    """

    centre: Float64
    scale: Float64
    slopes: Float64
    offset: float
    knots: Float64
    heights: Float64

    def logits(self, features: Float64) -> Float64:
        """Logits of (n, F) features, (n,); answers with the lowest are abstained from first."""
        logits: Float64 = (features - self.centre) / self.scale @ self.slopes + self.offset
        return logits

    def probabilities(self, logits: Float64) -> Float64:
        """Probability that an answer with each of (n,) logits is correct, (n,)."""
        if not len(self.knots):
            return np.asarray(expit(logits), np.float64)
        return np.interp(logits, self.knots, self.heights)


def fit_calibrator(examples: CalibrationSet, *, n_monotone: int, n_folds: int = N_FOLDS) -> tuple[Calibrator, Float64]:
    """Fit a calibrator on examples of which some are correct and some wrong, and cross-fit the logit of each.

    The probability does not decrease with any of the first `n_monotone` features.

    Returns
    -------
    calibrator : Calibrator
        Fitted on all examples; its isotonic correction on the cross-fitted logits.
    logits : numpy.ndarray
        (n,) each by a calibrator that was not fitted on the example's group, with `n_folds` folds.
    """
    calibrator = _fit_logistic(examples, n_monotone)
    # Groups go to folds by size, so that folds are about equal.
    names, code, sizes = np.unique(examples.groups, return_inverse=True, return_counts=True)
    fold_of = np.empty(len(names), np.int64)
    fold_of[np.argsort(-sizes, kind="stable")] = np.arange(len(names)) % n_folds
    fold = fold_of[code]
    logits = calibrator.logits(examples.features)
    for number in range(n_folds):
        held_out = fold == number
        rest = examples.subset(~held_out)
        if held_out.any() and rest.right.any() and not rest.right.all():
            logits[held_out] = _fit_logistic(rest, n_monotone).logits(examples.features[held_out])
    if len(logits) < _MIN_ISOTONIC:
        return calibrator, logits
    knots, heights = _fit_isotonic(logits, examples.right, examples.weights)
    return replace(calibrator, knots=knots, heights=heights), logits


def _fit_logistic(examples: CalibrationSet, n_monotone: int) -> Calibrator:
    """Weighted logistic regression with a small ridge penalty; the first `n_monotone` slopes are at least 0."""
    centre = examples.features.mean(axis=0)
    scale = examples.features.std(axis=0)
    scale[scale < 1e-9] = 1.0
    x = (examples.features - centre) / scale
    n_examples, n_features = x.shape
    weights = examples.weights * (n_examples / examples.weights.sum())
    sign = np.where(examples.right, 1.0, -1.0)

    def loss(parameters: Float64) -> tuple[float, Float64]:
        margin = sign * (x @ parameters[:-1] + parameters[-1])
        pull = -sign * weights * expit(-margin)
        slopes = parameters[:-1]
        value = float(weights @ np.logaddexp(0.0, -margin)) + _PENALTY * float(slopes @ slopes) / 2
        return value, np.append(x.T @ pull + _PENALTY * slopes, pull.sum())

    share = float(np.clip(weights[examples.right].sum() / n_examples, 1e-3, 1 - 1e-3))
    start = np.append(np.zeros(n_features), math.log(share / (1 - share)))
    bounds = [(0.0, None)] * n_monotone + [(None, None)] * (n_features - n_monotone + 1)
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibrator(
        centre=centre, scale=scale, slopes=fitted[:-1], offset=float(fitted[-1]), knots=np.empty(0), heights=np.empty(0)
    )


def _fit_isotonic(logits: Float64, right: NDArray[np.bool_], weights: Float64) -> tuple[Float64, Float64]:
    """Isotonic regression, interpolated between the centres of its steps (Oron and Flournoy 2017).

    The height of a step is the share of correct answers after half a correct and half a wrong one are added, so that no
    probability is 0 or 1.
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
    """A score threshold, and the error and coverage that it has on the calibration set.

    Attributes
    ----------
    threshold
        Answers with a lower score are abstained from; infinite where no threshold has the required error.
    upper_bound
        Upper confidence bound of the share of wrong answers.
    observed_error
        Weighted share of wrong answers on the calibration set.
    coverage
        Weighted share of the calibration set that is answered.
    n_answered
        Number of examples that are answered.
    lowest_bound
        The lowest upper bound of any threshold: the smallest error that could have been guaranteed.
    """

    threshold: float
    upper_bound: float
    observed_error: float
    coverage: float
    n_answered: int
    lowest_bound: float


def min_examples(max_error: float, confidence: float) -> int:
    """Fewest answers, all correct, that guarantee an error of at most `max_error`; see `find_threshold`.

    >>> min_examples(0.01, 0.95), min_examples(0.05, 0.95)
    (408, 80)
    """
    return math.ceil(math.log((1 - confidence) / len(_STARTS)) / math.log1p(-max_error))


def min_error(n_examples: float, confidence: float) -> float:
    """The smallest error, in steps of 0.001, that so many correct answers can guarantee.

    >>> min_error(80, 0.95)
    0.05
    """
    rates = (step / 1000 for step in range(1, 1000))
    return next((rate for rate in rates if min_examples(rate, confidence) <= n_examples), 0.999)


def effective_size(weights: Float64) -> float:
    """Effective sample size of weighted examples (Kish 1965).

    >>> effective_size(np.ones(7))
    7.0
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def find_threshold(logits: Float64, examples: CalibrationSet, *, max_error: float, confidence: float) -> RiskThreshold:
    """The lowest threshold at which, with the stated confidence, at most `max_error` of the answers are wrong.

    Thresholds are tested from high to low until one fails (fixed-sequence testing, Angelopoulos et al. 2021, "Learn
    then test"), from three starts that share the allowed risk. Each test is a Clopper-Pearson bound at the effective
    sample size, which weights and clusters reduce (Korn and Graubard 1998). Where the errors do not show how similar
    the answers of a cluster are (no errors, or equally many in each cluster), a cluster counts once.

    The guarantee holds on average over queries that are distributed like the weighted calibration set, not for each
    family.

    Parameters
    ----------
    logits
        (n,) cross-fitted scores, so that no example is scored by a calibrator fitted on its group.
    examples
        The n examples.
    max_error, confidence
        Both between 0 and 1.
    """
    order = np.argsort(-logits, kind="stable")
    ranked = examples.subset(order)
    clusters = np.unique(ranked.clusters, return_inverse=True)[1]
    sorted_logits = logits[order]
    n_examples = len(logits)
    # A threshold answers all examples with the same logit, or none of them.
    ends = np.flatnonzero(np.append(np.diff(sorted_logits) < 0, True)) + 1
    wanted = np.linspace(n_examples / _N_CANDIDATES, n_examples, _N_CANDIDATES)
    stops = ends[np.unique(np.minimum(np.searchsorted(ends, wanted), len(ends) - 1))]
    risk = (1 - confidence) / len(_STARTS)
    bounds = np.array([_upper_bound(ranked, clusters, int(stop), risk) for stop in stops])
    sizes = np.array([_n_effective_clusters(ranked.weights[:stop], clusters[:stop]) for stop in stops])
    needed = min_examples(max_error, confidence)
    reached = -1
    for factor in _STARTS:
        enough = np.flatnonzero(sizes >= factor * needed)
        first = int(enough[0]) if len(enough) else len(stops)
        failing = np.flatnonzero(bounds[first:] > max_error)
        last = first + (int(failing[0]) if len(failing) else len(stops) - first) - 1
        if last >= first:
            reached = max(reached, last)
    nothing = RiskThreshold(
        threshold=math.inf, upper_bound=math.nan, observed_error=math.nan, coverage=0.0, n_answered=0,
        lowest_bound=float(bounds.min()),
    )  # fmt: skip
    if reached < 0:
        return nothing
    stop = int(stops[reached])
    answered = float(ranked.weights[:stop].sum())
    return replace(
        nothing,
        threshold=float(sorted_logits[stop - 1]),
        upper_bound=float(bounds[reached]),
        observed_error=float(ranked.weights[:stop][~ranked.right[:stop]].sum()) / answered,
        coverage=answered / float(ranked.weights.sum()),
        n_answered=stop,
    )


def _n_effective_clusters(weights: Float64, clusters: NDArray[np.int64]) -> float:
    return effective_size(np.bincount(clusters, weights=weights).astype(np.float64))


def _upper_bound(ranked: CalibrationSet, clusters: NDArray[np.int64], stop: int, risk: float) -> float:
    """Upper bound of the share of wrong answers among the first `stop`; clusters are numbered from 0."""
    share, size = _share(ranked.weights[:stop], ~ranked.right[:stop], clusters[:stop])
    return 1.0 if share == 1 else float(beta.ppf(1 - risk, share * size + 1, (1 - share) * size))


def lower_bound(true: NDArray[np.bool_], clusters: NDArray[np.int64], risk: float) -> float:
    """Lower confidence bound, at level ``1 - risk``, of the share of True among (n,) clustered examples.

    Clopper and Pearson's, at the effective sample size; see `find_threshold`.

    >>> round(lower_bound(np.ones(1, bool), np.zeros(1, int), 0.025), 3)
    0.025
    """
    share, size = _share(np.ones(len(true)), true, np.unique(clusters, return_inverse=True)[1])
    return 0.0 if share == 0 else float(beta.ppf(risk, share * size, (1 - share) * size + 1))


def _share(weights: Float64, wrong: NDArray[np.bool_], clusters: NDArray[np.int64]) -> tuple[float, float]:
    """Weighted share of wrong answers, and its effective sample size."""
    total = float(weights.sum())
    share = float(weights[wrong].sum()) / total
    n_clusters = int((np.bincount(clusters) > 0).sum())
    sums = np.bincount(clusters, weights=weights * (wrong - share)) / total
    variance = float((sums**2).sum()) * n_clusters / max(n_clusters - 1, 1)
    size = _n_effective_clusters(weights, clusters)
    if variance > _NO_VARIANCE * share * (1 - share):
        size = min(effective_size(weights), share * (1 - share) / variance)
    return share, size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValidationPredictions:
    """Predictions on validation examples that the head was not trained on.

    The head's hyper-parameters were selected on the same examples, so a head that tried many on few examples looks
    better here than it is.

    Attributes
    ----------
    confidences
        (n,) float32 probability of each answer: an example's class, a residue's letter, or each predicted label.
        Empty for regression.
    right
        (n,) bool.
    clusters
        (n,) int64, the protein of each answer; answers on one protein are not independent.
    residuals
        (m,) float32 absolute errors of regression; else empty.
    """

    confidences: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    right: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    clusters: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    residuals: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in self.__slots__}

    def risk_threshold(self, max_error: float, confidence: float = CONFIDENCE) -> RiskThreshold:
        """The lowest probability threshold at which at most `max_error` of the answers are wrong.

        Raises
        ------
        InputError
            For a rate outside 0 to 1, for regression, or where there are too few validation examples.
        """
        if not 0 < max_error < 1:
            raise InputError(f"max_error is {max_error:g}; expected a share of wrong answers over 0 and under 1.")
        if len(self.residuals):
            raise InputError("This head predicts numbers, which are not right or wrong. Leave max_error out.")
        n, needed = len(np.unique(self.clusters)), min_examples(max_error, confidence)
        if n < needed:
            raise InputError(
                f"An error of at most {max_error:g} needs {needed:,} or more validation proteins; this head was fitted "
                f"with {n:,} that were not trained on. Fit with more, or allow more errors (max_error=, --max-error)."
            )
        scores = self.confidences.astype(np.float64)
        examples = CalibrationSet(
            features=scores[:, None],
            right=self.right,
            weights=np.ones(len(scores)),
            groups=self.clusters,
            clusters=self.clusters,
        )
        return find_threshold(scores, examples, max_error=max_error, confidence=confidence)

    def interval_half_width(self, level: float = 0.95) -> float | None:
        """Half the width of an interval with `level` coverage (split conformal, Papadopoulos et al. 2002).

        None where there are too few examples: 19 for 95%.
        """
        rank = self.interval_rank(level)
        return None if rank is None else float(np.sort(self.residuals)[rank - 1])

    def interval_rank(self, level: float) -> int | None:
        """Rank, from 1, of the residual that `interval_half_width` returns."""
        rank = math.ceil((len(self.residuals) + 1) * level)
        return rank if rank <= len(self.residuals) else None
