"""Rows of one length, mean and spread of each dimension, and rows that are kept in memory where they fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.types import Digests
from heads.features.base import ArrayFeatures, Features, Float32, Rows, checked_blocks, l2_normalise

HELD_BYTES = 2**29
"""Rows of up to this size, as float32, are read once and kept; more are read anew for each pass."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaler:
    """Takes off the mean of each dimension and divides by its standard deviation.

    Attributes
    ----------
    mean, scale
        (D,) float32. A dimension that does not vary has the scale 1.
    """

    mean: Float32
    scale: Float32

    def __call__(self, block: Float32) -> Float32:
        """(n, D) float32 rows, scaled."""
        return (block - self.mean) / self.scale

    @classmethod
    def of(cls, features: Features, *, held_bytes: int = HELD_BYTES) -> tuple[Self, Features]:
        """The scaler of rows, and the rows, in memory where they fit; one pass, in which all are found to be finite.

        Raises
        ------
        InputError
            If there is no row, or a vector is not finite.
        """
        n_rows, dim = features.shape
        if not n_rows:
            raise InputError("There is no vector to learn from: X has no rows.")
        held = np.empty((n_rows, dim), np.float32) if n_rows * dim * 4 <= held_bytes else None
        origin, total, squares = None, np.zeros(dim), np.zeros(dim)
        for rows, block in checked_blocks(features):
            # The first row as origin and float64 sums: the same to the last bit of float32 whatever the blocks are.
            origin = block[0].astype(np.float64) if origin is None else origin
            centred = block - origin
            total += centred.sum(axis=0)
            squares += np.einsum("nd,nd->d", centred, centred)
            if held is not None:
                held[rows] = block
        assert origin is not None  # noqa: S101 - for mypy; there was a row
        mean = total / n_rows
        spread = np.sqrt(np.maximum(squares / n_rows - mean**2, 0.0))
        varies = spread > 1e-6 * (np.abs(origin + mean) + spread.max())
        scaler = cls(mean=(origin + mean).astype(np.float32), scale=np.where(varies, spread, 1.0).astype(np.float32))
        return scaler, features if held is None else ArrayFeatures(held, features.keys)


@dataclass(frozen=True, slots=True, eq=False)
class L2NormalisedFeatures(Features):
    """Other features with all vectors scaled to one length.

    Parameters
    ----------
    features
        The features.
    """

    features: Features

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of dimensions."""
        return self.features.shape

    @property
    def keys(self) -> Digests | None:
        """Keys, or None."""
        return self.features.keys

    @property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where each protein starts, or None."""
        return self.features.offsets

    @property
    def group_keys(self) -> Digests:
        """Keys of examples that a split keeps together."""
        return self.features.group_keys

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield each row once and in order."""
        for rows, block in self.features.blocks():
            yield rows, l2_normalise(block)

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row once in an order drawn from `seed`."""
        for rows, block in self.features.batches(n_rows, seed=seed):
            yield rows, l2_normalise(block)

    def subset(self, indices: Rows) -> L2NormalisedFeatures:
        """The examples at (n,) indices, in that order."""
        return L2NormalisedFeatures(self.features.subset(indices))

    def _read(self, rows: Rows | slice) -> Float32:
        return l2_normalise(self.features._read(rows))
