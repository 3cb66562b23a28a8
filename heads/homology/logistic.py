"""Logistic and ridge regression on sparse or dense numbers, for the floors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from heads.base import softmax
from heads.streams import Float32

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Numbers: TypeAlias = "csr_array | Float32"
"""(N, F) float32, sparse or not."""

_MAX_ITERATIONS = 200
_GRADIENT_TOLERANCE = 1e-5


class Weights(NamedTuple):
    """``X @ coef + intercept``; (F, C) and (C,) float32."""

    coef: Float32
    intercept: Float32


def fit_logistic(X: Numbers, truth: Float32, penalty: float, *, one_of: bool, start: Weights | None = None) -> Weights:
    """Minimise the summed log-loss plus ``penalty / 2`` times the squared coefficients (C is 1 / penalty).

    Parameters
    ----------
    X
        (N, F).
    truth
        (N, C) float32 of 0 and 1.
    penalty
        More than 0; the intercept is free of it.
    one_of
        Whether a row has one class (softmax), or any number of labels (a sigmoid each).
    start
        Where to begin.
    """
    from scipy.optimize import minimize

    n_rows, n_classes = truth.shape
    n_features = X.shape[1]
    transposed = X.T.tocsr() if hasattr(X, "tocsr") else X.T

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(n_features + 1, n_classes).astype(np.float32)
        logits = X @ weights[:-1] + weights[-1]
        if one_of:
            peaks = logits.max(axis=1)
            total = (np.log(np.exp(logits - peaks[:, None]).sum(axis=1)) + peaks).sum(dtype=np.float64)
            shares = softmax(logits.copy())
        else:
            total = np.logaddexp(0, logits).sum(dtype=np.float64)
            shares = sigmoid(logits)
        total -= (logits * truth).sum(dtype=np.float64)
        shares -= truth
        gradient = np.concatenate([transposed @ shares, shares.sum(axis=0, keepdims=True)]).astype(np.float64)
        gradient[:-1] += penalty * weights[:-1]
        total += penalty / 2 * float((weights[:-1].astype(np.float64) ** 2).sum())
        return total / n_rows, gradient.ravel() / n_rows

    first = np.zeros((n_features + 1, n_classes)) if start is None else np.vstack([start.coef, start.intercept])
    found = minimize(
        loss,
        first.ravel().astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_ITERATIONS, "gtol": _GRADIENT_TOLERANCE, "ftol": 1e-7, "maxcor": 5},
    )
    weights = found.x.reshape(n_features + 1, n_classes).astype(np.float32)
    return Weights(weights[:-1], weights[-1])


def fit_ridge(X: Numbers, values: NDArray[np.float64], penalty: float) -> Weights:
    """Least squares with ``penalty`` times the squared coefficients; one column of coefficients."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=penalty, solver="sparse_cg" if hasattr(X, "tocsr") else "auto", tol=1e-6)
    centre, scale = values.mean(), values.std() or 1.0
    model.fit(X, (values - centre) / scale)
    coef = (model.coef_ * scale).astype(np.float32)[:, None]
    return Weights(coef, np.array([model.intercept_ * scale + centre], np.float32))


def sigmoid(logits: Any) -> Float32:
    """Probability of each label, (N, C) float32, without overflow."""
    shares: Float32 = 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, np.float32)))
    return shares
