"""Boosted regression trees as arrays: fitted by scikit-learn, saved without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


class BoostedTrees(NamedTuple):
    """Concatenated trees; children are indexed within a tree, -1 in a leaf.

    Attributes
    ----------
    starts
        (T + 1,) int64 first node of each tree.
    feature, left, right
        (nodes,) int32.
    threshold, value
        (nodes,) float64; a row goes left if its feature is at most the threshold. Values include the learning rate.
    base
        (1,) float64 prediction without trees.
    """

    starts: NDArray[np.int64]
    feature: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]
    base: NDArray[np.float64]

    @classmethod
    def fit(cls, X: NDArray[np.float32], y: NDArray[np.float64], *, seed: int, **options: Any) -> Self:
        """Fit scikit-learn's ``GradientBoostingRegressor(**options)``."""
        from sklearn.ensemble import GradientBoostingRegressor

        model = GradientBoostingRegressor(random_state=seed, **options).fit(X, y)
        trees = [estimator.tree_ for estimator in model.estimators_[:, 0]]
        return cls(
            starts=np.cumsum([0, *(tree.node_count for tree in trees)], dtype=np.int64),
            feature=np.concatenate([tree.feature for tree in trees]).astype(np.int32),
            left=np.concatenate([tree.children_left for tree in trees]).astype(np.int32),
            right=np.concatenate([tree.children_right for tree in trees]).astype(np.int32),
            threshold=np.concatenate([tree.threshold for tree in trees]),
            value=model.learning_rate * np.concatenate([tree.value[:, 0, 0] for tree in trees]),
            base=np.array([y.mean()]),
        )

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N,) float64."""
        out = np.full(len(X), self.base[0])
        rows = np.arange(len(X))
        for start in self.starts[:-1].tolist():
            node = np.full(len(X), start)
            while (is_inner := self.left[node] >= 0).any():
                goes_left = X[rows, np.where(is_inner, self.feature[node], 0)] <= self.threshold[node]
                child = start + np.where(goes_left, self.left[node], self.right[node])
                node = np.where(is_inner, child, node)
            out += self.value[node]
        return out

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The trees in a saved head's arrays."""
        return cls(**{name: arrays[name] for name in cls._fields})
