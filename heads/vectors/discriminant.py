"""The linear discriminant at any number of shrinkages, from one decomposition of the covariance within classes."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from heads.features.base import Float32
from heads.vectors.sufficient_statistics import Statistics

_Float = TypeVar("_Float", np.float32, np.float64)


class Discriminant(NamedTuple):
    """``(x - mean) @ coef.T + intercept`` is the log-posterior of each class up to a constant: (C, D) and (C,)."""

    coef: Float32
    intercept: Float32


class DiscriminantSpectrum:
    """The covariance within classes taken apart once.

    The covariance S is shrunk towards a multiple of the identity, ``(1 - s) S + s trace(S) / D`` (Friedman 1989), as in
    scikit-learn's ``LinearDiscriminantAnalysis(shrinkage=s)``.

    The mean of a class is drawn towards the mean of all rows, direction by direction, as far as its n rows leave it
    uncertain: it is kept to ``n b / (n b + m w)``, with the variance b of class means, found by the method of moments,
    and the variance w within classes. At ``m = 1`` that is the expectation of a class mean which is normal itself, as
    in the probabilistic discriminant (Ioffe 2006); at 0 it is the mean of the rows. Relatives among the rows of a class
    tell less than as many strangers, which a larger m says.

    Parameters
    ----------
    statistics
        Of rows with one class each.
    counts
        (C,) rows of each class, where rows are weighted; None: the amounts of the statistics.
    """

    def __init__(self, statistics: Statistics, counts: NDArray[np.float64] | None = None) -> None:
        values, self.axes = np.linalg.eigh(statistics.within_covariance())
        self._values = np.maximum(values, 0.0)
        spread = np.trace(statistics.total_covariance()) / len(values)
        self._has_spread = bool(self._values.mean() > 1e-12 * spread)
        if not self._has_spread:
            # No class varies (one member each, say): the distance to the class means decides.
            self._values = np.full_like(self._values, spread or 1.0)
        with np.errstate(divide="ignore"):
            self._log_prior: NDArray[np.float64] = np.log(statistics.amounts / statistics.weight)
        means = statistics.class_means()
        means -= statistics.mean()
        self._means: NDArray[np.float64] = means @ self.axes
        self._counts = statistics.amounts if counts is None else counts
        n_rows, n_classes = float(self._counts.sum()), int((self._counts > 0).sum())
        # The covariance is divided by the rows; what class means are off by, by the rows less the classes.
        self._unbiased = n_rows / max(n_rows - n_classes, 1.0)
        self._between = np.einsum("c,cd,cd->d", self._counts, self._means, self._means) / max(n_classes - 1, 1)
        self._class_rows = (n_rows - float((self._counts**2).sum()) / n_rows) / max(n_classes - 1, 1)

    def variances(self, shrinkage: float) -> NDArray[np.float64]:
        """Shrunk variance along each of `axes`, (D,)."""
        return np.asarray((1 - shrinkage) * self._values + shrinkage * self._values.mean())

    def rotated(self, shrinkage: float, mean_shrinkage: float = 0.0) -> Discriminant:
        """As `discriminant`, for vectors in the basis of `axes`, in single precision: to try many pairs."""
        coef, intercept = self._solved(self._single, shrinkage, mean_shrinkage)
        return Discriminant(coef, intercept.astype(np.float32))

    def discriminant(self, shrinkage: float, mean_shrinkage: float = 0.0) -> Discriminant:
        """Coefficients and intercepts at one shrinkage of the covariance, from 0 to 1, and one of the means."""
        coef, intercept = self._solved(self._means, shrinkage, mean_shrinkage)
        return Discriminant(coef.astype(np.float32) @ self.axes.T.astype(np.float32), intercept.astype(np.float32))

    @cached_property
    def _single(self) -> NDArray[np.float32]:
        return self._means.astype(np.float32)

    def _solved(
        self, means: NDArray[_Float], shrinkage: float, mean_shrinkage: float
    ) -> tuple[NDArray[_Float], NDArray[np.float64]]:
        """Coefficients for vectors in the basis of `axes`, and intercepts."""
        values = self.variances(shrinkage)
        # Without shrinkage, directions in which no class varies are left out, as in a pseudo-inverse.
        floor = values.max() * len(values) * np.finfo(np.float32).eps if shrinkage == 0 else 0.0
        inverse = np.where(values > floor, 1 / np.where(values > floor, values, 1.0), 0.0)
        means = self._drawn(means, values, mean_shrinkage)
        coef = means * inverse.astype(means.dtype)
        return coef, self._log_prior - 0.5 * np.einsum("cd,cd->c", means, coef)

    def _drawn(self, means: NDArray[_Float], values: NDArray[np.float64], mean_shrinkage: float) -> NDArray[_Float]:
        """Class means, drawn towards the mean of all rows, (C, D)."""
        if not mean_shrinkage or not self._has_spread:
            return means
        noise = values * self._unbiased
        between = np.maximum(self._between - noise, 0.0) / max(self._class_rows, 1.0)
        # A share needs no more than float32, and a table of classes by dimensions can be large.
        kept = np.multiply.outer(self._counts.astype(np.float32), between.astype(np.float32))
        doubt = np.maximum(mean_shrinkage * noise, np.finfo(np.float32).tiny).astype(np.float32)
        kept /= kept + doubt
        return np.asarray(means * kept, means.dtype)
