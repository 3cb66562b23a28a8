"""One prediction from those of several heads: weights chosen on rows that none of them was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from heads.features.base import Float32
from heads.tasks.targets import Targets
from heads.vectors.losses import SMALLEST, row_losses, summary_loss

METHODS = ("blend", "stack")
"""A weighted mean of probabilities; a weighted sum of their logarithms."""

Objective: TypeAlias = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]
"""Mean loss at (M,) weights, and its slopes, (M,)."""

_ONE_OF = ("class", "ordinal")
_LEAST_WEIGHT = 1e-3
_LEAST_GAIN = 1e-3
_MAX_POWER = 5.0
_TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """How outputs are put together.

    Attributes
    ----------
    method
        One of `METHODS`.
    weights
        One a head. For ``"blend"`` they are not negative and sum to 1; for ``"stack"`` they are not negative.
    loss
        On the rows that they were chosen on.
    """

    method: str
    weights: tuple[float, ...]
    loss: float

    def apply(self, outputs: Float32, target_type: str) -> Float32:
        """(n, C) outputs from (M, n, C) of the heads."""
        return combine(outputs, np.array(self.weights), target_type, self.method).astype(np.float32)


def combine(outputs: Float32, weights: NDArray[np.float64], target_type: str, method: str) -> NDArray[np.float64]:
    """(n, C) float64 outputs from (M, n, C) and (M,) weights."""
    if method == "blend":
        mixed: NDArray[np.float64] = np.tensordot(weights, outputs.astype(np.float64), axes=1)
        if target_type in _ONE_OF:
            # A head without an answer, which has zeros alone, leaves the row to the others.
            said = mixed.sum(axis=1, keepdims=True)
            mixed /= np.where(said > 0, said, 1.0)
        return mixed
    clipped = np.clip(outputs.astype(np.float64), SMALLEST, 1 - SMALLEST)
    if target_type == "multilabel":
        odds = np.tensordot(weights, np.log(clipped) - np.log1p(-clipped), axes=1)
        shares: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * odds))
        return shares
    logits = np.tensordot(weights, np.log(clipped), axes=1)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return powers


def choose(outputs: Float32, targets: Targets, *, method: str | None = None) -> Blend:
    """Weights of least loss.

    Parameters
    ----------
    outputs
        (M, n, C) of M heads for n rows.
    targets
        Of those rows.
    method
        One of `METHODS`; None: the better. Numbers are always blended.
    """
    found = []
    if method != "stack" or targets.target_type == "regression":
        weights = _mixture(outputs, targets)
        found.append(_judged("blend", weights, outputs, targets))
    if method != "blend" and targets.target_type != "regression":
        found.append(_judged("stack", _powers(outputs, targets), outputs, targets))
    return min(found, key=lambda blend: blend.loss)


def _judged(method: str, weights: NDArray[np.float64], outputs: Float32, targets: Targets) -> Blend:
    losses = row_losses(combine(outputs, weights, targets.target_type, method), targets)
    return Blend(method=method, weights=tuple(weights.tolist()), loss=summary_loss(losses, targets.target_type))


def _mixture(outputs: Float32, targets: Targets) -> NDArray[np.float64]:
    """Weights on the simplex; tiny ones are dropped."""
    objective = (
        _squared_error(outputs, targets) if targets.target_type == "regression" else _mixed_entropy(outputs, targets)
    )
    n_heads = len(outputs)
    found = minimize(
        objective,
        np.full(n_heads, 1 / n_heads),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * n_heads,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"ftol": _TOLERANCE},
    )
    # The corners too: a head alone is never beaten by a search that did not get there.
    tried = [np.clip(found.x, 0, 1), *np.eye(n_heads)]
    best = min((weights / weights.sum() for weights in tried if weights.sum() > 0), key=lambda one: objective(one)[0])
    for head in np.flatnonzero(best < _LEAST_WEIGHT).tolist():
        # Little weight may be all that a head needs: its word counts where the others have none.
        with_it, without = best.copy(), best.copy()
        with_it[head], without[head] = _LEAST_WEIGHT, 0.0
        gain = objective(without / without.sum())[0] - objective(with_it / with_it.sum())[0]
        best = with_it if gain > _LEAST_GAIN else without
    weights: NDArray[np.float64] = best / best.sum()
    return weights


def _powers(outputs: Float32, targets: Targets) -> NDArray[np.float64]:
    """Powers of the probabilities, each from 0 to 5."""
    objective = (_odds_entropy if targets.target_type == "multilabel" else _powers_entropy)(outputs, targets)
    n_heads = len(outputs)
    start = np.full(n_heads, 1 / n_heads)

    def penalised(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        # One row's weight of a normal prior: rows that are all right would else ask for endless powers.
        loss, slopes = objective(weights)
        away = weights - start
        return loss + float(away @ away) / (2 * len(targets)), slopes + away / len(targets)

    bounds = [(0, _MAX_POWER)] * n_heads
    found = minimize(penalised, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": _TOLERANCE})
    powers: NDArray[np.float64] = np.where(found.x < _LEAST_WEIGHT, 0.0, found.x)
    # Heads that know nothing: all classes alike, but said by someone.
    return powers if powers.any() else _LEAST_WEIGHT * start


def _squared_error(outputs: Float32, targets: Targets) -> Objective:
    """Of a weighted mean of numbers, in units of their variance."""
    numbers, true = outputs[:, :, 0].astype(np.float64), targets.require_values()
    scale = float(np.var(true)) or 1.0

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        error = weights @ numbers - true
        return float(error @ error) / (scale * len(true)), 2 / (scale * len(true)) * (numbers @ error)

    return objective


def _mixed_entropy(outputs: Float32, targets: Targets) -> Objective:
    """Of a weighted mean of probabilities: only those of what is true matter, and whether a head says anything."""
    true = _of_the_true(outputs, targets, lambda shares: 1 - shares)
    one_of = targets.target_type in _ONE_OF
    # A label is there or not: both are said together.
    said = outputs.sum(axis=2, dtype=np.float64) if one_of else np.ones_like(true)
    most = np.inf if one_of else 1 - SMALLEST

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        share, total = weights @ true, np.maximum(weights @ said, SMALLEST)
        clipped = np.clip(share / total, SMALLEST, most)
        counts = (share > SMALLEST * total) & (share < most * total)
        slopes = said @ (counts / total) - true @ (counts / np.maximum(share, SMALLEST))
        return -float(np.log(clipped).mean()), slopes / len(share)

    return objective


def _odds_entropy(outputs: Float32, targets: Targets) -> Objective:
    """Of a weighted sum of the log-odds of labels."""
    clipped = np.clip(outputs.astype(np.float64), SMALLEST, 1 - SMALLEST)
    true = _of_the_true(np.log(clipped) - np.log1p(-clipped), targets, np.negative)

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        shares = 0.5 * (1 + np.tanh(0.5 * (weights @ true)))
        kept = np.clip(shares, SMALLEST, 1 - SMALLEST)
        slopes = true @ np.where(kept == shares, shares - 1, 0.0)
        return -float(np.log(kept).mean()), slopes / len(shares)

    return objective


def _powers_entropy(outputs: Float32, targets: Targets) -> Objective:
    """Of a weighted sum of the logarithms of the classes' probabilities, made to sum to 1."""
    logs = np.log(np.clip(outputs.astype(np.float64), SMALLEST, 1 - SMALLEST))
    rows, codes = np.arange(len(targets)), targets.require_codes()
    true = logs[:, rows, codes]

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = np.tensordot(weights, logs, axes=1)
        most = logits.max(axis=1, keepdims=True)
        shares = np.exp(logits - most)
        total = shares.sum(axis=1, keepdims=True)
        losses = (np.log(total) + most)[:, 0] - logits[rows, codes]
        counts = losses < -np.log(SMALLEST)
        shares *= counts[:, None] / total
        slopes = np.tensordot(logs, shares, axes=2) - true @ counts
        return float(np.minimum(losses, -np.log(SMALLEST)).mean()), slopes / len(rows)

    return objective


def _of_the_true(
    outputs: NDArray[Any], targets: Targets, turned: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """What heads say of the true class of each row, (M, n); or of each label, (M, nC), turned where it is not there."""
    if targets.target_type != "multilabel":
        return outputs[:, np.arange(len(targets)), targets.require_codes()].astype(np.float64)
    said = outputs.astype(np.float64)
    return np.where(targets.require_members().toarray(), said, turned(said)).reshape(len(said), -1)
