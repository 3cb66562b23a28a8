"""What the linear head says of a row, as columns for another head that is put on top of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from heads.base import Head, LabelledExamples
from heads.features.base import FeaturesLike, Float32
from heads.tasks.splitting import folds
from heads.vectors.nested_heads import make_member, member_arrays, member_records, restore_members

LEAST_ROWS, LEAST_GROUPS = 100, 20
"""Training rows, and proteins that they are of, which are worth parting in folds."""

_NAME = "linear"
_N_FOLDS = 5
_STEPS = np.float32(2**18)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearColumns:
    """Outputs of a linear head that is fitted on all training rows, (N, K) float32."""

    head: Head

    def __call__(self, X: FeaturesLike) -> Float32:
        """The outputs for rows that were not learned from, less the last bits, which hang on what is in a block."""
        fractions, exponents = np.frexp(np.concatenate(list(self.head.outputs(X))))
        found: Float32 = np.ldexp(np.round(fractions * _STEPS) / _STEPS, exponents)
        return found

    @staticmethod
    def can_be_fitted(train: LabelledExamples) -> bool:
        """Whether there are rows enough, of proteins enough."""
        return len(train) >= LEAST_ROWS and len(np.unique(train.features.group_keys, axis=0)) >= LEAST_GROUPS

    @classmethod
    def fit(
        cls, train: LabelledExamples, stop: LabelledExamples, *, class_weight: str | None, seed: int
    ) -> tuple[Self, Float32]:
        """The head, and its columns of the training rows: each fifth by a head that was fitted on the others.

        Outputs for rows that a head has learned from would look surer than those for others ever are (Wolpert 1992,
        Stacked generalization, Neural Networks 5:241).

        Parameters
        ----------
        train
            Of which `can_be_fitted` is true.
        stop
            Rows that settings are chosen on.
        class_weight, seed
            As of `heads.vectors.linear.LinearHead`, which weighs classes and labels alone; the seed also parts the
            rows.
        """
        target_type = train.targets.target_type

        def fitted(part: LabelledExamples) -> Head:
            own = {"class_weight": class_weight if target_type in ("class", "multilabel") else None, "refine": False}
            head = make_member(_NAME, target_type=target_type, seed=seed, params=own)
            return head.fit_labelled(part, stop.of_known_classes(part))

        # By another draw than the one that holds rows out.
        fold = folds(train.features.group_keys, _N_FOLDS, seed=seed + 1)
        columns: Float32 | None = None
        for number in range(_N_FOLDS):
            left_out = np.flatnonzero(fold == number)
            if len(left_out):
                novice = cls(head=fitted(train.subset(np.flatnonzero(fold != number))))
                found = novice(train.features.subset(left_out))
                columns = np.empty((len(train), found.shape[1]), np.float32) if columns is None else columns
                columns[left_out] = found
        assert columns is not None  # noqa: S101 - for mypy; there are rows
        return cls(head=fitted(train)), columns

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of the head."""
        return member_arrays([self.head])

    def record(self) -> dict[str, Any]:
        """Parameters and settings of the head."""
        return member_records([_NAME], [self.head])[0]

    @classmethod
    def restore(cls, classes: NDArray[Any], arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> Self:
        """The columns of a head that was taken apart."""
        return cls(head=restore_members(classes, [record], arrays, {})[0])
