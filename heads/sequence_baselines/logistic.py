"""Logistic and ridge regression on sparse or dense features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedstore.numerics import softmax, tanh_sigmoid
from heads.features.base import Float32
from heads.tasks.targets import Targets

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Design: TypeAlias = "csr_array | Float32"
"""(N, F) float32, sparse or not."""

MAX_LOGITS = 2**24
"""Most logits (rows times classes) in memory at a time."""

_MAX_ITERATIONS = 200
_GRADIENT_TOLERANCE = 1e-5


class Weights(NamedTuple):
    """``X @ coef + intercept``; (F, C) and (C,) float32."""

    coef: Float32
    intercept: Float32


def fit_logistic(X: Design, targets: Targets, penalty: float, *, start: Weights | None = None) -> Weights:
    """Minimise the summed log-loss plus ``penalty / 2`` times the squared coefficients (C is 1 / penalty).

    Parameters
    ----------
    X
        (N, F).
    targets
        Of the N rows: classes (softmax) or labels (a sigmoid each).
    penalty
        More than 0; not on the intercept.
    start
        Initial weights.
    """
    from scipy.optimize import minimize

    n_rows, n_features, n_classes = len(targets), X.shape[1], targets.n_outputs
    loss_of = _class_loss if targets.target_type == "class" else _label_loss
    blocks = list(_split_blocks(X, targets))

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(n_features + 1, n_classes).astype(np.float32)
        total, gradient = 0.0, np.zeros((n_features + 1, n_classes))
        for block in blocks:
            logits = block.X @ weights[:-1] + weights[-1]
            block_loss, slope = loss_of(logits, block.targets)
            total += block_loss
            gradient[:-1] += block.transposed @ slope
            gradient[-1] += slope.sum(axis=0)
        gradient[:-1] += penalty * weights[:-1]
        total += penalty / 2 * float((weights[:-1].astype(np.float64) ** 2).sum())
        return total / n_rows, gradient.ravel() / n_rows

    first = np.zeros((n_features + 1, n_classes)) if start is None else np.vstack([start.coef, start.intercept])
    solution = minimize(
        loss,
        first.ravel().astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_ITERATIONS, "gtol": _GRADIENT_TOLERANCE, "ftol": 1e-7, "maxcor": 5},
    )
    weights = solution.x.reshape(n_features + 1, n_classes).astype(np.float32)
    return Weights(weights[:-1], weights[-1])


class _Block(NamedTuple):
    """Some of the rows, with logits that fit into memory."""

    X: Design
    transposed: Design
    targets: Targets


def _split_blocks(X: Design, targets: Targets) -> Iterator[_Block]:
    n_rows = max(1, MAX_LOGITS // targets.n_outputs)
    for start in range(0, len(targets), n_rows):
        rows = np.arange(start, min(start + n_rows, len(targets)))
        part: Any = X[start : start + n_rows]
        yield _Block(part, part.T.tocsr() if hasattr(part, "tocsr") else part.T, targets.subset(rows))


def _class_loss(logits: Float32, targets: Targets) -> tuple[float, Float32]:
    """The summed log-loss of a block, and its gradient in the logits, (n, C)."""
    rows, codes = np.arange(len(targets)), targets.require_codes()
    peaks = logits.max(axis=1)
    total = (np.log(np.exp(logits - peaks[:, None]).sum(axis=1)) + peaks).sum(dtype=np.float64)
    total -= logits[rows, codes].sum(dtype=np.float64)
    gradient = softmax(logits)
    gradient[rows, codes] -= 1
    return float(total), gradient


def _label_loss(logits: Float32, targets: Targets) -> tuple[float, Float32]:
    """As `_class_loss`, for labels."""
    members = targets.require_members().toarray()
    total = np.logaddexp(0, logits).sum(dtype=np.float64) - logits[members].sum(dtype=np.float64)
    return float(total), tanh_sigmoid(logits) - members


def fit_ridge(X: Design, values: NDArray[np.float64], penalty: float) -> Weights:
    """Least squares with ``penalty`` times the squared coefficients; one column of coefficients."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=penalty, solver="sparse_cg" if hasattr(X, "tocsr") else "auto", tol=1e-6)
    centre, scale = values.mean(), values.std() or 1.0
    model.fit(X, (values - centre) / scale)
    coef = (model.coef_ * scale).astype(np.float32)[:, None]
    return Weights(coef, np.array([model.intercept_ * scale + centre], np.float32))
