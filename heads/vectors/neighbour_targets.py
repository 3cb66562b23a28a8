"""Keys with their targets, and the votes of neighbours that are named by key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.types import DIGEST_BYTES, Digests
from heads.tasks.keys import sortable_keys
from heads.tasks.targets import Targets


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyTargets:
    """Distinct keys and what stands for each: the mean over the rows that have the key.

    A target has columns: classes, levels or labels with the share of the key's rows that have them; or one column with
    the mean number.

    Attributes
    ----------
    digests
        (U, 24) uint8, distinct, sorted.
    starts
        (U + 1,) int64: key u has the entries ``starts[u]:starts[u + 1]``.
    columns
        (E,) int64 column of each entry, distinct within a key.
    amounts
        (E,) float64 share or number.
    centre
        (C,) float64 mean of each column over all rows.
    """

    digests: Digests
    starts: NDArray[np.int64]
    columns: NDArray[np.int64]
    amounts: NDArray[np.float64]
    centre: NDArray[np.float64]

    def find(self, digests: Digests) -> NDArray[np.int64]:
        """Position of each key among `digests`, (...,) for (..., 24); every key must be there."""
        return np.searchsorted(sortable_keys(self.digests), sortable_keys(digests))

    def entries(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Entries of keys at flat positions: which position each comes from (m,), and which entry it is (m,)."""
        counts = self.starts[positions + 1] - self.starts[positions]
        source = np.repeat(np.arange(len(positions)), counts)
        within = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
        return source, self.starts[positions][source] + within

    def amounts_of(self, positions: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float64]:
        """What keys at (n, k) positions have of one column a row, (n,): (n, k)."""
        source, entry = self.entries(positions.ravel())
        hit = self.columns[entry] == column[source // positions.shape[1]]
        found = np.bincount(source[hit], weights=self.amounts[entry[hit]], minlength=positions.size)
        return found.astype(np.float64).reshape(positions.shape)

    def vote(self, positions: NDArray[np.int64], weights: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Weighted mean of what neighbours have, (n, C) float64.

        Parameters
        ----------
        positions
            (n, k) int64 neighbours, as `find` gives them.
        weights
            (n, k) not negative; where all are zero, all count the same.
        """
        (n, k), n_columns = positions.shape, len(self.centre)
        source, entry = self.entries(positions.ravel())
        total = weights.sum(axis=1, keepdims=True, dtype=np.float64)
        safe = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1.0 / k)
        cell = source // k * n_columns + self.columns[entry]
        votes = np.bincount(cell, weights=safe.ravel()[source] * self.amounts[entry], minlength=n * n_columns)
        return votes.astype(np.float64).reshape(n, n_columns)


def key_targets(digests: Digests, targets: Targets) -> tuple[KeyTargets, NDArray[np.int64]]:
    """Group rows by key.

    Parameters
    ----------
    digests
        (N, 24) uint8.
    targets
        Of the N rows.

    Returns
    -------
    keys : KeyTargets
        The distinct keys.
    first_rows : numpy.ndarray
        (U,) int64 first row that has each of them.
    """
    distinct, first, key, times = np.unique(
        sortable_keys(digests), return_index=True, return_inverse=True, return_counts=True
    )
    row, column, amount = _entries_of(targets)
    n_columns = targets.n_outputs
    cells, inverse = np.unique(key[row] * n_columns + column, return_inverse=True)
    owner, columns = np.divmod(cells, n_columns)
    sums = np.bincount(inverse, weights=amount, minlength=len(cells))
    keys = KeyTargets(
        digests=distinct.view(np.uint8).reshape(-1, DIGEST_BYTES),
        starts=np.searchsorted(owner, np.arange(len(distinct) + 1)).astype(np.int64),
        columns=columns,
        amounts=sums / times[owner],
        centre=np.bincount(column, weights=amount, minlength=n_columns) / max(1, len(digests)),
    )
    return keys, first.astype(np.int64)


def _entries_of(targets: Targets) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Row, column and amount of everything that is not zero."""
    rows = np.arange(len(targets))
    if targets.target_type == "regression":
        return rows, np.zeros_like(rows), targets.require_values()
    if targets.target_type == "multilabel":
        there = targets.require_members().tocoo()
        return there.row.astype(np.int64), there.col.astype(np.int64), np.ones(there.nnz)
    return rows, targets.require_codes(), np.ones(len(rows))
