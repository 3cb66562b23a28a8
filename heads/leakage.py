"""Test and validation proteins that were trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.errors import InputError
from embedstore.types import Digests
from heads.base import Codes, FeaturesLike, as_features, codes_of


def n_shared_keys(test: Digests, train: Digests) -> int:
    """Number of distinct keys of `test` that stand in `train` too; both (N, 24) uint8.

    >>> a, b = np.zeros((2, 24), np.uint8), np.ones((3, 24), np.uint8)
    >>> n_shared_keys(a, b), n_shared_keys(np.concatenate([a, b]), b)
    (0, 1)
    """
    shared = np.intersect1d(_flat(test), _flat(train))
    return len(shared)


def is_among(digests: Digests, others: Digests) -> NDArray[np.bool_]:
    """Whether each key of (N, 24) stands among (M, 24) others, (N,) bool.

    >>> is_among(np.eye(3, 24, dtype=np.uint8), np.eye(2, 24, dtype=np.uint8)).tolist()
    [True, True, False]
    """
    return np.isin(_flat(digests), _flat(others))


def validation_codes(
    classes: NDArray[Any], X_valid: FeaturesLike, y_valid: ArrayLike, *, trained: Digests | None
) -> Codes:
    """Codes of the validation rows, (N,) int64; -1 where a row cannot be chosen on.

    That is a row whose class was not trained, and one whose key was: it finds itself in the training rows, and speaks
    for whatever remembers them best.

    Parameters
    ----------
    classes
        (C,), sorted.
    X_valid, y_valid
        (N, D) vectors and (N,) labels.
    trained
        Keys of the training rows, (M, 24) uint8; None where they have none.

    Raises
    ------
    InputError
        If there is not one label a row.
    """
    features, codes = as_features(X_valid), codes_of(classes, y_valid)
    if codes.shape != features.shape[:1]:
        raise InputError(
            f"y_valid has shape {codes.shape} for {features.shape[0]} rows of X_valid; expected one label a row."
        )
    if trained is None or features.digests is None:
        return codes
    return np.where(is_among(features.digests, trained), -1, codes)


def _flat(digests: Digests) -> NDArray[np.bytes_]:
    return np.ascontiguousarray(digests).view("S24").ravel()
