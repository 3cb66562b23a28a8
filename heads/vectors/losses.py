"""How far outputs are from the targets, in one number a row, for every kind of target."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from embedstore.numerics import softmax, tanh_sigmoid
from heads.base import Head, LabelledExamples
from heads.features.base import Float32
from heads.tasks.targets import Targets

SMALLEST = 1e-7
"""Probabilities below count as this much: a class that was never seen costs 16 nats, not infinitely many."""

_LOG_RANGE = 3.0


def row_losses(outputs: NDArray[np.floating], targets: Targets) -> NDArray[np.float64]:
    """Loss of each row, (n,) float64.

    Parameters
    ----------
    outputs
        (n, C) as `heads.base.Head.outputs` gives them.
    targets
        Of the same rows, each of a class that is known.

    Returns
    -------
    numpy.ndarray
        Minus the logarithm of the true class's probability, in nats; for ``"multilabel"`` the mean over labels; for
        ``"regression"`` the squared error.
    """
    if targets.target_type == "regression":
        error: NDArray[np.float64] = (outputs[:, 0] - targets.require_values()) ** 2
        return error
    if targets.target_type == "multilabel":
        members = targets.require_members().toarray()
        shares = np.clip(outputs, SMALLEST, 1 - SMALLEST).astype(np.float64)
        entropy: NDArray[np.float64] = -np.log(np.where(members, shares, 1 - shares)).mean(axis=1)
        return entropy
    true = outputs[np.arange(len(outputs)), targets.require_codes()].astype(np.float64)
    return -np.log(np.maximum(true, SMALLEST))


def blockwise_losses(blocks: Iterable[Float32], targets: Targets) -> NDArray[np.float64]:
    """As `row_losses`, of outputs that come in blocks."""
    losses, start = [np.zeros(0)], 0
    for block in blocks:
        losses.append(row_losses(block, targets.subset(np.arange(start, start + len(block)))))
        start += len(block)
    return np.concatenate(losses)


def summary_loss(losses: NDArray[np.float64], target_type: str) -> float:
    """One number of the losses of rows: their mean, and for numbers its root."""
    mean = float(losses.mean())
    return float(np.sqrt(mean)) if target_type == "regression" else mean


def head_loss(head: Head, rows: LabelledExamples) -> float:
    """Loss of a fitted head on rows: log-loss in nats, or the root of the mean squared error."""
    return summary_loss(blockwise_losses(head.outputs(rows.features), rows.targets), head.target_type)


def logits_to_outputs(logits: NDArray[np.floating], target_type: str) -> Float32:
    """Outputs of a head from the logits of its model; the logits may be used up as work space.

    ``"class"``: softmax. ``"multilabel"``: sigmoid. ``"ordinal"``: (n, C - 1) logits of being above each level but
    the last, descending. ``"regression"``: the same.
    """
    if target_type == "class":
        return softmax(logits)
    if target_type == "regression":
        return logits.astype(np.float32, copy=False)
    shares = tanh_sigmoid(logits)
    if target_type == "multilabel":
        return shares.astype(np.float32, copy=False)
    edge = np.ones((len(shares), 1), shares.dtype)
    above = np.concatenate([edge, np.minimum.accumulate(shares, axis=1), 0 * edge], axis=1)
    levels: Float32 = (above[:, :-1] - above[:, 1:]).astype(np.float32, copy=False)
    return levels


def best_temperature(logits: NDArray[np.floating], targets: Targets) -> tuple[float, float]:
    """What to divide logits by, and the mean loss with it, on rows that were not learned from.

    With one row's weight of a standard normal prior on its logarithm, as `fit_temperature`.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(row_losses(logits_to_outputs(scaled, targets.target_type), targets).mean())

    def penalised(log_temperature: float) -> float:
        return loss(log_temperature) + log_temperature**2 / (2 * len(targets))

    found = minimize_scalar(penalised, bounds=(-_LOG_RANGE, _LOG_RANGE), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x)), loss(float(found.x))
