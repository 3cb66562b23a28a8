"""Boosted trees on principal components, and for many classes on the candidates of faster heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import Head, LabelledExamples
from heads.calibration.temperature import fit_temperature
from heads.catalog.param_space import FloatRange, IntRange, Range
from heads.features.base import Features, Float32, checked_blocks
from heads.tasks.splitting import hold_out
from heads.tasks.targets import KINDS, Targets
from heads.vectors.linear_columns import LinearColumns
from heads.vectors.losses import best_temperature, logits_to_outputs
from heads.vectors.pca import Projection
from heads.vectors.reranker import CandidateRanker

if TYPE_CHECKING:
    from lightgbm import Booster

MAX_BOOSTERS = 100
"""Labels or levels above which one booster each is refused."""

_SECONDS_A_ROW = 1.5e-4
_SAMPLE = 100_000
_USUAL_LEAF = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grown:
    """Trees, what they see beside the components, and how well they do on the rows that stopped them."""

    boosters: list[Booster]
    n_rounds: list[int]
    columns: LinearColumns | None
    temperature: float
    loss: float


class BoostedHead(Head):
    """Gradient-boosted trees (LightGBM) on the first principal components.

    Besides the components the trees may see what the linear head says of a row. Up to `direct_classes` classes are
    learned by one softmax. Above, where that takes hours and diverges, the linear discriminant and the nearest
    neighbours name candidates for each row, and trees put them in order (LambdaRank). Numbers are learned by squared
    error; sets of labels by a booster a label; levels by a booster for being above each (Frank and Hall 2001). Growing
    stops by validation rows; without them a tenth of the training rows, drawn by key, is set aside.

    Parameters
    ----------
    n_components
        Principal components that the trees see. Cheaper than raw vectors, and better on most.
    learning_rate
        Weight of each tree.
    num_leaves
        Leaves of a tree.
    min_leaf
        Least rows in a leaf; None: 20, or fewer where a class has fewer.
    max_rounds
        Most rounds.
    patience
        Rounds without a gain on validation after which it stops.
    direct_classes
        Most classes for the softmax.
    linear
        Whether the trees see the linear head's outputs beside the components: of training rows those of heads that have
        not learned from them. ``"auto"``: trees are grown with and without, and those with the lesser loss on the rows
        that stop them are kept. Reads the rows some twenty times. Not for candidates, nor for fewer than 100 rows or 20
        proteins, nor where too few rows are left to stop by.
    class_weight
        ``"balanced"``: each class weighs the same, however many rows it has; not for candidates.
    seed
        Of the sample of rows for the components, and of the rows set aside.
    target_type
        What is predicted.

    Attributes
    ----------
    n_rounds_
        Rounds of each booster.
    temperature_
        What the raw scores are divided by.
    valid_loss_
        Loss on the rows that it was stopped by.
    held_out_
        Training rows set aside, 0 with a validation split.
    linear_
        Whether the trees see the linear head's outputs.
    """

    target_types: ClassVar[tuple[str, ...]] = KINDS
    search_space: ClassVar[Mapping[str, Range]] = {
        "n_components": IntRange(low=16, high=256, log=True),
        "learning_rate": FloatRange(low=0.02, high=0.3, log=True),
        "num_leaves": IntRange(low=7, high=63, log=True),
        "min_leaf": IntRange(low=2, high=50, log=True),
    }

    def __init__(
        self,
        *,
        n_components: int = 64,
        learning_rate: float = 0.1,
        num_leaves: int = 15,
        min_leaf: int | None = None,
        max_rounds: int = 500,
        patience: int = 20,
        direct_classes: int = 50,
        linear: bool | str = "auto",
        class_weight: str | None = None,
        seed: int = 0,
        target_type: str = "class",
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.num_leaves = num_leaves
        self.min_leaf = min_leaf
        self.max_rounds = max_rounds
        self.patience = patience
        self.direct_classes = direct_classes
        self.linear = linear
        self.class_weight = class_weight
        self.seed = seed
        self.target_type = target_type

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        self._check(train)
        self._ranker: CandidateRanker | None = None
        self._columns: LinearColumns | None = None
        self._number_mean, self._number_scale = 0.0, 1.0
        if self.target_type == "class" and len(self.classes_) > self.direct_classes:
            rounds = {"max_rounds": self.max_rounds, "patience": self.patience}
            self._ranker = CandidateRanker.fit(train, valid, self._params({}), seed=self.seed, **rounds)
            self.n_rounds_, self.temperature_ = [self._ranker.n_rounds], self._ranker.temperature
            self.linear_ = False
            self.valid_loss_, self.held_out_ = self._ranker.valid_loss, self._ranker.held_out
            return
        # Of all rows, so that the message for one that is not finite has its own number.
        self._projection = Projection.of(train.features, self.n_components, seed=self.seed)
        stop, self.held_out_ = valid, 0
        if stop is None:
            kept, aside = hold_out(train.features.group_keys, train.targets, seed=self.seed)
            stop = train.subset(aside) if len(aside) else train
            train, self.held_out_ = (train.subset(kept), len(aside)) if len(aside) else (train, 0)
        stop = stop.random_subset(_SAMPLE, seed=self.seed)
        if self.target_type == "regression":
            values = train.targets.require_values()
            self._number_mean, self._number_scale = float(values.mean()), float(values.std()) or 1.0
        X = self._projection(train.features)
        grown = [] if self.linear is True else [self._grow(train, stop, X, None)]
        # Not where the trees are stopped by rows that they learn from: the linear head has learned them too.
        if self.linear and (valid is not None or self.held_out_) and LinearColumns.can_be_fitted(train):
            columns, unseen = LinearColumns.fit(train, stop, class_weight=self.class_weight, seed=self.seed)
            grown.append(self._grow(train, stop, np.hstack([X, unseen]), columns))
        self._adopt(min(grown or [self._grow(train, stop, X, None)], key=lambda one: one.loss))

    def _grow(
        self, train: LabelledExamples, stop: LabelledExamples, X: Float32, columns: LinearColumns | None
    ) -> _Grown:
        """Trees on the (N, K) features of the training rows."""
        from heads.vectors.lightgbm_model import Part, train_booster

        X_stop = np.concatenate(list(self._features(stop.features, columns)))
        boosters, n_rounds = [], []
        for y, y_stop, objective in self._objectives(train.targets, stop.targets):
            weights, weights_stop = (self._weights(y, part, objective) for part in (y, y_stop))
            params = self._params(objective) | {"min_data_in_leaf": self._least_leaf(y, objective)}
            parts = Part(X=X, y=y, weights=weights), Part(X=X_stop, y=y_stop, weights=weights_stop)
            booster, rounds = train_booster(*parts, params, max_rounds=self.max_rounds, patience=self.patience)
            boosters.append(booster)
            n_rounds.append(rounds)
        temperature, loss = self._calibrated(self._raw(boosters, X_stop), stop.targets)
        return _Grown(boosters=boosters, n_rounds=n_rounds, columns=columns, temperature=temperature, loss=loss)

    def _adopt(self, grown: _Grown) -> None:
        self._boosters, self._columns = grown.boosters, grown.columns
        self.n_rounds_, self.linear_ = grown.n_rounds, grown.columns is not None
        self.temperature_, self.valid_loss_ = grown.temperature, grown.loss

    def _objectives(
        self, targets: Targets, stop: Targets
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any], dict[str, Any]]]:
        """Targets of the training and the stopping rows, and the objective, of each booster."""
        if self.target_type == "class":
            softmax = {"objective": "multiclass", "num_class": len(self.classes_)}
            yield targets.require_codes(), stop.require_codes(), softmax
        elif self.target_type == "regression":
            values, values_stop = (
                (part.require_values() - self._number_mean) / self._number_scale for part in (targets, stop)
            )
            yield values, values_stop, {"objective": "regression", "max_delta_step": 0.0}
        elif self.target_type == "ordinal":
            for level in range(len(self.classes_) - 1):
                above, above_stop = (part.require_codes() > level for part in (targets, stop))
                yield above, above_stop, {"objective": "binary"}
        else:
            columns, columns_stop = (part.require_members().tocsc() for part in (targets, stop))
            for label in range(len(self.classes_)):
                has, has_stop = (part[:, [label]].toarray()[:, 0] for part in (columns, columns_stop))
                yield has, has_stop, {"objective": "binary"}

    def _params(self, objective: Mapping[str, Any]) -> dict[str, Any]:
        from heads.vectors.lightgbm_model import STEADY

        shape = {"learning_rate": self.learning_rate, "num_leaves": self.num_leaves, "seed": self.seed}
        return {**STEADY, **shape, **objective}

    def _weights(self, y: NDArray[Any], part: NDArray[Any], objective: Mapping[str, Any]) -> NDArray[np.float64] | None:
        """Weight of each row of a part, by how often its class is among `y`."""
        if self.class_weight is None or objective["objective"] == "regression":
            return None
        counts = np.bincount(y.astype(np.int64), minlength=int(part.max(initial=0)) + 1)
        weights: NDArray[np.float64] = (len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1)))[
            part.astype(np.int64)
        ]
        return weights

    def _least_leaf(self, y: NDArray[Any], objective: Mapping[str, Any]) -> int:
        if self.min_leaf is not None:
            return self.min_leaf
        if objective["objective"] == "regression":
            return max(1, min(_USUAL_LEAF, len(y) // 20))
        counts = np.bincount(y.astype(np.int64))
        return int(min(_USUAL_LEAF, counts[counts > 0].min()))

    def _calibrated(self, logits: NDArray[np.float64], targets: Targets) -> tuple[float, float]:
        """Temperature and loss, on the rows that the growing was stopped by."""
        if self.target_type == "regression":
            errors = self._number_scale * logits[:, 0] + self._number_mean - targets.require_values()
            return 1.0, float(np.sqrt((errors**2).mean()))
        if self.target_type == "class":
            return fit_temperature(logits, targets.require_codes())
        return best_temperature(logits, targets)

    def _check(self, train: LabelledExamples) -> None:
        for name in ("n_components", "learning_rate", "num_leaves", "max_rounds", "patience"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; expected a number above 0.")
        if not (isinstance(self.linear, bool) or self.linear == "auto"):
            raise InputError(f"linear is {self.linear!r}; expected True, False or 'auto'.")
        if self.class_weight not in (None, "balanced"):
            raise InputError(f"class_weight is {self.class_weight!r}; expected 'balanced', or nothing for equal rows.")
        n_labels = len(self.classes_)
        if self.target_type in ("multilabel", "ordinal") and n_labels > MAX_BOOSTERS:
            hours = n_labels * len(train) * _SECONDS_A_ROW / 3600
            raise InputError(
                f"gbm grows a booster a label: {n_labels:,} labels of {len(train):,} rows would take about {hours:.1f} "
                f"CPU hours; it refuses more than {MAX_BOOSTERS}. Use head 'linear' or 'mlp', which learn all labels "
                "at once."
            )

    def _outputs(self, X: Features) -> Iterator[Float32]:
        if self._ranker is not None:
            yield from self._ranker.outputs(X)
            return
        for logits in self._scores(X):
            if self.target_type == "regression":
                yield (self._number_scale * logits + self._number_mean).astype(np.float32)
            else:
                yield logits_to_outputs(logits / self.temperature_, self.target_type)

    def _scores(self, X: Features) -> Iterator[NDArray[np.float64]]:
        """Raw scores, (n, C), or (n, 1) of numbers and (n, C - 1) of levels."""
        for block in self._features(X, self._columns):
            yield self._raw(self._boosters, block)

    def _features(self, X: Features, columns: LinearColumns | None) -> Iterator[Float32]:
        """What the trees see, (n, K) float32, block by block."""
        for _, block in checked_blocks(X, n_features=len(self._projection.mean)):
            parts = [self._projection.coordinates(block)]
            yield np.hstack(parts if columns is None else [*parts, columns(block)])

    def _raw(self, boosters: Sequence[Booster], X: Float32) -> NDArray[np.float64]:
        from heads.vectors.lightgbm_model import scores

        found = [scores(booster, X) for booster in boosters]
        return found[0] if self.target_type == "class" else np.stack(found, axis=1)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        if self._ranker is not None:
            return self._ranker.arrays()
        own = {"mean": self._projection.mean, "components": self._projection.components}
        return own if self._columns is None else own | self._columns.arrays()

    def texts(self) -> dict[str, str]:
        """The boosters, as LightGBM writes them."""
        from heads.vectors.lightgbm_model import write

        boosters: list[Booster] = self._boosters if self._ranker is None else [self._ranker.booster]
        return {f"booster_{number}": write(booster) for number, booster in enumerate(boosters)}

    def settings(self) -> dict[str, Any]:
        """What was chosen, and the loss on the rows that the growing was stopped by."""
        return {
            "n_rounds": self.n_rounds_,
            "temperature": self.temperature_,
            "valid_loss": self.valid_loss_,
            "held_out": self.held_out_,
            "number_mean": self._number_mean,
            "number_scale": self._number_scale,
            "ranker": None if self._ranker is None else self._ranker.settings(),
            "linear": None if self._columns is None else self._columns.record(),
        }

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        from heads.vectors.lightgbm_model import read

        self.n_rounds_, self.temperature_ = settings["n_rounds"], settings["temperature"]
        self.valid_loss_, self.held_out_ = settings["valid_loss"], settings["held_out"]
        self._number_mean, self._number_scale = settings["number_mean"], settings["number_scale"]
        self._ranker = self._columns = None
        self.linear_ = settings.get("linear") is not None
        if settings["ranker"] is not None:
            self._ranker = CandidateRanker.restore(self.classes_, arrays, settings["ranker"], texts["booster_0"])
            self.n_features_in_ = self._ranker.n_features
            return
        self._projection = Projection(mean=arrays["mean"], components=arrays["components"])
        self.n_features_in_ = len(self._projection.mean)
        if self.linear_:
            self._columns = LinearColumns.restore(self.classes_, arrays, settings["linear"])
        self._boosters = [read(texts[f"booster_{number}"]) for number in range(len(texts))]
