"""Keys with labels, and the votes of neighbours that are named by key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.types import DIGEST_BYTES, Digests
from heads.streams import sortable_keys
from heads.targets import Codes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledKeys:
    """Distinct keys, each with the rows that have it: one sequence may stand in several rows, under several labels.

    Attributes
    ----------
    digests
        (U, 24) uint8, distinct, sorted.
    starts
        (U + 1,) int64: key u has the rows ``rows[starts[u]:starts[u + 1]]``.
    rows
        (N,) int64 row numbers, grouped by key, ascending within a key.
    codes
        (N,) int64 label code of each of `rows`.
    """

    digests: Digests
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    codes: Codes

    @property
    def first_rows(self) -> NDArray[np.int64]:
        """First row of each key, (U,)."""
        return self.rows[self.starts[:-1]]

    def find(self, digests: Digests) -> NDArray[np.int64]:
        """Position of each key among `digests`, (...,) for (..., 24); every key must be there."""
        return np.searchsorted(sortable_keys(self.digests), sortable_keys(digests))

    def spread(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Lay open the rows of keys at the given flat positions.

        Returns
        -------
        source : numpy.ndarray
            (m,) which of `positions` an entry comes from.
        entry : numpy.ndarray
            (m,) index into `rows` and `codes`.
        share : numpy.ndarray
            (m,) one over the number of rows of that key.
        """
        counts = self.starts[positions + 1] - self.starts[positions]
        source = np.repeat(np.arange(len(positions)), counts)
        within = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
        return source, self.starts[positions][source] + within, 1.0 / counts[source]

    def vote(
        self, positions: NDArray[np.int64], weights: NDArray[np.floating[Any]], n_classes: int
    ) -> NDArray[np.float64]:
        """Share of the weight that each class gets, (n, C) float64 with rows that sum to 1.

        Parameters
        ----------
        positions
            (n, k) int64 neighbours, as `find` gives them.
        weights
            (n, k) not negative; where all are zero, all count the same.
        n_classes
            C.
        """
        n, k = positions.shape
        source, entry, share = self.spread(positions.ravel())
        total = weights.sum(axis=1, keepdims=True, dtype=np.float64)
        safe = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1.0 / k)
        cell = source // k * n_classes + self.codes[entry]
        weight = safe.ravel()[source] * share
        votes: NDArray[np.float64] = np.bincount(cell, weights=weight, minlength=n * n_classes).astype(np.float64)
        return votes.reshape(n, n_classes)


def labelled_keys(digests: Digests, codes: Codes) -> LabelledKeys:
    """Group rows by key.

    >>> digests = np.zeros((3, 24), np.uint8)
    >>> digests[1] = 7
    >>> keys = labelled_keys(digests, np.array([0, 1, 2]))
    >>> keys.starts.tolist(), keys.rows.tolist()
    ([0, 2, 3], [0, 2, 1])
    """
    sortable = sortable_keys(digests)
    order = np.argsort(sortable, kind="stable")
    distinct, first = np.unique(sortable[order], return_index=True)
    return LabelledKeys(
        digests=distinct.view(np.uint8).reshape(-1, DIGEST_BYTES),
        starts=np.append(first, len(order)).astype(np.int64),
        rows=order.astype(np.int64),
        codes=np.asarray(codes, np.int64)[order],
    )


def row_keys(n_rows: int) -> Digests:
    """Keys for vectors that have none: the row number, big-endian, so that order by key is order by row."""
    digests = np.zeros((n_rows, DIGEST_BYTES), np.uint8)
    digests[:, -8:] = np.arange(n_rows, dtype=">u8").view(np.uint8).reshape(-1, 8)
    return digests
