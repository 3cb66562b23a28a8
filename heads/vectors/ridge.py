"""Ridge regression at any number of penalties, from one decomposition of the Gram matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heads.features.base import Float32
from heads.vectors.sufficient_statistics import Statistics

if TYPE_CHECKING:
    Float64 = NDArray[np.float64]

N_ALPHAS = 25
"""Penalties that are tried."""

_LOWEST, _HIGHEST = 1e-5, 1e3


class RidgeSpectrum:
    """The centred Gram matrix taken apart once: every column of a target, at any penalty.

    Minimises ``|y - b - X w|^2 + alpha |w|^2`` with an intercept that is not penalised, as scikit-learn's ``Ridge``.

    Parameters
    ----------
    statistics
        Of N rows and K columns of targets.

    Attributes
    ----------
    axes
        (D, D) float64 directions, a column each.
    values
        (D,) float64 sums of squares along them, not negative.
    """

    def __init__(self, statistics: Statistics) -> None:
        mean, weight = statistics.mean(), statistics.weight
        values, self.axes = np.linalg.eigh(statistics.gram - weight * np.outer(mean, mean))
        self.values = np.maximum(values, 0.0)
        self.n_rows = weight
        self.centres = statistics.amounts / weight
        self.squares = np.maximum(statistics.squares - weight * self.centres**2, 0.0)
        self._cross = (statistics.sums - np.outer(self.centres, statistics.total)) @ self.axes

    def alphas(self) -> tuple[float, ...]:
        """Penalties to try: 25, evenly spaced by logarithm around the mean of `values`."""
        mean = float(self.values.mean()) or 1.0
        return tuple(float(alpha) for alpha in np.geomspace(_LOWEST * mean, _HIGHEST * mean, N_ALPHAS))

    def rotated(self, alpha: float) -> Float64:
        """Weights in the basis of `axes`, (K, D)."""
        room = self.values + alpha
        # Directions in which nothing varies have weight 0 where there is no penalty either.
        floor = self.values.max() * len(room) * np.finfo(np.float32).eps if alpha == 0 else 0.0
        weights: Float64 = self._cross * np.where(room > floor, 1 / np.where(room > floor, room, 1.0), 0.0)
        return weights

    def coef(self, alpha: float) -> Float64:
        """Weights (K, D): ``(x - mean) @ coef.T + centres`` is the regression."""
        weights: Float64 = self.rotated(alpha) @ self.axes.T
        return weights

    def validation_error(self, alpha: float) -> Float64:
        """Generalised cross-validation (Golub, Heath and Wahba 1979): mean squared error of each column, (K,).

        Infinite where the regression has as many free parameters as rows.
        """
        left = self.n_rows - 1 - self._freedom(alpha)
        if left < 1e-6 * self.n_rows:
            return np.full(len(self.squares), np.inf)
        return np.asarray(self.n_rows * self.residual_squares(alpha) / left**2)

    def residual_squares(self, alpha: float) -> Float64:
        """Sum of squared residuals of each column on the rows that were summed, (K,)."""
        weights = self.rotated(alpha)
        explained = np.einsum("kd,kd,d->k", weights, weights, self.values + 2 * alpha)
        return np.asarray(np.maximum(self.squares - explained, 0.0))

    def score_variances(self, alpha: float) -> Float64:
        """Variance of the fitted values of each column over the rows, (K,)."""
        weights = self.rotated(alpha)
        return np.asarray(np.einsum("kd,kd,d->k", weights, weights, self.values) / self.n_rows)

    def left_out(self, rotated: Float32, targets: Float64, alpha: float) -> Float64:
        """What each of some training rows would be predicted to be by the other rows, (n, K).

        Exact for a regression: its residual divided by one minus its leverage.

        Parameters
        ----------
        rotated
            (n, D) vectors less the mean, in the basis of `axes`.
        targets
            (n, K) or (n, 1).
        alpha
            Penalty.
        """
        room = self.values + alpha
        inverse = np.where(room > 0, 1 / np.where(room > 0, room, 1.0), 0.0)
        leverage = np.square(rotated, dtype=np.float64) @ inverse + 1 / self.n_rows
        fitted = rotated @ self.rotated(alpha).T + self.centres
        room_left = np.maximum(1 - leverage, 1e-6)[:, None]
        return np.asarray(targets - (targets - fitted) / room_left, np.float64)

    def _freedom(self, alpha: float) -> float:
        room = self.values + alpha
        return float((self.values / np.where(room > 0, room, 1.0)).sum())
