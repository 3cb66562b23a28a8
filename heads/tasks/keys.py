"""Keys of proteins and of pairs: whether they are shared, how they sort, and what is drawn from them."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from embedstore.numerics import splitmix64
from embedstore.types import DIGEST_BYTES, Digests


def sortable_keys(keys: Digests) -> NDArray[np.bytes_]:
    """Keys (..., 24) as texts (...,), which sort and compare as the keys do."""
    # numpy pads such texts with zeros, and all lengths are equal.
    return np.ascontiguousarray(keys).view(f"S{DIGEST_BYTES}")[..., 0]


def n_shared_keys(test: Digests, train: Digests) -> int:
    """Number of distinct keys of `test` that are in `train` too; both (N, 24) uint8.

    >>> a, b = np.zeros((2, 24), np.uint8), np.ones((3, 24), np.uint8)
    >>> n_shared_keys(a, b), n_shared_keys(np.concatenate([a, b]), b)
    (0, 1)
    """
    return len(np.intersect1d(sortable_keys(test), sortable_keys(train)))


def isin_keys(keys: Digests, others: Digests) -> NDArray[np.bool_]:
    """Whether each key of (N, 24) is among (M, 24) others, (N,) bool.

    >>> isin_keys(np.eye(3, 24, dtype=np.uint8), np.eye(2, 24, dtype=np.uint8)).tolist()
    [True, True, False]
    """
    return np.isin(sortable_keys(keys), sortable_keys(others))


def pair_keys(first: Digests, second: Digests) -> Digests:
    """A key for each pair of keys, (N, 24) uint8: the first 24 bytes of SHA-512 over both, the smaller one first.

    >>> a, b = np.zeros((1, 24), np.uint8), np.ones((1, 24), np.uint8)
    >>> bool((pair_keys(a, b) == pair_keys(b, a)).all())
    True
    """
    joined = bytearray()
    for a, b in zip(first, second, strict=True):
        joined += hashlib.sha512(b"".join(sorted((a.tobytes(), b.tobytes())))).digest()[:DIGEST_BYTES]
    return np.frombuffer(bytes(joined), np.uint8).reshape(-1, DIGEST_BYTES)


def uniform_by_key(keys: Digests, seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each key: its three words chained through SplitMix64 (Steele et al. 2014)."""
    words = np.ascontiguousarray(keys).view(">u8").reshape(-1, 3).astype(np.uint64)
    state = np.full(len(words), seed % 2**64, np.uint64)
    for word in words.T:
        state = splitmix64(state ^ word)
    uniform: NDArray[np.float64] = (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform


def row_keys(n_rows: int) -> Digests:
    """Keys for vectors that have none: the row number, big-endian, so that order by key is order by row."""
    keys = np.zeros((n_rows, DIGEST_BYTES), np.uint8)
    keys[:, -8:] = np.arange(n_rows, dtype=">u8").view(np.uint8).reshape(-1, 8)
    return keys
