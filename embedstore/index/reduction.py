"""Fewer dimensions: centred unit vectors, turned onto their principal axes, the same bits in any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedstore.index.base import unit_rows
from embedstore.index.scoring import as_float32
from embedstore.types import Vectors

MOST_DIMENSIONS = 256
"""Kept at most: of 1,024 with a decaying spectrum, candidates from these hold 0.999 of the true neighbours."""

_GRID = 2.0**24
_BLOCK = 8192
_FILE = "reduction.npy"


class Reduction:
    """Maps vectors (n, D) onto (n, d): to unit length, less the mean, times the principal axes.

    Euclidean distance between two reduced vectors is that of the unit vectors, hence their order by cosine, up to what
    the axes leave out. Vectors and axes are rounded to multiples of 2 ** -24 and summed in float64, which is exact in
    any order: a query alone and in a batch, with any number of threads, is reduced to the same bits.

    Parameters
    ----------
    mean
        (D,) mean of unit vectors.
    axes
        (d, D) orthonormal rows.
    """

    def __init__(self, mean: NDArray[np.float32], axes: NDArray[np.float32]) -> None:
        self.mean = mean
        self.axes = axes
        self._whole_axes = np.rint(axes.T.astype(np.float64) * _GRID)

    @property
    def dim(self) -> int:
        """D."""
        return int(self.axes.shape[1])

    @property
    def n_dims(self) -> int:
        """What is left of D: d."""
        return int(self.axes.shape[0])

    @classmethod
    def fit(cls, sample: Vectors) -> Reduction:
        """Mean and principal axes of a sample (n, D) of vectors.

        d is at most 256 and a multiple of 4; of fewer than 4 dimensions there are 4, of which some are zero.
        """
        dim = sample.shape[1]
        n_dims = max(4, min(MOST_DIMENSIONS, dim // 4 * 4))
        total, square = np.zeros(dim), np.zeros((dim, dim))
        for start in range(0, len(sample), _BLOCK):
            rows = unit_rows(as_float32(sample[start : start + _BLOCK]))
            total += rows.sum(axis=0, dtype=np.float64)
            square += rows.T @ rows
        mean = total / len(sample)
        _, vectors = np.linalg.eigh(square / len(sample) - np.outer(mean, mean))
        axes = np.zeros((n_dims, dim), np.float32)
        kept = vectors[:, ::-1].T[:n_dims]
        # A product quantiser has the same few bits for each pair of dimensions: a wide one goes with a narrow one.
        axes[_paired(n_dims)[: len(kept)]] = kept
        return cls(mean.astype(np.float32), axes)

    def __call__(self, vectors: Vectors) -> NDArray[np.float32]:
        """Reduce vectors (n, D) of any float type to (n, d) float32."""
        return self.of_unit(unit_rows(as_float32(vectors)))

    def of_unit(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Reduce vectors that are of unit length already."""
        whole = np.rint((vectors - self.mean).astype(np.float64) * _GRID)
        reduced: NDArray[np.float32] = (whole @ self._whole_axes / _GRID**2).astype(np.float32)
        return reduced

    def write(self, folder: Path) -> None:
        """Write mean and axes into a folder."""
        np.save(folder / _FILE, np.concatenate([self.mean[None], self.axes]), allow_pickle=False)

    @classmethod
    def read(cls, folder: Path) -> Reduction:
        """Read what `write` wrote."""
        both = np.load(folder / _FILE, allow_pickle=False)
        return cls(both[0], both[1:])


def _paired(n_dims: int) -> NDArray[np.int64]:
    """Where each axis goes, the widest first, such that the widest and the narrowest become neighbours."""
    place = np.arange(n_dims)
    half = n_dims // 2
    return np.where(place < half, 2 * place, 2 * (n_dims - 1 - place) + 1)
