"""The linear discriminant with shrinkage, from one pass over the vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import Head, Labelled, as_tuple, softmax
from heads.calibrate import fit_temperature
from heads.statistics import ClassStatistics, class_statistics
from heads.streams import Features, Float32, checked_blocks, take_rows
from heads.targets import Codes

DEFAULT_SHRINKAGE = 0.1
"""Used where there is no validation split to choose on."""

SHRINKAGES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7)
"""Tried on the validation split."""

_VALID_LOGITS = 2**26
_MIN_VALID_ROWS = 2048
_LOGIT_ROWS = 1024


class _Discriminant(NamedTuple):
    """``(x - mean) @ coef.T + intercept`` is the log-posterior of each class up to a constant."""

    coef: Float32
    intercept: Float32


class LinearHead(Head):
    """Linear discriminant analysis: Gaussian classes with one shrunk covariance.

    The covariance within classes, S, is shrunk towards a multiple of the identity,
    ``(1 - s) S + s trace(S) / D``, as in scikit-learn's ``LinearDiscriminantAnalysis(shrinkage=s)``, with which it
    agrees. One eigendecomposition serves every s. Costs one pass over the vectors, whatever the number of classes.

    Parameters
    ----------
    shrinkage
        s, from 0 to 1. None: the one of `shrinkages` with the least log-loss on the validation rows, or 0.1 without
        validation rows.
    shrinkages
        What to choose from.
    seed
        Picks the validation rows to choose on where there are too many for all.
    kind
        What is predicted.

    Attributes
    ----------
    shrinkage_
        The s that was used.
    temperature_
        What the logits are divided by; 1 without validation rows.
    valid_log_loss_
        Log-loss on the validation rows in nats, or None.
    coef_, intercept_, mean_
        (C, D), (C,) and (D,) float32.
    """

    coef_: Float32
    intercept_: Float32
    mean_: Float32
    shrinkage_: float
    temperature_: float
    valid_log_loss_: float | None

    def __init__(
        self,
        *,
        shrinkage: float | None = None,
        shrinkages: Sequence[float] = SHRINKAGES,
        seed: int = 0,
        kind: str = "class",
    ) -> None:
        self.shrinkage = shrinkage
        self.shrinkages = shrinkages
        self.seed = seed
        self.kind = kind

    def _fit(self, train: Labelled, valid: Labelled | None) -> None:
        statistics = class_statistics(train.features, train.targets.require_codes(), train.targets.classes)
        self.fit_statistics(statistics, valid)

    def fit_statistics(self, statistics: ClassStatistics, valid: Labelled | None = None) -> Self:
        """Learn from statistics that were summed before, perhaps elsewhere and merged.

        Raises
        ------
        InputError
            For a shrinkage outside 0 to 1.
        """
        candidates = as_tuple(self.shrinkages) if self.shrinkage is None else (self.shrinkage,)
        if not candidates or not all(isinstance(s, int | float) and 0 <= s <= 1 for s in candidates):
            raise InputError(f"shrinkage is {candidates}; expected numbers from 0 to 1.")
        self.classes_ = statistics.classes
        self.n_features_in_ = len(statistics.origin)
        self.mean_ = (statistics.origin + statistics.mean()).astype(np.float32)
        spectrum = _Spectrum(statistics)
        sample = self._sample(valid)
        if sample is None:
            self.shrinkage_ = DEFAULT_SHRINKAGE if self.shrinkage is None else self.shrinkage
            self.temperature_, self.valid_log_loss_ = 1.0, None
        else:
            tried = [(*_validate(spectrum, s, *sample), s) for s in candidates]
            self.valid_log_loss_, self.temperature_, self.shrinkage_ = min(tried)
        self.coef_, self.intercept_ = spectrum.discriminant(self.shrinkage_)
        return self

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"coef": self.coef_, "intercept": self.intercept_, "mean": self.mean_}

    def settings(self) -> dict[str, Any]:
        """Shrinkage, temperature and log-loss on validation."""
        return {
            "shrinkage": self.shrinkage_,
            "temperature": self.temperature_,
            "valid_log_loss": self.valid_log_loss_,
        }

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.coef_, self.intercept_, self.mean_ = arrays["coef"], arrays["intercept"], arrays["mean"]
        self.n_features_in_ = self.coef_.shape[1]
        self.shrinkage_, self.temperature_ = settings["shrinkage"], settings["temperature"]
        self.valid_log_loss_ = settings["valid_log_loss"]

    def _outputs(self, X: Features) -> Iterator[Float32]:
        for _, block in checked_blocks(X, n_features=self.n_features_in_):
            for start in range(0, len(block), _LOGIT_ROWS):
                centred = block[start : start + _LOGIT_ROWS] - self.mean_
                logits = np.matmul(centred, self.coef_.T, dtype=np.float32)
                logits += self.intercept_
                logits /= np.float32(self.temperature_)
                yield softmax(logits)

    def _sample(self, valid: Labelled | None) -> tuple[Float32, Codes] | None:
        """Validation vectors less the mean, and their codes."""
        if valid is None:
            return None
        chosen = valid.sample(max(_MIN_VALID_ROWS, _VALID_LOGITS // len(self.classes_)), seed=self.seed)
        vectors = take_rows(chosen.features, np.arange(len(chosen)), n_features=self.n_features_in_)
        return vectors - self.mean_, chosen.targets.require_codes()


class _Spectrum:
    """The covariance within classes taken apart once, for any number of shrinkages."""

    def __init__(self, statistics: ClassStatistics) -> None:
        values, self._vectors = np.linalg.eigh(statistics.within_covariance())
        self._values = np.maximum(values, 0.0)
        if not self._values.mean() > 1e-12 * np.trace(statistics.total_covariance()) / len(values):
            # No class varies (one member each, say): the distance to the class means decides.
            self._values = np.full_like(self._values, np.trace(statistics.total_covariance()) / len(values) or 1.0)
        with np.errstate(divide="ignore"):
            self._log_prior = np.log(statistics.counts / statistics.n_rows)
        self._means = (statistics.class_means() - statistics.mean()) @ self._vectors

    def discriminant(self, shrinkage: float) -> _Discriminant:
        """Coefficients and intercepts at one shrinkage."""
        values = (1 - shrinkage) * self._values + shrinkage * self._values.mean()
        # Without shrinkage, directions in which no class varies are left out, as in a pseudo-inverse.
        floor = values.max() * len(values) * np.finfo(np.float32).eps if shrinkage == 0 else 0.0
        scaled = self._means * np.where(values > floor, 1 / np.where(values > floor, values, 1.0), 0.0)
        intercept = self._log_prior - 0.5 * (self._means * scaled).sum(axis=1)
        return _Discriminant((scaled @ self._vectors.T).astype(np.float32), intercept.astype(np.float32))


def _validate(spectrum: _Spectrum, shrinkage: float, X: Float32, codes: Codes) -> tuple[float, float]:
    """Log-loss and temperature of one shrinkage on (n, D) centred validation vectors."""
    coef, intercept = spectrum.discriminant(shrinkage)
    temperature, log_loss = fit_temperature(X @ coef.T + intercept, codes)
    return log_loss, temperature
