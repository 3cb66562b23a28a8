"""Probabilities that mean something, fitted on rows that were not trained on: one class, several labels, levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.numerics import sigmoid
from heads.tasks.targets import Codes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Float64 = NDArray[np.float64]

TOP_LOGITS = 64
"""Logits of a row that enter the fit one by one; the rest through a sample of `TAIL_LOGITS` or more."""

TAIL_LOGITS = 128

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_LOG_RANGE = 5.0
_LOG_TOLERANCE = 0.01

_PRIOR_ROWS = 4.0
"""How firmly a label's own curve is held to the curve of all labels: as if that many rows had said so."""

_LEAST_SLOPE = 1e-3
_LEAST_SHARE = 1e-6
_CELLS = 2**20
_STEPS = 30
_TOLERANCE = 1e-6


def fit_temperature(
    logits: NDArray[np.floating[Any]], codes: Codes, weights: Float64 | None = None
) -> tuple[float, float]:
    """Temperature that makes ``softmax(logits / temperature)`` most likely, and the log-loss with it.

    After Guo et al. 2017, "On calibration of modern neural networks", with one observation's weight of a standard
    normal prior on the logarithm: rows that are all right would else ask for a temperature of zero.

    Parameters
    ----------
    logits
        (n, C) floating.
    codes
        (n,) int64, the true class of each row.
    weights
        (n,) how much each row counts; None: all the same.

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
    """How far a row's logits lie above the true one, (n, k), and how many logits each column stands for, (k,)."""
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
    kept = np.concatenate([true, split[:, -TOP_LOGITS:], tail], axis=1)
    return (kept - true).astype(np.float32), counts


def _golden_section(function: Callable[[float], float], low: float, high: float) -> float:
    """The place of the minimum of a function with one minimum, to `_LOG_TOLERANCE`."""
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
    """Logits of labels to honest ones: ``slope * logit + offset``, a pair a label (Platt 1999).

    Attributes
    ----------
    slopes, offsets
        (C,) float64.
    log_loss
        Mean over rows and labels, in nats, on the rows that it was fitted on.
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
    """A logistic curve for each label, held to the one that fits all labels together.

    Parameters
    ----------
    logits
        (n, C) floating.
    members
        (n, C) sparse bool: the labels of each row.
    label_weights
        (C,) and (C,): how much a row counts for a label that it has, and for one that it has not.
    """
    cells = _Cells(logits, members, label_weights)
    slope, offset = _common_curve(cells)
    slopes, offsets, loss = np.empty(logits.shape[1]), np.empty(logits.shape[1]), 0.0
    for part in cells.parts:
        slopes[part], offsets[part], lost = _own_curves(cells, part, slope, offset)
        loss += lost
    return LabelCurves(slopes=slopes, offsets=offsets, log_loss=loss / max(1, logits.size))


class _Cells:
    """Rows by labels, some labels at a time: what is held at once does not grow with the number of labels."""

    def __init__(
        self, logits: NDArray[np.floating[Any]], members: csr_array, label_weights: tuple[Float64, Float64] | None
    ) -> None:
        self._logits, self._members, self._label_weights = logits, members.tocsc(), label_weights
        width = max(1, _CELLS // max(1, len(logits)))
        self.parts = [slice(start, start + width) for start in range(0, logits.shape[1], width)]

    def take(self, part: slice) -> tuple[Float64, Float64, Float64 | float]:
        """Logits, indicators and weights of some labels, (n, c) each."""
        is_member = self._members[:, part].toarray()
        weights: Float64 | float = 1.0
        if self._label_weights is not None:
            weights = np.where(is_member, self._label_weights[0][part], self._label_weights[1][part])
        return self._logits[:, part].astype(np.float64), is_member.astype(np.float64), weights


def _common_curve(cells: _Cells) -> tuple[float, float]:
    """Slope and offset that make all cells together most likely; one row's weight holds them to 1 and 0."""
    curve = np.array([1.0, 0.0])

    def loss(curve: Float64) -> float:
        parts = map(cells.take, cells.parts)
        lost = sum(float((w * _surprise(curve[0] * z + curve[1], y)).sum()) for z, y, w in parts)
        return lost + float(((curve - (1.0, 0.0)) ** 2).sum()) / 2

    best = loss(curve)
    for _ in range(_STEPS):
        pull, bend = curve - (1.0, 0.0), np.eye(2)
        for part in cells.parts:
            gradient, hessian = _slopes_of(*cells.take(part), curve[:1], curve[1:])
            pull = pull + gradient.sum(axis=1)
            bend = bend + hessian.sum(axis=2)
        step = np.linalg.solve(bend, pull)
        while (found := loss(curve - step)) > best and np.abs(step).max() > _TOLERANCE:
            step /= 2
        if best - found <= _TOLERANCE * best:
            break
        curve, best = curve - step, found
    return max(float(curve[0]), _LEAST_SLOPE), float(curve[1])


def _own_curves(cells: _Cells, part: slice, slope: float, offset: float) -> tuple[Float64, Float64, float]:
    """Slopes and offsets of some labels, and what these cells lose; Newton's method for all labels at once."""
    logits, is_member, weights = cells.take(part)
    # In units in which the prior has the same width in both directions.
    logits *= slope
    a, c = np.ones(logits.shape[1]), np.full(logits.shape[1], offset)

    def loss(a: Float64, c: Float64) -> Float64:
        lost: Float64 = (weights * _surprise(a * logits + c, is_member)).sum(axis=0)
        return lost + _PRIOR_ROWS * ((a - 1) ** 2 + (c - offset) ** 2) / 2

    best, move = loss(a, c), np.ones(len(a))
    for _ in range(_STEPS):
        gradient, hessian = _slopes_of(logits, is_member, weights, a, c)
        gradient += _PRIOR_ROWS * np.stack([a - 1, c - offset])
        hessian[[0, 1], [0, 1]] += _PRIOR_ROWS
        determinant = hessian[0, 0] * hessian[1, 1] - hessian[0, 1] ** 2
        step_a = (hessian[1, 1] * gradient[0] - hessian[0, 1] * gradient[1]) / determinant
        step_c = (hessian[0, 0] * gradient[1] - hessian[0, 1] * gradient[0]) / determinant
        tried = np.maximum(a - move * step_a, 0.0), c - move * step_c
        found = loss(*tried)
        better = found < best
        gain = float((best - found)[better].sum())
        a, c = np.where(better, tried[0], a), np.where(better, tried[1], c)
        best, move = np.where(better, found, best), np.where(better, 1.0, move / 2)
        if gain <= _TOLERANCE * float(best.sum()):
            break
    return a * slope, c, float((weights * _surprise(a * logits + c, is_member)).sum())


def _slopes_of(
    logits: Float64, is_member: Float64, weights: Float64 | float, a: Float64, c: Float64
) -> tuple[Float64, Float64]:
    """Gradient (2, C) and Hessian (2, 2, C) of the log-loss in the slopes and offsets of labels."""
    share = sigmoid(a * logits + c)
    miss, sway = weights * (share - is_member), weights * share * (1 - share)
    across = (sway * logits).sum(axis=0)
    hessian = np.array([[(sway * logits**2).sum(axis=0), across], [across, sway.sum(axis=0)]])
    return np.stack([(miss * logits).sum(axis=0), miss.sum(axis=0)]), hessian


def _surprise(logits: Float64, is_member: Float64) -> Float64:
    """Log-loss of each cell, in nats."""
    return np.asarray(np.logaddexp(0.0, logits) - is_member * logits)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LevelCuts:
    """A score to the probability of each level of an ordered scale: proportional odds (McCullagh 1980).

    ``P(level <= j) = sigmoid(cuts[j] - slope * score)``.

    Attributes
    ----------
    slope
        Positive.
    cuts
        (C - 1,) float64, ascending.
    log_loss
        Mean in nats on the rows that it was fitted on.
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
    """Slope and cut points that make the levels of rows most likely.

    Parameters
    ----------
    scores
        (n,) one number a row that grows with the level.
    codes
        (n,) int64 level of each row.
    shares
        (C,) how frequent the levels are among the training rows: one row's worth of them, at the mean score, is added,
        so that no level is impossible.
    """
    from scipy.optimize import minimize

    centre, width = float(scores.mean()), float(scores.std()) or 1.0
    standard = np.append((scores - centre) / width, np.zeros(len(shares)))
    levels = np.append(codes, np.arange(len(shares)))
    # A part of the rows may lack a level that others have.
    shares = np.maximum(shares / shares.sum(), _LEAST_SHARE)
    weights = np.append(np.ones(len(codes)), shares)
    frequent = np.bincount(levels, weights=weights, minlength=len(shares))
    below = np.cumsum(frequent)[:-1] / frequent.sum()
    cuts = np.log(below / (1 - below))
    # Cuts stay in order because their distances are found by logarithm.
    start = np.concatenate([[0.0], cuts[:1], np.log(np.maximum(np.diff(cuts), 1e-6))])
    found = minimize(_level_loss, start, args=(standard, levels, weights), jac=True, method="L-BFGS-B").x
    slope, cuts = math.exp(found[0]), np.cumsum(np.append(found[1], np.exp(found[2:])))
    fitted = LevelCuts(slope=slope / width, cuts=cuts + slope * centre / width, log_loss=0.0)
    chosen = np.take_along_axis(fitted.apply(scores), codes[:, None], axis=1)
    loss = float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean())
    return LevelCuts(slope=fitted.slope, cuts=fitted.cuts, log_loss=loss)


def _level_loss(parameters: Float64, scores: Float64, levels: Codes, weights: Float64) -> tuple[float, Float64]:
    """Log-loss of proportional odds and its gradient: logarithm of the slope, first cut, logarithms of distances."""
    slope, distances = math.exp(parameters[0]), np.exp(parameters[2:])
    cuts = np.cumsum(np.append(parameters[1], distances))
    is_first, is_last = levels == 0, levels == len(cuts)
    upper = np.where(is_last, np.inf, cuts[np.minimum(levels, len(cuts) - 1)] - slope * scores)
    lower = np.where(is_first, -np.inf, cuts[np.maximum(levels, 1) - 1] - slope * scores)
    inner = ~is_first & ~is_last
    gap = np.where(inner, distances[np.clip(levels - 1, 0, max(len(distances) - 1, 0))] if len(distances) else 1.0, 1.0)
    lost = np.logaddexp(0, -upper) + np.logaddexp(0, lower) - np.where(inner, np.log(-np.expm1(-gap)), 0.0)
    crowd = np.where(inner, 1 / np.expm1(gap), 0.0)
    by_upper = np.where(is_last, 0.0, -weights * (sigmoid(-upper) + crowd))
    by_lower = np.where(is_first, 0.0, weights * (sigmoid(lower) + crowd))
    by_cut = np.bincount(np.minimum(levels, len(cuts) - 1), weights=by_upper, minlength=len(cuts))
    by_cut += np.bincount(np.maximum(levels, 1) - 1, weights=by_lower, minlength=len(cuts))
    by_first = np.cumsum(by_cut[::-1])[::-1]
    by_slope = -float((by_upper + by_lower) @ scores) * slope
    # A standard normal prior of one row's weight on the logarithm of the slope: separable levels ask for infinity.
    loss = float(weights @ lost) + parameters[0] ** 2 / 2
    return loss, np.concatenate([[by_slope + parameters[0]], by_first[:1], by_first[1:] * distances])
