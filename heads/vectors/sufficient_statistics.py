"""One pass over vectors: Gram matrix and sums by target, which add up over blocks, parts and machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.features.base import FeaturesLike, Float32, as_features, checked_blocks
from heads.tasks.targets import Codes, Targets

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Statistics:
    """What linear heads, principal components, whitening and centroids need to know of vectors and their targets.

    A target has K columns: the indicators of classes, of labels or of levels; the number itself for a regression.
    Sums are of vectors from which `origin` was taken off. A vector near the data as origin keeps the float32 products
    of a block accurate when the vectors have a large common offset, as those of language models do.

    Attributes
    ----------
    classes
        (K,) what the columns stand for, sorted; empty for a regression.
    origin
        (D,) float32.
    n_rows
        Rows summed.
    weight
        Their weight together; `n_rows` where rows are not weighted.
    total
        (D,) float64 weighted sum of x - origin over all rows.
    gram
        (D, D) float64 weighted sum of (x - origin)(x - origin)' over all rows.
    sums
        (K, D) float64 weighted sum of y (x - origin).
    amounts, squares
        (K,) float64 weighted sums of y and of its square; for indicators both are the weight of each class.
    """

    classes: NDArray[Any]
    origin: Float32
    n_rows: int
    weight: float
    total: NDArray[np.float64]
    gram: NDArray[np.float64]
    sums: NDArray[np.float64]
    amounts: NDArray[np.float64]
    squares: NDArray[np.float64]

    def mean(self) -> NDArray[np.float64]:
        """Mean over all rows less the origin, (D,)."""
        return self.total / self.weight

    def class_means(self) -> NDArray[np.float64]:
        """Mean of each class less the origin, (K, D); the origin itself for a class without rows."""
        return self.sums / np.where(self.amounts > 0, self.amounts, 1.0)[:, None]

    def within_covariance(self) -> NDArray[np.float64]:
        """Covariance about the class means, divided by the weight of the rows, (D, D); each row has one class."""
        scaled = self.sums / np.sqrt(np.where(self.amounts > 0, self.amounts, 1.0))[:, None]
        within = (self.gram - scaled.T @ scaled) / self.weight
        np.fill_diagonal(within, np.maximum(within.diagonal(), 0.0))
        return within

    def total_covariance(self) -> NDArray[np.float64]:
        """Covariance about the mean, divided by the weight of the rows, (D, D)."""
        mean = self.mean()
        return self.gram / self.weight - np.outer(mean, mean)

    def scored(self, scores: NDArray[np.float64]) -> Statistics:
        """The same rows with one number for a target: ``scores[k]`` for the rows of class k."""
        return Statistics(
            classes=np.zeros(0),
            origin=self.origin,
            n_rows=self.n_rows,
            weight=self.weight,
            total=self.total,
            gram=self.gram,
            sums=(scores @ self.sums)[None],
            amounts=np.array([scores @ self.amounts]),
            squares=np.array([scores**2 @ self.amounts]),
        )


def target_statistics(
    X: FeaturesLike, targets: Targets, class_weights: NDArray[np.float64] | None = None
) -> Statistics:
    """Sum up vectors and their targets in one pass.

    Parameters
    ----------
    X
        (N, D) vectors, in memory or streamed.
    targets
        Of the N rows, all known.
    class_weights
        (C,) how much the rows of each class count; None: all the same. For one class a row alone.

    Raises
    ------
    InputError
        If there is no row, or a vector is not finite.
    """
    n_rows, dim = as_features(X).shape
    if not n_rows:
        raise InputError("There is no vector to learn from: X has no rows.")
    columns = _Columns(targets, class_weights)
    sums, amounts, squares = np.zeros((columns.n, dim)), np.zeros(columns.n), np.zeros(columns.n)
    total, gram, weight = np.zeros(dim), np.zeros((dim, dim)), 0.0
    origin: Float32 | None = None
    for rows, block in checked_blocks(X):
        if origin is None:
            origin = block.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = block - origin
        row_weights = columns.row_weights(rows)
        columns.add(rows, centred, sums, amounts, squares)
        weight += float(row_weights.sum()) if row_weights is not None else len(block)
        total += centred.sum(axis=0, dtype=np.float64) if row_weights is None else row_weights @ centred
        if row_weights is not None:
            centred *= np.sqrt(row_weights, dtype=np.float32)[:, None]
        # numpy hands A'A to the symmetric product; float32 within a block, float64 over blocks.
        gram += centred.T @ centred
    assert origin is not None  # noqa: S101 - for mypy; there was a row
    return Statistics(
        classes=targets.classes,
        origin=origin,
        n_rows=n_rows,
        weight=weight,
        total=total,
        gram=gram,
        sums=sums,
        amounts=amounts,
        squares=squares,
    )


class _Columns:
    """The columns of a target, for some rows at a time."""

    def __init__(self, targets: Targets, class_weights: NDArray[np.float64] | None) -> None:
        self._targets = targets
        self._weights = class_weights
        self.n = targets.n_outputs

    def row_weights(self, rows: slice) -> NDArray[np.float32] | None:
        """Weight of each row, (n,), or None where rows are not weighted."""
        if self._weights is None:
            return None
        return self._weights[self._targets.require_codes()[rows]].astype(np.float32)

    def add(
        self,
        rows: slice,
        centred: Float32,
        sums: NDArray[np.float64],
        amounts: NDArray[np.float64],
        squares: NDArray[np.float64],
    ) -> None:
        """Add a block of rows to the sums of each column."""
        if self._targets.target_type == "regression":
            values = self._targets.require_values()[rows]
            sums[0] += values @ centred
            amounts[0] += values.sum()
            squares[0] += values @ values
            return
        indicators = self._indicators(rows)
        # Only what stands in the block: a (K, D) temporary for each block would be most of the memory.
        present, local = np.unique(indicators.indices, return_inverse=True)
        indicators.indices = local.astype(indicators.indices.dtype)
        indicators.resize((len(centred), len(present)))
        # Thirty times as fast as numpy's reduceat over the first axis.
        sums[present] += indicators.T @ centred
        held = np.bincount(local, weights=indicators.data, minlength=len(present))
        amounts[present] += held
        squares[present] += held

    def _indicators(self, rows: slice) -> csr_array:
        """(n, K) float32 weights at the classes of each row."""
        # Only a fit sums: loading a fitted head does without scipy, which takes longer to import than to use.
        from scipy.sparse import csr_array

        if self._targets.target_type == "multilabel":
            return self._targets.require_members()[rows].astype(np.float32)
        codes = self._targets.require_codes()[rows]
        weights = self.row_weights(rows)
        data = np.ones(len(codes), np.float32) if weights is None else weights
        return csr_array((data, codes, np.arange(len(codes) + 1)), shape=(len(codes), self.n))


def balanced_weights(codes: Codes, n_classes: int) -> NDArray[np.float64]:
    """Weights (C,) with which all classes count the same and the rows together as many as they are.

    >>> balanced_weights(np.array([0, 0, 0, 1]), 2).tolist()
    [0.6666666666666666, 2.0]
    """
    counts = np.bincount(codes, minlength=n_classes)
    return np.asarray(len(codes) / (n_classes * np.maximum(counts, 1)), np.float64)


def merge(a: Statistics, b: Statistics) -> Statistics:
    """Statistics of the rows of both, as if they had been summed in one pass.

    The classes of the result are those of either; its origin is that of `a`. Weighted rows must have been weighted
    alike.

    Raises
    ------
    InputError
        If the vectors differ in dimension.
    """
    if a.origin.shape != b.origin.shape:
        raise InputError(f"Statistics over {len(a.origin)} and {len(b.origin)} dimensions cannot be merged.")
    shift = b.origin.astype(np.float64) - a.origin
    moved = np.outer(b.total, shift)
    classes = np.union1d(a.classes, b.classes)
    n_columns = max(len(classes), 1)
    sums, amounts, squares = np.zeros((n_columns, len(shift))), np.zeros(n_columns), np.zeros(n_columns)
    for part, offset in ((a, 0.0), (b, shift)):
        where = np.searchsorted(classes, part.classes) if len(classes) else np.zeros(1, np.int64)
        sums[where] += part.sums + part.amounts[:, None] * offset
        amounts[where] += part.amounts
        squares[where] += part.squares
    return Statistics(
        classes=classes,
        origin=a.origin,
        n_rows=a.n_rows + b.n_rows,
        weight=a.weight + b.weight,
        total=a.total + b.total + b.weight * shift,
        gram=a.gram + b.gram + moved + moved.T + b.weight * np.outer(shift, shift),
        sums=sums,
        amounts=amounts,
        squares=squares,
    )
