"""The key table: from 24-byte keys to row numbers, in batches, for up to 10^8 keys."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embedstore.types import DIGEST_BYTES, Digests

Fetch = Callable[[NDArray[np.int64]], Digests]


def as_digests(keys: Digests | list[bytes]) -> Digests:
    """Keys as an (N, 24) uint8 array."""
    if isinstance(keys, np.ndarray):
        return keys
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, DIGEST_BYTES)


def prefixes(digests: Digests) -> NDArray[np.uint64]:
    """First 8 bytes of each key as a number: uniform, and ordered as the keys are."""
    return np.ascontiguousarray(digests[:, :8]).view(">u8").ravel().astype(np.uint64)


def sort_order(digests: Digests) -> NDArray[np.int64]:
    """Row numbers in the order of the keys."""
    columns = np.ascontiguousarray(digests).view(">u8").reshape(-1, 3)
    return np.lexsort((columns[:, 2], columns[:, 1], columns[:, 0]))


class KeyTable:
    """Sorted 8-byte prefixes and row numbers, 16 bytes a key; every hit is checked against the whole key.

    Parameters
    ----------
    fetch
        Returns the full keys of given rows, (n,) int64 -> (n, 24) uint8.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._runs: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
        self.n_rows = 0

    def extend(self, digests: Digests) -> None:
        """Number the next ``len(digests)`` rows by these keys."""
        if not len(digests):
            return
        keys = prefixes(digests)
        order = np.argsort(keys, kind="stable")
        self._runs.append((keys[order], order + self.n_rows))
        self.n_rows += len(digests)
        # Runs of like size are merged, so that there are at most log2(N) of them.
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            (left, left_rows), (right, right_rows) = self._runs[-2:]
            merged = np.concatenate([left, right])
            order = np.argsort(merged, kind="stable")
            self._runs[-2:] = [(merged[order], np.concatenate([left_rows, right_rows])[order])]

    def find(self, digests: Digests) -> NDArray[np.int64]:
        """Row of each key, the lowest where several have it; -1 where none has."""
        rows_of_keys = np.full(len(digests), -1, np.int64)
        wanted = prefixes(digests)
        for run, rows in self._runs:
            open_ = np.flatnonzero(rows_of_keys < 0)
            position = np.searchsorted(run, wanted[open_])
            while len(open_):
                inside = position < len(run)
                open_, position = open_[inside], position[inside]
                same = run[position] == wanted[open_]
                open_, position = open_[same], position[same]
                if not len(open_):
                    break
                hit = (self._fetch(rows[position]) == digests[open_]).all(axis=1)
                rows_of_keys[open_[hit]] = rows[position[hit]]
                # Another key with the same 8 bytes: look at the next entry.
                open_, position = open_[~hit], position[~hit] + 1
        return rows_of_keys


def distinct(digests: Digests) -> Digests:
    """The keys in ascending order, each once."""
    ordered = np.ascontiguousarray(digests)[sort_order(digests)]
    if len(ordered) < 2:
        return ordered
    new = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    unique_keys: Digests = ordered[new]
    return unique_keys
