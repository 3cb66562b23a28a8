"""Decision thresholds of multilabel predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

GRID = np.linspace(0.02, 0.98, 49)
"""Candidate thresholds."""

_PRIOR_POSITIVES = 10
"""Number of rows of a label at which its own best threshold and the common one have equal weight."""


def choose_thresholds(shares: NDArray[np.float32], members: csr_array) -> NDArray[np.float32]:
    """Threshold of each label, (C,) float32, by F1 on validation rows.

    The best threshold of each label is shrunk towards the best common one (micro-averaged F1), the more the fewer
    validation rows the label has.

    Parameters
    ----------
    shares
        (N, C) probabilities.
    members
        (N, C) sparse bool labels of the rows.
    """
    n_labels = shares.shape[1]
    predicted = np.zeros((len(GRID), n_labels))
    right = np.zeros((len(GRID), n_labels))
    positives = np.asarray(members.sum(axis=0)).ravel().astype(np.float64)
    entries = members.tocoo()
    for number, threshold in enumerate(GRID):
        is_over = shares >= threshold
        predicted[number] = is_over.sum(axis=0)
        right[number] = np.bincount(entries.col, weights=is_over[entries.row, entries.col], minlength=n_labels)
    own = GRID[_f1(right, predicted, positives).argmax(axis=0)]
    common = GRID[_f1(right.sum(axis=1), predicted.sum(axis=1), positives.sum()).argmax()]
    weight = positives / (positives + _PRIOR_POSITIVES)
    thresholds: NDArray[np.float64] = weight * own + (1 - weight) * common
    return thresholds.astype(np.float32)


def _f1(
    right: NDArray[np.float64], predicted: NDArray[np.float64], positives: NDArray[np.float64]
) -> NDArray[np.float64]:
    return 2 * right / np.maximum(predicted + positives, 1)
