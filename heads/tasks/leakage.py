"""Test and validation proteins that were trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedstore.types import Digests


def n_shared_keys(test: Digests, train: Digests) -> int:
    """Number of distinct keys of `test` that stand in `train` too; both (N, 24) uint8.

    >>> a, b = np.zeros((2, 24), np.uint8), np.ones((3, 24), np.uint8)
    >>> n_shared_keys(a, b), n_shared_keys(np.concatenate([a, b]), b)
    (0, 1)
    """
    shared = np.intersect1d(_flat(test), _flat(train))
    return len(shared)


def isin_keys(digests: Digests, others: Digests) -> NDArray[np.bool_]:
    """Whether each key of (N, 24) stands among (M, 24) others, (N,) bool.

    >>> is_among(np.eye(3, 24, dtype=np.uint8), np.eye(2, 24, dtype=np.uint8)).tolist()
    [True, True, False]
    """
    return np.isin(_flat(digests), _flat(others))


def _flat(digests: Digests) -> NDArray[np.bytes_]:
    return np.ascontiguousarray(digests).view("S24").ravel()
