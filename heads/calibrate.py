"""Probabilities that mean something: one temperature, fitted on rows that were not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.targets import Codes

TOP_LOGITS = 256
"""Logits of a row that enter the fit; the rest add nothing that could be seen."""

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_LOG_RANGE = 5.0
_LOG_TOLERANCE = 0.01


def fit_temperature(logits: NDArray[np.floating[Any]], codes: Codes) -> tuple[float, float]:
    """Temperature that makes ``softmax(logits / temperature)`` most likely, and the log-loss with it.

    After Guo et al. 2017, "On calibration of modern neural networks", with one observation's weight of a standard
    normal prior on the logarithm: rows that are all right would else ask for a temperature of zero.

    Parameters
    ----------
    logits
        (n, C) floating.
    codes
        (n,) int64, the true class of each row.

    Returns
    -------
    temperature : float
        Between exp(-5) and exp(5).
    log_loss : float
        Mean over rows, in nats, at that temperature.
    """
    margins = _margins(logits, codes)
    largest = margins.max(axis=1)
    below = margins - largest[:, None]

    def log_loss(log_temperature: float) -> float:
        beta = math.exp(-log_temperature)
        return float((np.log(np.exp(below * beta).sum(axis=1)) + largest * beta).mean())

    def penalised(log_temperature: float) -> float:
        return log_loss(log_temperature) + log_temperature**2 / (2 * len(below))

    best = _golden_section(penalised, -_LOG_RANGE, _LOG_RANGE)
    return math.exp(best), log_loss(best)


def _margins(logits: NDArray[np.floating[Any]], codes: Codes) -> NDArray[np.float64]:
    """How far each row's largest logits, and the true one, lie above the true one: (n, k)."""
    true = np.take_along_axis(logits, codes[:, None], axis=1).astype(np.float64)
    if logits.shape[1] <= TOP_LOGITS:
        return logits - true
    others = logits.copy()
    np.put_along_axis(others, codes[:, None], -np.inf, axis=1)
    top = np.partition(others, -TOP_LOGITS, axis=1)[:, -TOP_LOGITS:]
    return np.concatenate([np.zeros_like(true), top - true], axis=1)


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
