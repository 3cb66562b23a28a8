"""The linear discriminant at any number of shrinkages, from one decomposition of the covariance within classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heads.streams import Float32
from heads.vectors.statistics import Statistics


class Discriminant(NamedTuple):
    """``(x - mean) @ coef.T + intercept`` is the log-posterior of each class up to a constant: (C, D) and (C,)."""

    coef: Float32
    intercept: Float32


class DiscriminantSpectrum:
    """The covariance within classes taken apart once.

    The covariance S is shrunk towards a multiple of the identity, ``(1 - s) S + s trace(S) / D`` (Friedman 1989), as in
    scikit-learn's ``LinearDiscriminantAnalysis(shrinkage=s)``.

    Parameters
    ----------
    statistics
        Of rows with one class each.
    """

    def __init__(self, statistics: Statistics) -> None:
        values, self.axes = np.linalg.eigh(statistics.within_covariance())
        self._values = np.maximum(values, 0.0)
        spread = np.trace(statistics.total_covariance()) / len(values)
        if not self._values.mean() > 1e-12 * spread:
            # No class varies (one member each, say): the distance to the class means decides.
            self._values = np.full_like(self._values, spread or 1.0)
        with np.errstate(divide="ignore"):
            self._log_prior = np.log(statistics.amounts / statistics.weight)
        means = statistics.class_means()
        means -= statistics.mean()
        self._means = means @ self.axes

    def variances(self, shrinkage: float) -> NDArray[np.float64]:
        """Shrunk variance along each of `axes`, (D,)."""
        return np.asarray((1 - shrinkage) * self._values + shrinkage * self._values.mean())

    def rotated(self, shrinkage: float) -> Discriminant:
        """As `discriminant`, for vectors in the basis of `axes`: spares a (C, D) by (D, D) product."""
        values = self.variances(shrinkage)
        # Without shrinkage, directions in which no class varies are left out, as in a pseudo-inverse.
        floor = values.max() * len(values) * np.finfo(np.float32).eps if shrinkage == 0 else 0.0
        inverse = np.where(values > floor, 1 / np.where(values > floor, values, 1.0), 0.0)
        intercept = self._log_prior - 0.5 * np.einsum("cd,cd,d->c", self._means, self._means, inverse)
        return Discriminant((self._means * inverse).astype(np.float32), intercept.astype(np.float32))

    def discriminant(self, shrinkage: float) -> Discriminant:
        """Coefficients and intercepts at one shrinkage, from 0 to 1."""
        coef, intercept = self.rotated(shrinkage)
        return Discriminant(coef @ self.axes.T.astype(np.float32), intercept)
