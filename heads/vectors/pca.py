"""Principal components: the directions in which vectors vary most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.features.base import Features, Float32, checked_blocks

_ROWS = 2**16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projection:
    """Vectors to their coordinates along the principal components.

    Products are taken in float64, so that a coordinate is the same float32 whatever else is in its block: trees are
    cut at thresholds, where a last bit counts.

    Attributes
    ----------
    mean
        (D,) float64.
    components
        (K, D) float64, orthonormal, those of most variance first.
    """

    mean: NDArray[np.float64]
    components: NDArray[np.float64]

    def coordinates(self, block: Float32) -> Float32:
        """The (n, K) float32 coordinates of (n, D) vectors in memory."""
        return ((block - self.mean) @ self.components.T).astype(np.float32)

    def __call__(self, X: Features) -> Float32:
        """The coordinates of all rows, (N, K) float32."""
        out = np.empty((X.shape[0], len(self.components)), np.float32)
        for rows, block in checked_blocks(X, n_features=len(self.mean)):
            out[rows] = self.coordinates(block)
        return out

    @classmethod
    def of(cls, X: Features, n_components: int, *, seed: int) -> Self:
        """Principal components of rows, at most as many as there are dimensions; of more than 65,536 rows, of a sample.

        Raises
        ------
        InputError
            If there is no row, or a vector is not finite.
        """
        n_rows, dim = X.shape
        if not n_rows:
            raise InputError("There is no vector to learn from: X has no rows.")
        if n_rows > _ROWS:
            X = X.subset(np.sort(np.random.default_rng(seed).choice(n_rows, _ROWS, replace=False)))
        origin, total, gram = None, np.zeros(dim), np.zeros((dim, dim))
        for _, block in checked_blocks(X):
            origin = block[0].astype(np.float64) if origin is None else origin
            centred = block - origin
            total += centred.sum(axis=0)
            gram += centred.T @ centred
        assert origin is not None  # noqa: S101 - for mypy; there was a row
        mean = total / X.shape[0]
        vectors = np.linalg.eigh(gram / X.shape[0] - np.outer(mean, mean))[1]
        components = vectors[:, ::-1].T[:n_components]
        # An eigenvector has no sign of its own.
        signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
        return cls(mean=origin + mean, components=np.ascontiguousarray(components * signs[:, None]))
