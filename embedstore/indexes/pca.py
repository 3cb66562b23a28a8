"""Fewer dimensions: centred unit vectors, turned onto their principal axes, the same bits in any batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedstore.indexes.base import unit_rows
from embedstore.indexes.rerank import as_float32
from embedstore.types import Vectors

USUAL_DIMENSIONS = 256
"""Kept of vectors whose spectrum decays: of 1,024 numbers these hold most of what tells neighbours apart."""

MOST_DIMENSIONS = 512
"""Kept where the spectrum is flat, as that of `mini` is, whose ten nearest 256 dimensions do not find."""

_MIXED = 64

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
        stored = np.load(folder / _FILE, allow_pickle=False)
        return cls(stored[0], stored[1:])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PCA:
    """Mean and principal axes of a sample, from which reductions are made.

    Attributes
    ----------
    mean
        (D,) float32 mean of unit vectors.
    axes
        (m, D) float32 orthonormal rows, the widest first; m is D, or 512 where that is less.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def of(cls, sample: Vectors) -> PCA:
        """Of vectors (n, D)."""
        dim = sample.shape[1]
        total, square = np.zeros(dim), np.zeros((dim, dim))
        for start in range(0, len(sample), _BLOCK):
            rows = unit_rows(as_float32(sample[start : start + _BLOCK]))
            total += rows.sum(axis=0, dtype=np.float64)
            square += rows.T @ rows
        mean = total / len(sample)
        _, vectors = np.linalg.eigh(square / len(sample) - np.outer(mean, mean))
        axes = vectors[:, ::-1].T[:MOST_DIMENSIONS].astype(np.float32)
        return cls(mean=mean.astype(np.float32), axes=axes)

    def shapes(self) -> list[tuple[int, int]]:
        """Dimensions and mixed axes that `reduction` can make and that are worth trying, the cheapest first."""
        usual = max(4, min(USUAL_DIMENSIONS, len(self.axes) // 4 * 4))
        shapes = [(usual, min(_MIXED, 2 ** (usual.bit_length() - 1)))]
        return shapes + [(n, n) for n in (USUAL_DIMENSIONS, MOST_DIMENSIONS) if n <= len(self.axes)]

    def reduction(self, n_dims: int, n_mixed: int) -> Reduction:
        """The reduction to the widest ``n_dims`` axes, of which the first ``n_mixed``, a power of two, are mixed.

        What is coded in steps of one size wants axes of like width: a Hadamard matrix gives each of the mixed ones the
        same. The others stand next to a narrow one if they are wide, since a product quantiser has the same few bits
        for each group of neighbours. Where there are fewer axes than dimensions, some of these are zero.
        """
        widest = self.axes[:n_dims].copy()
        n_mixed = min(n_mixed, 2 ** (len(widest).bit_length() - 1))
        widest[:n_mixed] = (_hadamard(n_mixed) @ widest[:n_mixed]) / np.float32(n_mixed**0.5)
        axes = np.zeros((n_dims, widest.shape[1]), np.float32)
        axes[_paired_positions(n_dims)[: len(widest)]] = widest
        return Reduction(self.mean, axes)


def _hadamard(size: int) -> NDArray[np.float32]:
    """The matrix of ones and minus ones with orthogonal rows (Sylvester's), for a power of two."""
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _paired_positions(n_dims: int) -> NDArray[np.int64]:
    """Where each axis goes, the widest first, such that the widest and the narrowest become neighbours."""
    place = np.arange(n_dims)
    half = n_dims // 2
    return np.where(place < half, 2 * place, 2 * (n_dims - 1 - place) + 1)
