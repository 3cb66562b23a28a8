"""The contract of a head: a scikit-learn estimator that also reads streams of vectors."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray

from embedstore.catalog import unknown_name
from embedstore.errors import InputError
from heads.calibration.thresholds import choose_thresholds
from heads.catalog import HEADS
from heads.catalog.param_space import EpochCallback, Range
from heads.estimator import Estimator, NotFittedError
from heads.features.base import Features, FeaturesLike, Float32, as_features
from heads.tasks.keys import isin_keys
from heads.tasks.targets import Codes, Targets, encode


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledExamples:
    """Rows to learn from or to choose on: vectors and their targets, in the same order."""

    features: Features
    targets: Targets

    def __len__(self) -> int:
        return self.features.shape[0]

    def subset(self, indices: NDArray[np.int64]) -> LabelledExamples:
        """The examples at (n,) indices."""
        return LabelledExamples(features=self.features.subset(indices), targets=self.targets.subset(indices))

    def random_subset(self, limit: int, *, seed: int) -> LabelledExamples:
        """At most `limit` of the examples, drawn from `seed`, in order."""
        if len(self) <= limit:
            return self
        return self.subset(np.sort(np.random.default_rng(seed).choice(len(self), size=limit, replace=False)))

    def of_known_classes(self, train: LabelledExamples) -> LabelledExamples | None:
        """The examples whose class is among those of `train`; None if there are none.

        Targets list the classes of the whole data set; a part of it may lack some.
        """
        if self.targets.codes is None:
            return self
        known = np.isin(self.targets.codes, train.targets.require_codes())
        return self.subset(np.flatnonzero(known)) if known.any() else None


class Head(Estimator):
    """A scikit-learn estimator that predicts targets from vectors.

    A classifier for the target types ``"class"``, ``"ordinal"`` and ``"multilabel"``, a regressor for
    ``"regression"``; so `score`, ``clone``, ``cross_val_score``, ``GridSearchCV``, ``Pipeline``,
    ``CalibratedClassifierCV`` and ``VotingClassifier`` work on it. The constructor stores its arguments, `target_type`
    among them; `fit` learns into attributes with a trailing underscore. A head can also be taken apart into arrays and
    settings, so that it is saved without pickle, and put together again.

    A new head has a constructor, `_fit`, `_outputs`, `_arrays`, `settings` and `_restore`; the rest is here.

    Attributes
    ----------
    target_types
        Which of `heads.tasks.targets.KINDS` it can predict.
    whole_proteins
        Whether, of residues, it wants whole proteins (`Features.offsets`), those without a label among them, code -1.
    search_space
        Arguments of the constructor that `heads.api.tune` tries, each with what to try.
    on_epoch
        Called with epoch and validation loss where the head learns in epochs; it may raise to stop the fit.
    target_type
        What it predicts.
    classes_
        The labels, sorted, (C,); ascending levels for ``"ordinal"``; empty for ``"regression"``.
    n_features_in_
        D of the vectors that it was fitted on.
    feature_names_in_
        Names of the columns, where it was fitted on a data frame whose column names are texts.
    thresholds_
        For ``"multilabel"``: (C,) float32, from which probability on a label is given; chosen on validation rows.
    """

    target_types: ClassVar[tuple[str, ...]] = ("class",)
    whole_proteins: ClassVar[bool] = False
    search_space: ClassVar[Mapping[str, Range]] = {}
    on_epoch: EpochCallback | None = None

    target_type: str
    classes_: NDArray[Any]
    n_features_in_: int
    thresholds_: Float32

    def fit(self, X: FeaturesLike, y: Any, X_valid: FeaturesLike | None = None, y_valid: Any = None) -> Self:
        """Learn; what is to be chosen or calibrated is chosen on the validation rows.

        Validation rows whose key is that of a training row are left out: they would speak for whatever remembers the
        training rows best. So are those whose class no training row has.

        Parameters
        ----------
        X
            (N, D) vectors, streamed or in memory.
        y
            N targets: see `heads.tasks.targets.encode`.
        X_valid, y_valid
            The same of other proteins.

        Raises
        ------
        InputError
            For vectors that are not finite, targets of another kind or number, or with nothing to tell apart.
        """
        self.fit_labelled(*self.labelled(X, y, X_valid, y_valid))
        self._keep_column_names(X)
        return self

    def labelled(
        self, X: FeaturesLike, y: Any, X_valid: FeaturesLike | None = None, y_valid: Any = None
    ) -> tuple[LabelledExamples, LabelledExamples | None]:
        """The rows of `fit`, checked and encoded: those to learn from, and those to choose on, if there are any."""
        if self.target_type not in self.target_types:
            raise InputError(
                f"{type(self).__name__} predicts {' or '.join(self.target_types)}; target_type is {self.target_type!r}."
            )
        features = as_features(X)
        train = LabelledExamples(
            features=features, targets=encode(y, target_type=self.target_type, n_rows=features.shape[0])
        )
        valid = None
        if (X_valid is None) != (y_valid is None):
            raise InputError("Validation rows need X_valid and y_valid; one was given without the other.")
        if X_valid is not None:
            valid = self._usable(as_features(X_valid), y_valid, train)
        if not self.whole_proteins and not train.targets.known.all():
            train = train.subset(np.flatnonzero(train.targets.known))
        return train, valid

    def fit_labelled(self, train: LabelledExamples, valid: LabelledExamples | None) -> Self:
        """As `fit`, of rows that were checked and encoded before: how a head that is made of heads fits them."""
        self.classes_, self.n_features_in_ = train.targets.classes, train.features.shape[1]
        self._fit(train, valid)
        if self.target_type == "multilabel":
            self.thresholds_ = self._thresholds(valid)
        return self

    def outputs(self, X: FeaturesLike) -> Iterator[Float32]:
        """Yield what the head gives for the rows of `X`, block by block and in order.

        Yields
        ------
        numpy.ndarray
            (n, C) float32 probabilities, which sum to 1 in a row but for ``"multilabel"``; (n, 1) for a number. For
            ``"class"`` a row of zeros is no answer: a protein that resembles nothing, say.

        Raises
        ------
        NotFittedError
            Before `fit`.
        InputError
            For vectors of another dimension, columns of other names, or NaN or infinity among them.
        """
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"This {type(self).__name__} is not fitted yet. Call fit, or load a fitted head.")
        self._check_column_names(X)
        return self._outputs(as_features(X))

    def predict(self, X: FeaturesLike) -> NDArray[Any]:
        """What each row is predicted to be.

        Returns
        -------
        numpy.ndarray
            (N,): the most probable label; the median level for ``"ordinal"``; a float64 number for ``"regression"``.
            (N, C) bool for ``"multilabel"``. Where a head has no prediction (an aligner without a hit: see
            `has_prediction`), the array is of objects, and the entry None.
        """
        decided = [self.decide(block) for block in self.outputs(X)]
        return np.concatenate([self.decide(np.zeros((0, self.n_outputs), np.float32)), *decided])

    def has_prediction(self, X: FeaturesLike) -> NDArray[np.bool_]:
        """Whether the head has a prediction for each row of `X`, (N,) bool; heads on vectors always have."""
        return np.concatenate([np.zeros(0, np.bool_), *(has_prediction(block) for block in self.outputs(X))])

    def decide(self, outputs: Float32) -> NDArray[Any]:
        """Predictions from the outputs of some rows."""
        if self.target_type == "regression":
            return outputs[:, 0].astype(np.float64)
        if self.target_type == "multilabel":
            return outputs >= self.thresholds_
        if self.target_type == "ordinal":
            # Float32 shares may add up to a little less than one half more.
            levels: NDArray[Any] = self.classes_[(outputs.cumsum(axis=1) >= 0.5 - 1e-6).argmax(axis=1)]
            return levels
        labels: NDArray[Any] = self.classes_[outputs.argmax(axis=1)]
        predicted = has_prediction(outputs)
        if not predicted.all():
            labels = labels.astype(object)
            labels[~predicted] = None
        return labels

    def predict_proba(self, X: FeaturesLike) -> Float32:
        """Probability of each class for each row, (N, C) float32.

        Raises
        ------
        InputError
            If the head predicts numbers, which have none.
        """
        if self.target_type == "regression":
            raise InputError("This head predicts numbers, which have no classes to be probable. Use predict.")
        return np.concatenate([np.zeros((0, self.n_outputs), np.float32), *self.outputs(X)])

    @property
    def n_outputs(self) -> int:
        """Width of the outputs."""
        return 1 if self.target_type == "regression" else len(self.classes_)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything learnt that is an array, by name; the classes are kept apart."""
        return self._arrays() | ({"thresholds": self.thresholds_} if self.target_type == "multilabel" else {})

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything learnt that is a number or a text, for JSON."""

    def texts(self) -> dict[str, str]:
        """Everything learnt that is kept as a text file of its own, by name: a LightGBM model, say."""
        return {}

    def write_files(self, directory: Path) -> None:
        """Write what is kept in files of its own beside ``head.json``: the weights of an encoder, say."""
        return

    def read_files(self, directory: Path) -> None:
        """Take note of where `write_files` wrote; called before `restore`."""
        return

    def restore(
        self,
        classes: NDArray[Any],
        arrays: Mapping[str, NDArray[Any]],
        settings: Mapping[str, Any],
        texts: Mapping[str, str] | None = None,
    ) -> Self:
        """Take over what `arrays`, `settings` and `texts` of a fitted head gave."""
        self.classes_ = classes
        if self.target_type == "multilabel":
            self.thresholds_ = arrays["thresholds"]
        self._restore(arrays, settings, texts or {})
        return self

    @abstractmethod
    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        """Learn; `valid` has at least one row and no row or class that it should not have."""

    @abstractmethod
    def _outputs(self, X: Features) -> Iterator[Float32]:
        """As `outputs`; go through `heads.features.base.checked_blocks`."""

    @abstractmethod
    def _arrays(self) -> dict[str, NDArray[Any]]:
        """The head's own arrays."""

    @abstractmethod
    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        """Take over arrays, settings and texts; sets `n_features_in_` too."""

    def _usable(self, features: Features, y: Any, train: LabelledExamples) -> LabelledExamples | None:
        targets = encode(
            y, target_type=self.target_type, n_rows=features.shape[0], classes=train.targets.classes, name="y_valid"
        )
        usable = targets.known | self.whole_proteins
        if features.keys is not None and train.features.keys is not None:
            usable &= ~isin_keys(features.keys, train.features.keys)
        if not targets.known[usable].any():
            return None
        valid = LabelledExamples(features=features, targets=targets)
        return valid if usable.all() else valid.subset(np.flatnonzero(usable))

    def _thresholds(self, valid: LabelledExamples | None) -> Float32:
        if valid is None:
            return np.full(len(self.classes_), 0.5, np.float32)
        shares = np.concatenate(list(self._outputs(valid.features)))
        return choose_thresholds(shares, valid.targets.require_members())


def make_head(
    name: str,
    params: Mapping[str, Any] | None = None,
    *,
    target_type: str = "class",
    input_: str = "protein",
    seed: int = 0,
) -> Head:
    """An unfitted head of the catalog, for a target type and a type of input.

    Raises
    ------
    UnknownNameError
        For an unknown head or parameter.
    InputError
        If the head does not support that target type, or that input.

    Examples
    --------
    >>> make_head("knn", {"k": 3}).get_params()["k"]
    3
    """
    spec = HEADS[name]
    for value, supported, verb in (
        (target_type, spec.target_types, "predicts"),
        (input_, spec.inputs, "takes rows that are"),
    ):
        if value not in supported:
            able = [
                other.name for other in HEADS.values() if target_type in other.target_types and input_ in other.inputs
            ]
            raise InputError(
                f"Head {name!r} {verb} {' or '.join(supported)}, and this task is {value!r}. "
                f"Heads that can: {', '.join(able) or 'none'}."
            )
    head_class = HEADS.load(name)
    known = [param for param in inspect.signature(head_class).parameters if param != "target_type"]
    arguments = dict(params or {})
    for param in arguments:
        if param not in known:
            raise unknown_name(f"parameter of head {name!r},", param, known)
    if "seed" in known:
        arguments.setdefault("seed", seed)
    return cast(Head, head_class(**arguments, target_type=target_type))


def has_prediction(outputs: Float32) -> NDArray[np.bool_]:
    """Which rows of probabilities are an answer, (n,): those with a class that is not impossible.

    >>> has_prediction(np.array([[0.25, 0.75], [0.0, 0.0]], np.float32)).tolist()
    [True, False]
    """
    return np.asarray(outputs.any(axis=1))


def as_tuple(values: object) -> tuple[Any, ...]:
    """What to choose from, as a tuple; a single value is a choice of one."""
    return tuple(values) if isinstance(values, Sequence) and not isinstance(values, str) else (values,)


__all__ = [
    "Codes",
    "Features",
    "FeaturesLike",
    "Float32",
    "Head",
    "LabelledExamples",
    "NotFittedError",
    "as_tuple",
    "has_prediction",
    "make_head",
]
