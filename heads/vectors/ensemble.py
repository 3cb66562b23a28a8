"""Several heads as one: each fitted as it is, their outputs put together by weights chosen on validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import Head, LabelledExamples, as_tuple
from heads.features.base import ArrayFeatures, Features, Float32, SequenceFeatures, VectorAndSequenceFeatures
from heads.tasks.splitting import folds
from heads.tasks.targets import KINDS, Targets
from heads.vectors.blending import METHODS, Blend, choose
from heads.vectors.losses import blockwise_losses, summary_loss
from heads.vectors.nested_heads import make_member, member_arrays, member_records, member_texts, restore_members

N_FOLDS = 3
"""Parts in turn left out, where there are no validation rows to choose weights on."""

_OTHER_DRAW = 2**16
_CHOSEN_ON = 2**24
_MIN_CHOSEN_ON = 1024
_ROWS = 512
_SEQUENCES = 2048
"""Rows at a time where a program is called for them."""


class EnsembleHead(Head):
    """A blend of several heads, which all learn from the same rows.

    The weights are those of least log-loss (of least squared error for numbers) on the validation rows, where each
    head has chosen its own settings too. Without validation rows they are chosen by cross-fitting: the training rows
    are parted in three by key, and each part is predicted by heads that were fitted on the other two.

    Parameters
    ----------
    members
        Names of heads of the catalog; two or more.
    params
        Arguments of their constructors: ``{"knn": {"k": 5}}``.
    method
        ``"blend"``: a weighted mean of the probabilities. ``"stack"``: a weighted sum of their logarithms. None: the
        better of the two.
    seed
        Of the parts, and of each head.
    target_type
        What is predicted.

    Attributes
    ----------
    blend_
        Method, weights and loss.
    """

    target_types: ClassVar[tuple[str, ...]] = KINDS
    reads_sequences: ClassVar[bool] = False

    def __init__(
        self,
        *,
        members: Sequence[str] | None = ("linear", "knn"),
        params: Mapping[str, Mapping[str, Any]] | None = None,
        method: str | None = None,
        seed: int = 0,
        target_type: str = "class",
    ) -> None:
        self.members = members
        self.params = params
        self.method = method
        self.seed = seed
        self.target_type = target_type

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        names = self._names()
        makers = [self._maker(name) for name in names]
        self._heads = [make().fit_labelled(train, valid) for make in makers]
        outputs, targets = unseen_outputs(makers, self._heads, train, valid, seed=self.seed)
        self._adopt(names, choose(outputs, targets, method=self.method), outputs, targets)

    def join(self, names: Sequence[str], fitted: Sequence[Head], valid: LabelledExamples) -> None:
        """Take over heads that are fitted, and choose the weights on rows that none of them was trained on."""
        self._check_method()
        self._heads = list(fitted)
        self.classes_, self.n_features_in_ = fitted[0].classes_, fitted[0].n_features_in_
        outputs, targets = unseen_outputs([], self._heads, valid, valid, seed=self.seed)
        self._adopt(names, choose(outputs, targets, method=self.method), outputs, targets)
        if self.target_type == "multilabel":
            self.thresholds_ = self._thresholds(valid)

    def _adopt(self, names: Sequence[str], blend: Blend, outputs: Float32, targets: Targets) -> None:
        """Keep the heads that have a weight, and what each reaches alone."""
        alone = [summary_loss(blockwise_losses([each], targets), self.target_type) for each in outputs]
        self.alone_ = dict(zip(names, alone, strict=True))
        kept = [number for number, weight in enumerate(blend.weights) if weight > 0]
        self._kept_names = [names[number] for number in kept]
        self._heads = [self._heads[number] for number in kept]
        weights = tuple(blend.weights[number] for number in kept)
        self.blend_ = Blend(method=blend.method, weights=weights, loss=blend.loss)

    def _names(self) -> tuple[str, ...]:
        self._check_method()
        names = self._asked()
        if len(names) < 2 or len(set(names)) < len(names):
            raise InputError(
                f"members is {names}; expected the names of two or more heads, each once "
                '(members=, --param \'members=["linear","knn"]\').'
            )
        if {"ensemble", "auto", "hybrid"} & set(names):
            raise InputError(f"members is {names}; an ensemble cannot have 'ensemble', 'auto' or 'hybrid' in it.")
        for name in self.params or {}:
            if name not in names:
                raise InputError(f"params has settings for {name!r}, which is not among the members {names}.")
        return names

    def _asked(self) -> tuple[str, ...]:
        return as_tuple(self.members or ())

    def _check_method(self) -> None:
        if self.method not in (None, *METHODS):
            raise InputError(f"method is {self.method!r}; expected {' or '.join(METHODS)}, or nothing for the better.")

    def _maker(self, name: str) -> Callable[[], Head]:
        given = (self.params or {}).get(name)
        return lambda: make_member(
            name, target_type=self.target_type, seed=self.seed, params=given, sequences=self.reads_sequences
        )

    def _outputs(self, X: Features) -> Iterator[Float32]:
        for outputs in stacked_outputs(self._heads, X):
            yield self.blend_.apply(outputs, self.target_type)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return member_arrays(self._heads)

    def texts(self) -> dict[str, str]:
        """The texts of the members."""
        return member_texts(self._heads)

    def settings(self) -> dict[str, Any]:
        """Method and weights, the loss that they reach, that of each head alone, and the members' own settings."""
        return {
            "method": self.blend_.method,
            "weights": dict(zip(self._kept_names, self.blend_.weights, strict=True)),
            "valid_loss": self.blend_.loss,
            "alone": self.alone_,
            "members": member_records(self._kept_names, self._heads),
        }

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self._heads = restore_members(self.classes_, settings["members"], arrays, texts)
        self._kept_names = list(settings["weights"])
        self.alone_ = dict(settings["alone"])
        weights = tuple(settings["weights"].values())
        self.blend_ = Blend(method=settings["method"], weights=weights, loss=settings["valid_loss"])
        self.n_features_in_ = self._heads[0].n_features_in_


def stacked_outputs(heads: Sequence[Head], X: Features) -> Iterator[Float32]:
    """Outputs of several heads for the same rows, (M, n, C), some rows at a time."""
    for part in _parts(X):
        yield np.stack([np.concatenate(list(head.outputs(part))) for head in heads])


def _parts(X: Features) -> Iterator[Features]:
    """Some rows at a time, read once for all heads."""
    if isinstance(X, SequenceFeatures | VectorAndSequenceFeatures):
        for start in range(0, X.shape[0], _SEQUENCES):
            yield X.subset(np.arange(start, min(start + _SEQUENCES, X.shape[0])))
        return
    for _, block in X.blocks():
        for start in range(0, len(block), _ROWS):
            yield ArrayFeatures(block[start : start + _ROWS])


def cross_folds(features: Features, *, seed: int) -> NDArray[np.int64]:
    """Part of each row, (N,) from 0 to N_FOLDS - 1, by which members are fitted and asked."""
    # By another draw than the one by which members set rows aside, who would find none of those left in a fold.
    return folds(features.group_keys, N_FOLDS, seed=seed + _OTHER_DRAW)


def unseen_outputs(
    makers: Sequence[Callable[[], Head]],
    fitted: Sequence[Head],
    train: LabelledExamples,
    valid: LabelledExamples | None,
    *,
    seed: int,
) -> tuple[Float32, Targets]:
    """What heads say of rows that they were not trained on, (M, n, C), and the targets of those rows.

    Parameters
    ----------
    makers
        Make each head anew, unfitted.
    fitted
        The heads, fitted on `train`.
    train, valid
        The outputs are of the validation rows; without them, of the training rows by cross-fitting.
    seed
        Of the parts, and of the sample where there are too many rows for all.
    """
    n_outputs = fitted[0].n_outputs
    limit = max(_MIN_CHOSEN_ON, _CHOSEN_ON // (len(fitted) * n_outputs))
    if valid is not None:
        chosen = valid.random_subset(limit, seed=seed)
        return np.concatenate(list(stacked_outputs(fitted, chosen.features)), axis=1), chosen.targets
    fold = cross_folds(train.features, seed=seed)
    rows, parts = [], []
    for number in range(N_FOLDS):
        left_out = np.flatnonzero(fold == number)
        left_out = np.sort(np.random.default_rng(seed).permutation(left_out)[: limit // N_FOLDS])
        learn = train.subset(np.flatnonzero(fold != number))
        if not len(left_out) or not len(learn):
            continue
        heads = [make().fit_labelled(learn, None) for make in makers]
        rows.append(left_out)
        parts.append(np.concatenate(list(stacked_outputs(heads, train.features.subset(left_out))), axis=1))
    return np.concatenate(parts, axis=1), train.targets.subset(np.concatenate(rows))
