"""The cheap floors: a linear model on numbers that are counted in the residues."""

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
from heads.sequence_baselines.logistic import LOGIT_CELLS, Numbers, Weights, fit_logistic, fit_ridge

MAX_WEIGHTS = 2**27
"""Coefficients that are fitted at most; L-BFGS keeps a dozen copies in float64, 13 GB of them."""

_LEAST_VALID = 2000


class LinearFloor(Head):
    """Logistic regression for classes and labels, ridge regression for numbers.

    A new floor has a constructor, `_learn_numbers` and `_numbers`, and `_number_arrays` for what it learnt.

    Attributes
    ----------
    coef_, intercept_
        (F, C) and (C,) float32; one column for a number.
    penalty_
        Which of the penalties was used.
    temperature_
        What the logits of classes are divided by; 1 without validation rows.
    valid_loss_
        Mean log-loss in nats, or mean squared error, of the validation rows, or None.
    """

    target_types: ClassVar[tuple[str, ...]] = ("class", "multilabel", "regression")
    default_penalty = 0.1
    default_ridge = 1.0

    penalty: float | None
    penalties: Sequence[float]

    coef_: Float32
    intercept_: Float32
    penalty_: float
    temperature_: float
    valid_loss_: float | None

    @abstractmethod
    def _learn_numbers(self, residues: Sequence[str]) -> Numbers:
        """The training proteins' numbers, (N, F); keep what is needed to make those of others."""

    @abstractmethod
    def _numbers(self, residues: Sequence[str], first_row: int = 0) -> Numbers:
        """The numbers of any proteins; rows of an error are counted from `first_row`."""

    @abstractmethod
    def _number_arrays(self) -> dict[str, NDArray[Any]]:
        """What `_learn_numbers` kept."""

    def _restore_numbers(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over `_number_arrays`."""

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        candidates = self._candidates(valid)
        residues = sequences_of(train.features).residues
        X = self._learn_numbers(residues)
        n_weights = X.shape[1] * self.n_outputs
        if n_weights > MAX_WEIGHTS:
            raise InputError(
                f"{X.shape[1]:,} numbers a protein and {self.n_outputs:,} classes make {n_weights:,} coefficients; "
                f"expected at most {MAX_WEIGHTS:,}. Use shorter words (kmer: k=2), or a head of alignments."
            )
        if valid is not None:
            valid = valid.sample(max(_LEAST_VALID, LOGIT_CELLS // self.n_outputs), seed=0)
        X_valid = None if valid is None else self._numbers(sequences_of(valid.features).residues)
        best: tuple[float, float, float, Weights] | None = None
        weights: Weights | None = None
        for penalty in sorted(candidates, reverse=True):
            weights = self._solve(X, train, penalty, weights)
            loss, temperature = self._judge(X_valid, valid, weights)
            if best is None or loss < best[0]:
                best = loss, temperature, penalty, weights
        if best is None:
            raise AssertionError("there is always a candidate")
        loss, self.temperature_, self.penalty_, (self.coef_, self.intercept_) = best
        self.valid_loss_ = None if valid is None else loss

    def _candidates(self, valid: LabelledExamples | None) -> tuple[float, ...]:
        default = self.default_ridge if self.target_type == "regression" else self.default_penalty
        chosen = as_tuple(self.penalties) if self.penalty is None else (self.penalty,)
        if not chosen or not all(isinstance(one, int | float) and one > 0 for one in chosen):
            raise InputError(f"penalty is {chosen}; expected numbers of more than 0.")
        return (default,) if self.penalty is None and valid is None else chosen

    def _solve(self, X: Numbers, train: LabelledExamples, penalty: float, start: Weights | None) -> Weights:
        targets = train.targets
        if self.target_type == "regression":
            return fit_ridge(X, targets.require_values(), penalty)
        return fit_logistic(X, targets, penalty, start=start)

    def _judge(self, X: Numbers | None, valid: LabelledExamples | None, weights: Weights) -> tuple[float, float]:
        """Loss on the validation rows, and the temperature with it."""
        if X is None or valid is None:
            return 0.0, 1.0
        logits = np.asarray(X @ weights.coef + weights.intercept)
        if self.target_type == "regression":
            return float(((logits[:, 0] - valid.targets.require_values()) ** 2).mean()), 1.0
        if self.target_type == "multilabel":
            truth = valid.targets.require_members().toarray()
            return float((np.logaddexp(0, logits) - logits * truth).mean()), 1.0
        temperature, loss = fit_temperature(logits, valid.targets.require_codes())
        return loss, temperature

    def _outputs(self, X: Features) -> Iterator[Float32]:
        features = sequences_of(X)
        for rows, _ in features.blocks():
            logits = self._numbers(features.residues[rows], rows.start) @ self.coef_ + self.intercept_
            logits = np.asarray(logits, np.float32)
            if self.target_type == "class":
                yield softmax(logits / np.float32(self.temperature_))
            else:
                yield logits if self.target_type == "regression" else tanh_sigmoid(logits)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"coef": self.coef_, "intercept": self.intercept_, **self._number_arrays()}

    def settings(self) -> dict[str, Any]:
        """What was chosen, and the loss on validation."""
        return {"penalty": self.penalty_, "temperature": self.temperature_, "valid_loss": self.valid_loss_}

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.n_features_in_ = 0
        self.coef_, self.intercept_ = arrays["coef"], arrays["intercept"]
        self.penalty_, self.temperature_ = settings["penalty"], settings["temperature"]
        self.valid_loss_ = settings["valid_loss"]
        self._restore_numbers(arrays)
