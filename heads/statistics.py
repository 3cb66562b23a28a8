"""One pass over vectors: Gram matrix, class sums and counts, which add up over blocks, parts and machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.streams import FeaturesLike, Float32, as_features, checked_blocks
from heads.targets import Codes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassStatistics:
    """What the linear discriminant, principal components, whitening and centroids need to know of labelled vectors.

    Sums are of vectors from which `origin` was taken off. A vector near the data as origin keeps the float32 products
    of a block accurate when the vectors have a large common offset, as those of language models do.

    Attributes
    ----------
    classes
        (C,) labels, sorted.
    origin
        (D,) float32.
    counts
        (C,) int64 rows of each class.
    sums
        (C, D) float64 sum of x - origin over each class.
    gram
        (D, D) float64 sum of (x - origin)(x - origin)' over all rows.
    """

    classes: NDArray[Any]
    origin: Float32
    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    gram: NDArray[np.float64]

    @property
    def n_rows(self) -> int:
        """Rows summed."""
        return int(self.counts.sum())

    def mean(self) -> NDArray[np.float64]:
        """Mean over all rows less the origin, (D,)."""
        total: NDArray[np.float64] = self.sums.sum(axis=0)
        return total / self.n_rows

    def class_means(self) -> NDArray[np.float64]:
        """Mean of each class less the origin, (C, D)."""
        return self.sums / np.maximum(self.counts, 1)[:, None]

    def within_covariance(self) -> NDArray[np.float64]:
        """Covariance about the class means, divided by the number of rows, (D, D)."""
        scaled = self.sums / np.sqrt(np.maximum(self.counts, 1))[:, None]
        within = (self.gram - scaled.T @ scaled) / self.n_rows
        np.fill_diagonal(within, np.maximum(within.diagonal(), 0.0))
        return within

    def total_covariance(self) -> NDArray[np.float64]:
        """Covariance about the mean, divided by the number of rows, (D, D)."""
        mean = self.mean()
        return self.gram / self.n_rows - np.outer(mean, mean)


def class_statistics(X: FeaturesLike, codes: Codes, classes: NDArray[Any]) -> ClassStatistics:
    """Sum up labelled vectors in one pass.

    Parameters
    ----------
    X
        (N, D) vectors, in memory or streamed.
    codes
        (N,) int64, 0 to C - 1.
    classes
        (C,) labels, sorted.

    Raises
    ------
    InputError
        If there is no row, or a vector is not finite.
    """
    # Only a fit sums: loading a fitted head does without scipy, which takes longer to import than to use.
    from scipy.sparse import csr_array

    n_rows, dim = as_features(X).shape
    if not n_rows:
        raise InputError("There is no vector to learn from: X has no rows.")
    counts = np.zeros(len(classes), np.int64)
    sums = np.zeros((len(classes), dim))
    gram = np.zeros((dim, dim))
    origin: Float32 | None = None
    for rows, block in checked_blocks(X):
        if origin is None:
            origin = block.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = block - origin
        # numpy hands A'A to the symmetric product; float32 within a block, float64 over blocks.
        gram += centred.T @ centred
        present, local = np.unique(codes[rows], return_inverse=True)
        member = (np.ones(len(block), np.float32), (local, np.arange(len(block))))
        # Thirty times as fast as numpy's reduceat over the first axis.
        sums[present] += csr_array(member, shape=(len(present), len(block))) @ centred
        counts += np.bincount(codes[rows], minlength=len(classes))
    assert origin is not None  # noqa: S101 - for mypy; there was a row
    return ClassStatistics(classes=classes, origin=origin, counts=counts, sums=sums, gram=gram)


def merge(a: ClassStatistics, b: ClassStatistics) -> ClassStatistics:
    """Statistics of the rows of both, as if they had been summed in one pass.

    The classes of the result are those of either; its origin is that of `a`.

    Raises
    ------
    InputError
        If the vectors differ in dimension.
    """
    if a.origin.shape != b.origin.shape:
        raise InputError(f"Statistics over {len(a.origin)} and {len(b.origin)} dimensions cannot be merged.")
    shift = b.origin.astype(np.float64) - a.origin
    moved = np.outer(b.sums.sum(axis=0), shift)
    gram = a.gram + b.gram + moved + moved.T + b.n_rows * np.outer(shift, shift)
    classes = np.union1d(a.classes, b.classes)
    counts = np.zeros(len(classes), np.int64)
    sums = np.zeros((len(classes), len(shift)))
    for part, offset in ((a, 0.0), (b, shift)):
        where = np.searchsorted(classes, part.classes)
        counts[where] += part.counts
        sums[where] += part.sums + part.counts[:, None] * offset
    return ClassStatistics(classes=classes, origin=a.origin, counts=counts, sums=sums, gram=gram)
