"""Calibrated probabilities of classes, labels and ordered levels, fitted on validation rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.numerics import sigmoid
from heads.tasks.targets import Codes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Float64 = NDArray[np.float64]

TOP_LOGITS = 64
"""Largest logits of a row that are used in the fit; of the rest a sample of `TAIL_LOGITS` or more."""

TAIL_LOGITS = 128

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_LOG_RANGE = 5.0
_LOG_TOLERANCE = 0.01

_PRIOR_ROWS = 4.0
"""Weight, in rows, of the common curve in the fit of each label's curve."""

_LEAST_SLOPE = 1e-3
_LEAST_SHARE = 1e-6
_CELLS = 2**20
_STEPS = 30
_TOLERANCE = 1e-6


def fit_temperature(
    logits: NDArray[np.floating[Any]], codes: Codes, weights: Float64 | None = None
) -> tuple[float, float]:
    """The temperature with the lowest log-loss of ``softmax(logits / temperature)``, and that loss.

    Guo et al. 2017, "On calibration of modern neural networks", with a standard normal prior on the logarithm, of the
    weight of one row, so that the temperature is not 0 where all rows are correct.

    Parameters
    ----------
    logits
        (n, C) floating.
    codes
        (n,) int64 true classes.
    weights
        (n,) weights; None: equal.

    Returns
    -------
    temperature : float
        Between exp(-5) and exp(5).
    log_loss : float
        Mean over rows, in nats, at that temperature.
    """
    margins, counts = _margins(logits, codes)
    largest = margins.max(axis=1)
    below = margins - largest[:, None]

    def log_loss(log_temperature: float) -> float:
        beta = math.exp(-log_temperature)
        lost = np.log(np.exp(below * np.float32(beta)) @ counts) + largest * np.float64(beta)
        return float(np.average(lost, weights=weights))

    def penalised(log_temperature: float) -> float:
        return log_loss(log_temperature) + log_temperature**2 / (2 * len(below))

    best = _golden_section(penalised, -_LOG_RANGE, _LOG_RANGE)
    return math.exp(best), log_loss(best)


def _margins(logits: NDArray[np.floating[Any]], codes: Codes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Differences of logits to that of the true class, (n, k), and the number of logits for each column, (k,)."""
    true = np.take_along_axis(logits, codes[:, None], axis=1)
    if logits.shape[1] <= TOP_LOGITS + TAIL_LOGITS:
        return (logits - true).astype(np.float32), np.ones(logits.shape[1], np.float32)
    others = logits.copy()
    np.put_along_axis(others, codes[:, None], -np.inf, axis=1)
    split = np.partition(others, -TOP_LOGITS, axis=1)
    step = (split.shape[1] - TOP_LOGITS) // TAIL_LOGITS
    tail = split[:, :-TOP_LOGITS:step]
    counts = np.ones(1 + TOP_LOGITS + tail.shape[1], np.float32)
    counts[1 + TOP_LOGITS :] = (logits.shape[1] - 1 - TOP_LOGITS) / tail.shape[1]
    sampled = np.concatenate([true, split[:, -TOP_LOGITS:], tail], axis=1)
    return (sampled - true).astype(np.float32), counts


def _golden_section(function: Callable[[float], float], low: float, high: float) -> float:
    """The argument of the minimum of a unimodal function, to `_LOG_TOLERANCE`."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > _LOG_TOLERANCE:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
    return (low + high) / 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelCurves:
    """Calibrated logits of labels: ``slope * logit + offset``, with a pair for each label (Platt 1999).

    Attributes
    ----------
    slopes, offsets
        (C,) float64.
    log_loss
        Mean over rows and labels, in nats, on the rows of the fit.
    """

    slopes: Float64
    offsets: Float64
    log_loss: float

    def apply(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Probabilities of (n, C) logits, float32."""
        shares: NDArray[np.float32] = sigmoid(logits * self.slopes.astype(np.float32) + self.offsets.astype(np.float32))
        return shares


def fit_labels(
    logits: NDArray[np.floating[Any]], members: csr_array, *, label_weights: tuple[Float64, Float64] | None = None
) -> LabelCurves:
    """Fit a logistic curve for each label, regularised towards the one of all labels.

    Parameters
    ----------
    logits
        (n, C) floating.
    members
        (n, C) sparse bool labels of the rows.
    label_weights
        (C,) and (C,): weight of a row with the label, and of a row without it.
    """
    cells = _Cells(logits, members, label_weights)
    slope, offset = _common_curve(cells)
    slopes, offsets, loss = np.empty(logits.shape[1]), np.empty(logits.shape[1]), 0.0
    for part in cells.parts:
        slopes[part], offsets[part], lost = _own_curves(cells, part, slope, offset)
        loss += lost
    return LabelCurves(slopes=slopes, offsets=offsets, log_loss=loss / max(1, logits.size))


class _Cells:
    """Logits, indicators and weights for some labels at a time, so that memory does not grow with the labels."""

    def __init__(
        self, logits: NDArray[np.floating[Any]], members: csr_array, label_weights: tuple[Float64, Float64] | None
    ) -> None:
        self._logits, self._members, self._label_weights = logits, members.tocsc(), label_weights
        width = max(1, _CELLS // max(1, len(logits)))
        self.parts = [slice(start, start + width) for start in range(0, logits.shape[1], width)]

    def columns(self, part: slice) -> tuple[Float64, Float64, Float64 | float]:
        """Logits, indicators and weights of some labels, (n, c) each."""
        is_member = self._members[:, part].toarray()
        weights: Float64 | float = 1.0
        if self._label_weights is not None:
            weights = np.where(is_member, self._label_weights[0][part], self._label_weights[1][part])
        return self._logits[:, part].astype(np.float64), is_member.astype(np.float64), weights


def _common_curve(cells: _Cells) -> tuple[float, float]:
    """Slope and offset with the lowest log-loss of all cells, with a prior of one row's weight at 1 and 0."""
    curve = np.array([1.0, 0.0])

    def loss(curve: Float64) -> float:
        parts = map(cells.columns, cells.parts)
        lost = sum(float((w * _log_loss(curve[0] * z + curve[1], y)).sum()) for z, y, w in parts)
        return lost + float(((curve - (1.0, 0.0)) ** 2).sum()) / 2

    best = loss(curve)
    for _ in range(_STEPS):
        gradient, hessian = curve - (1.0, 0.0), np.eye(2)
        for part in cells.parts:
            part_gradient, part_hessian = _derivatives(*cells.columns(part), curve[:1], curve[1:])
            gradient = gradient + part_gradient.sum(axis=1)
            hessian = hessian + part_hessian.sum(axis=2)
        step = np.linalg.solve(hessian, gradient)
        while (current := loss(curve - step)) > best and np.abs(step).max() > _TOLERANCE:
            step /= 2
        if best - current <= _TOLERANCE * best:
            break
        curve, best = curve - step, current
    return max(float(curve[0]), _LEAST_SLOPE), float(curve[1])


def _own_curves(cells: _Cells, part: slice, slope: float, offset: float) -> tuple[Float64, Float64, float]:
    """Slopes and offsets of some labels, and their log-loss; Newton's method for all labels at once."""
    logits, is_member, weights = cells.columns(part)
    # Scaled so that the prior has the same width in both directions.
    logits *= slope
    a, c = np.ones(logits.shape[1]), np.full(logits.shape[1], offset)

    def loss(a: Float64, c: Float64) -> Float64:
        lost: Float64 = (weights * _log_loss(a * logits + c, is_member)).sum(axis=0)
        return lost + _PRIOR_ROWS * ((a - 1) ** 2 + (c - offset) ** 2) / 2

    best, move = loss(a, c), np.ones(len(a))
    for _ in range(_STEPS):
        gradient, hessian = _derivatives(logits, is_member, weights, a, c)
        gradient += _PRIOR_ROWS * np.stack([a - 1, c - offset])
        hessian[[0, 1], [0, 1]] += _PRIOR_ROWS
        determinant = hessian[0, 0] * hessian[1, 1] - hessian[0, 1] ** 2
        step_a = (hessian[1, 1] * gradient[0] - hessian[0, 1] * gradient[1]) / determinant
        step_c = (hessian[0, 0] * gradient[1] - hessian[0, 1] * gradient[0]) / determinant
        tried = np.maximum(a - move * step_a, 0.0), c - move * step_c
        current = loss(*tried)
        is_better = current < best
        gain = float((best - current)[is_better].sum())
        a, c = np.where(is_better, tried[0], a), np.where(is_better, tried[1], c)
        best, move = np.where(is_better, current, best), np.where(is_better, 1.0, move / 2)
        if gain <= _TOLERANCE * float(best.sum()):
            break
    return a * slope, c, float((weights * _log_loss(a * logits + c, is_member)).sum())


def _derivatives(
    logits: Float64, is_member: Float64, weights: Float64 | float, a: Float64, c: Float64
) -> tuple[Float64, Float64]:
    """Gradient (2, C) and Hessian (2, 2, C) of the log-loss in the slopes and offsets of labels."""
    share = sigmoid(a * logits + c)
    first, second = weights * (share - is_member), weights * share * (1 - share)
    mixed = (second * logits).sum(axis=0)
    hessian = np.array([[(second * logits**2).sum(axis=0), mixed], [mixed, second.sum(axis=0)]])
    return np.stack([(first * logits).sum(axis=0), first.sum(axis=0)]), hessian


def _log_loss(logits: Float64, is_member: Float64) -> Float64:
    """Log-loss of each cell, in nats."""
    return np.asarray(np.logaddexp(0.0, logits) - is_member * logits)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelCuts:
    """Maps a score to probabilities of ordered levels: proportional odds (McCullagh 1980).

    ``P(level <= j) = sigmoid(cuts[j] - slope * score)``.

    Attributes
    ----------
    slope
        Positive.
    cuts
        (C - 1,) float64, ascending.
    log_loss
        Mean in nats on the rows of the fit.
    """

    slope: float
    cuts: Float64
    log_loss: float

    def apply(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Probabilities of each level, (n, C) float32, of (n,) scores."""
        below = sigmoid(self.cuts - self.slope * scores.astype(np.float64)[:, None])
        shares: NDArray[np.float32] = np.diff(below, axis=1, prepend=0.0, append=1.0).astype(np.float32)
        return shares


def fit_levels(scores: Float64, codes: Codes, shares: Float64) -> LevelCuts:
    """Fit slope and cut points of a proportional-odds model.

    Parameters
    ----------
    scores
        (n,) scores that grow with the level.
    codes
        (n,) int64 levels.
    shares
        (C,) frequencies of the levels in training; they are added with the weight of one row at the mean score, so that
        no level has probability 0.
    """
    from scipy.optimize import minimize

    centre, width = float(scores.mean()), float(scores.std()) or 1.0
    standard = np.append((scores - centre) / width, np.zeros(len(shares)))
    levels = np.append(codes, np.arange(len(shares)))
    # Some rows may lack a level that others have.
    shares = np.maximum(shares / shares.sum(), _LEAST_SHARE)
    weights = np.append(np.ones(len(codes)), shares)
    frequent = np.bincount(levels, weights=weights, minlength=len(shares))
    below = np.cumsum(frequent)[:-1] / frequent.sum()
    cuts = np.log(below / (1 - below))
    # The parameters are logarithms of the distances, so that cuts stay in order.
    start = np.concatenate([[0.0], cuts[:1], np.log(np.maximum(np.diff(cuts), 1e-6))])
    fitted = minimize(_level_loss, start, args=(standard, levels, weights), jac=True, method="L-BFGS-B").x
    slope, cuts = math.exp(fitted[0]), np.cumsum(np.append(fitted[1], np.exp(fitted[2:])))
    levels_of_scores = LevelCuts(slope=slope / width, cuts=cuts + slope * centre / width, log_loss=0.0)
    p_true = np.take_along_axis(levels_of_scores.apply(scores), codes[:, None], axis=1)
    loss = float(-np.log(np.maximum(p_true, np.finfo(np.float32).tiny)).mean())
    return replace(levels_of_scores, log_loss=loss)


def _level_loss(parameters: Float64, scores: Float64, levels: Codes, weights: Float64) -> tuple[float, Float64]:
    """Log-loss of proportional odds, and its gradient in (log slope, first cut, log distances of cuts)."""
    slope, distances = math.exp(parameters[0]), np.exp(parameters[2:])
    cuts = np.cumsum(np.append(parameters[1], distances))
    is_first, is_last = levels == 0, levels == len(cuts)
    upper = np.where(is_last, np.inf, cuts[np.minimum(levels, len(cuts) - 1)] - slope * scores)
    lower = np.where(is_first, -np.inf, cuts[np.maximum(levels, 1) - 1] - slope * scores)
    inner = ~is_first & ~is_last
    gap = np.where(inner, distances[np.clip(levels - 1, 0, max(len(distances) - 1, 0))] if len(distances) else 1.0, 1.0)
    lost = np.logaddexp(0, -upper) + np.logaddexp(0, lower) - np.where(inner, np.log(-np.expm1(-gap)), 0.0)
    overlap = np.where(inner, 1 / np.expm1(gap), 0.0)
    by_upper = np.where(is_last, 0.0, -weights * (sigmoid(-upper) + overlap))
    by_lower = np.where(is_first, 0.0, weights * (sigmoid(lower) + overlap))
    by_cut = np.bincount(np.minimum(levels, len(cuts) - 1), weights=by_upper, minlength=len(cuts))
    by_cut += np.bincount(np.maximum(levels, 1) - 1, weights=by_lower, minlength=len(cuts))
    by_first = np.cumsum(by_cut[::-1])[::-1]
    by_slope = -float((by_upper + by_lower) @ scores) * slope
    # A standard normal prior on the log slope, with the weight of one row, keeps it finite for separable levels.
    loss = float(weights @ lost) + parameters[0] ** 2 / 2
    return loss, np.concatenate([[by_slope + parameters[0]], by_first[:1], by_first[1:] * distances])
