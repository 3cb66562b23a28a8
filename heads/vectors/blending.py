"""One prediction from those of several heads: weights chosen on rows that none of them was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from heads.streams import Float32
from heads.targets import Targets
from heads.vectors.losses import SMALLEST, row_losses, summary_loss

METHODS = ("blend", "stack")
"""A weighted mean of probabilities; a weighted sum of their logarithms."""

_LEAST_WEIGHT = 1e-3
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

    def apply(self, outputs: Float32, kind: str) -> Float32:
        """(n, C) outputs from (M, n, C) of the heads."""
        return combine(outputs, np.array(self.weights), kind, self.method).astype(np.float32)


def combine(outputs: Float32, weights: NDArray[np.float64], kind: str, method: str) -> NDArray[np.float64]:
    """(n, C) outputs from (M, n, C) and (M,) weights; in float64, for slopes are taken from differences."""
    if method == "blend":
        mixed: NDArray[np.float64] = np.tensordot(weights, outputs.astype(np.float64), axes=1)
        return mixed
    clipped = np.clip(outputs.astype(np.float64), SMALLEST, 1 - SMALLEST)
    if kind == "multilabel":
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
    if method != "stack" or targets.kind == "regression":
        weights = _mixture(outputs, targets)
        found.append(_judged("blend", weights, outputs, targets))
    if method != "blend" and targets.kind != "regression":
        found.append(_judged("stack", _powers(outputs, targets), outputs, targets))
    return min(found, key=lambda blend: blend.loss)


def _judged(method: str, weights: NDArray[np.float64], outputs: Float32, targets: Targets) -> Blend:
    losses = row_losses(combine(outputs, weights, targets.kind, method), targets)
    return Blend(method=method, weights=tuple(weights.tolist()), loss=summary_loss(losses, targets.kind))


def _mixture(outputs: Float32, targets: Targets) -> NDArray[np.float64]:
    """Weights on the simplex; tiny ones are dropped."""
    scale = float(np.var(targets.require_values())) or 1.0 if targets.kind == "regression" else 1.0

    def loss(weights: NDArray[np.float64]) -> float:
        return float(row_losses(combine(outputs, weights, targets.kind, "blend"), targets).mean()) / scale

    n_heads = len(outputs)
    found = minimize(
        loss,
        np.full(n_heads, 1 / n_heads),
        method="SLSQP",
        bounds=[(0, 1)] * n_heads,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": _TOLERANCE},
    )
    # The corners too: a head alone is never beaten by a search that did not get there.
    tried = [np.clip(found.x, 0, 1), *np.eye(n_heads)]
    best = min((weights / weights.sum() for weights in tried if weights.sum() > 0), key=loss)
    best = np.where(best < _LEAST_WEIGHT, 0.0, best)
    weights: NDArray[np.float64] = best / best.sum()
    return weights


def _powers(outputs: Float32, targets: Targets) -> NDArray[np.float64]:
    """Powers of the probabilities, each from 0 to 5."""

    def loss(weights: NDArray[np.float64]) -> float:
        mean = float(row_losses(combine(outputs, weights, targets.kind, "stack"), targets).mean())
        # One row's weight of a normal prior: rows that are all right would else ask for endless powers.
        return mean + float(((weights - start) ** 2).sum()) / (2 * len(targets))

    n_heads = len(outputs)
    start = np.full(n_heads, 1 / n_heads)
    found = minimize(loss, start, method="L-BFGS-B", bounds=[(0, _MAX_POWER)] * n_heads, options={"ftol": _TOLERANCE})
    powers: NDArray[np.float64] = np.where(found.x < _LEAST_WEIGHT, 0.0, found.x)
    # Heads that know nothing: all classes alike, but said by someone.
    return powers if powers.any() else _LEAST_WEIGHT * start
