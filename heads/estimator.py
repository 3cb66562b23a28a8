"""What scikit-learn asks of every estimator: parameters, tags, a score, and the names of columns."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
import sklearn.exceptions
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import r2_score

from embedstore.errors import InputError


class NotFittedError(InputError, sklearn.exceptions.NotFittedError):  # type: ignore[misc]
    """A head was asked for predictions before it was fitted."""


class Estimator(BaseEstimator, ABC):  # type: ignore[misc]
    """A classifier or, where it predicts numbers, a regressor, in the sense of scikit-learn.

    A subclass has a constructor that stores its arguments, `target_type` among them, ``fit`` and `predict`.

    Attributes
    ----------
    target_type
        One of `heads.tasks.targets.KINDS`.
    classes_
        (C,) the labels, sorted.
    n_features_in_
        Width of the vectors that it was fitted on.
    feature_names_in_
        Names of the columns, where it was fitted on a data frame whose column names are texts.
    """

    target_type: str
    classes_: NDArray[Any]
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    @abstractmethod
    def predict(self, X: Any) -> NDArray[Any]:
        """What each row is predicted to be, (N,), or (N, C) bool for ``"multilabel"``."""

    def score(self, X: Any, y: Any, sample_weight: NDArray[Any] | None = None) -> float:
        """Accuracy of the predictions; R² for ``"regression"``; the share of exact sets for ``"multilabel"``.

        Parameters
        ----------
        X
            (N, D) vectors.
        y
            N targets, as `fit` takes them. A label that the head does not know counts as an error.
        sample_weight
            (N,) weights of the rows.
        """
        predicted = self.predict(X)
        if self.target_type == "regression":
            return float(r2_score(np.asarray(y, np.float64), predicted, sample_weight=sample_weight))
        if self.target_type == "multilabel":
            names = self.classes_.tolist()
            sets = [{names[code] for code in np.flatnonzero(row)} for row in predicted]
            right = [given == set(true) for given, true in zip(sets, y, strict=True)]
        else:
            right = [given == true for given, true in zip(predicted.tolist(), np.asarray(y).tolist(), strict=True)]
        return float(np.average(right, weights=sample_weight))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor, as scikit-learn's search does."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise InputError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}.")
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    @property
    def _estimator_type(self) -> str:
        """What scikit-learn before 1.6 asks for in place of tags."""
        return "regressor" if self.target_type == "regression" else "classifier"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags

        tags = super().__sklearn_tags__()
        tags.estimator_type = self._estimator_type
        tags.target_tags.required = True
        if self.target_type == "regression":
            tags.regressor_tags = RegressorTags()
        else:
            tags.classifier_tags = ClassifierTags(multi_label=self.target_type == "multilabel")
        return tags

    def _check_column_names(self, X: Any) -> None:
        names, fitted = _column_names(X), getattr(self, "feature_names_in_", None)
        if names is None or fitted is None or names.tolist() == fitted.tolist():
            return
        pairs = zip(names.tolist(), fitted.tolist(), strict=False)
        first = next(
            (pair for pair in pairs if pair[0] != pair[1]), (f"{len(names)} columns", f"{len(fitted)} columns")
        )
        raise InputError(
            f"The columns of X are not those that the head was fitted on: {first[0]!r} in place of {first[1]!r}. Give "
            "the same columns in the same order."
        )

    def _keep_column_names(self, X: object) -> None:
        names = _column_names(X)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_


def _column_names(X: object) -> NDArray[Any] | None:
    """Names of the columns of a data frame, where all are texts, as scikit-learn keeps them."""
    names = list(getattr(X, "columns", ()))
    return np.array(names, dtype=object) if names and all(isinstance(name, str) for name in names) else None
