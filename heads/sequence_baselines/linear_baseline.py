"""Linear models on features that are counted in sequences."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.numerics import softmax, tanh_sigmoid
from heads.base import Head, LabelledExamples, as_tuple
from heads.calibration.temperature import fit_temperature
from heads.features.base import Features, Float32, sequences_of
from heads.sequence_baselines.logistic import MAX_LOGITS, Design, Weights, fit_logistic, fit_ridge

MAX_WEIGHTS = 2**27
"""Most coefficients; L-BFGS keeps a dozen float64 copies, 13 GB."""

_MIN_VALID = 2000


class LinearBaseline(Head):
    """Logistic regression for classes and labels, ridge regression for numbers.

    A subclass has `_fit_features`, `_features`, and `_feature_arrays` and `_restore_features` for what it learns.

    Parameters
    ----------
    penalty
        On squared coefficients: scikit-learn's 1 / C, or its alpha for numbers. None: the one of `penalties` with the
        lowest loss on the validation rows; without these `default_penalty`, or `default_ridge` for numbers.
    penalties
        Candidates; None for `default_penalties`.
    target_type
        What is predicted.

    Attributes
    ----------
    coef_, intercept_
        (F, C) and (C,) float32; one column for a number.
    penalty_
        The penalty that was used.
    temperature_
        Divides the logits of classes; 1 without validation rows.
    valid_loss_
        Mean log-loss in nats, or mean squared error, on the validation rows; None without them.
    """

    target_types: ClassVar[tuple[str, ...]] = ("class", "multilabel", "regression")
    default_penalty: ClassVar[float] = 0.1
    default_ridge: ClassVar[float] = 1.0
    default_penalties: ClassVar[tuple[float, ...]]

    coef_: Float32
    intercept_: Float32
    penalty_: float
    temperature_: float
    valid_loss_: float | None

    def __init__(
        self, *, penalty: float | None = None, penalties: Sequence[float] | None = None, target_type: str = "class"
    ) -> None:
        self.penalty = penalty
        self.penalties = penalties
        self.target_type = target_type

    @abstractmethod
    def _fit_features(self, residues: Sequence[str]) -> Design:
        """Features of the training proteins, (N, F); learns what those of others need."""

    @abstractmethod
    def _features(self, residues: Sequence[str], first_row: int = 0) -> Design:
        """Features of any proteins; errors count rows from `first_row`."""

    @abstractmethod
    def _feature_arrays(self) -> dict[str, NDArray[Any]]:
        """What `_fit_features` learned."""

    def _restore_features(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore `_feature_arrays`."""

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        candidates = self._candidates(valid)
        X = self._fit_features(sequences_of(train.features).residues)
        n_weights = X.shape[1] * self.n_outputs
        if n_weights > MAX_WEIGHTS:
            raise InputError(
                f"{X.shape[1]:,} features and {self.n_outputs:,} classes make {n_weights:,} coefficients; expected at "
                f"most {MAX_WEIGHTS:,}. Use shorter k-mers (kmer: k=2), or an alignment head."
            )
        if valid is not None:
            valid = valid.random_subset(max(_MIN_VALID, MAX_LOGITS // self.n_outputs), seed=0)
        X_valid = None if valid is None else self._features(sequences_of(valid.features).residues)
        fits: list[tuple[float, float, float, Weights]] = []
        weights: Weights | None = None
        for penalty in sorted(candidates, reverse=True):
            weights = self._solve(X, train, penalty, weights)
            fits.append((*self._validate(X_valid, valid, weights), penalty, weights))
        loss, self.temperature_, self.penalty_, (self.coef_, self.intercept_) = min(fits, key=lambda fit: fit[0])
        self.valid_loss_ = None if valid is None else loss

    def _candidates(self, valid: LabelledExamples | None) -> tuple[float, ...]:
        penalties: tuple[Any, ...] = (self.penalty,)
        if self.penalty is None:
            penalties = self.default_penalties if self.penalties is None else as_tuple(self.penalties)
        if not penalties or not all(isinstance(penalty, int | float) and penalty > 0 for penalty in penalties):
            raise InputError(f"penalty is {penalties}; expected numbers of more than 0.")
        if self.penalty is None and valid is None:
            return (self.default_ridge if self.target_type == "regression" else self.default_penalty,)
        return penalties

    def _solve(self, X: Design, train: LabelledExamples, penalty: float, start: Weights | None) -> Weights:
        if self.target_type == "regression":
            return fit_ridge(X, train.targets.require_values(), penalty)
        return fit_logistic(X, train.targets, penalty, start=start)

    def _validate(self, X: Design | None, valid: LabelledExamples | None, weights: Weights) -> tuple[float, float]:
        """Loss on the validation rows, and the temperature."""
        if X is None or valid is None:
            return 0.0, 1.0
        logits = np.asarray(X @ weights.coef + weights.intercept)
        if self.target_type == "regression":
            return float(((logits[:, 0] - valid.targets.require_values()) ** 2).mean()), 1.0
        if self.target_type == "multilabel":
            members = valid.targets.require_members().toarray()
            return float((np.logaddexp(0, logits) - logits * members).mean()), 1.0
        temperature, loss = fit_temperature(logits, valid.targets.require_codes())
        return loss, temperature

    def _outputs(self, X: Features) -> Iterator[Float32]:
        features = sequences_of(X)
        for rows, _ in features.blocks():
            logits = self._features(features.residues[rows], rows.start) @ self.coef_ + self.intercept_
            logits = np.asarray(logits, np.float32)
            if self.target_type == "class":
                yield softmax(logits / np.float32(self.temperature_))
            else:
                yield logits if self.target_type == "regression" else tanh_sigmoid(logits)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"coef": self.coef_, "intercept": self.intercept_, **self._feature_arrays()}

    def settings(self) -> dict[str, Any]:
        """The penalty, the temperature and the validation loss."""
        return {"penalty": self.penalty_, "temperature": self.temperature_, "valid_loss": self.valid_loss_}

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.n_features_in_ = 0
        self.coef_, self.intercept_ = arrays["coef"], arrays["intercept"]
        self.penalty_, self.temperature_ = settings["penalty"], settings["temperature"]
        self.valid_loss_ = settings["valid_loss"]
        self._restore_features(arrays)
