"""Hits of queries among the training proteins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hits:
    """A table of hits, by query; those of a query in the order of the program, the best first.

    Attributes
    ----------
    n_queries
        Number of queries, those without a hit included.
    query
        (m,) int64 row of the query, ascending.
    target
        (m,) int64 row among the training proteins; for profiles the code of the family.
    score
        (m,) float32, in bits.
    evalue
        (m,) float64 E-value of the program.
    """

    n_queries: int
    query: NDArray[np.int64]
    target: NDArray[np.int64]
    score: NDArray[np.float32]
    evalue: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.query)

    @property
    def has_hit(self) -> NDArray[np.bool_]:
        """(n_queries,) bool, which queries have a hit."""
        return np.bincount(self.query, minlength=self.n_queries) > 0

    @property
    def rank(self) -> NDArray[np.int64]:
        """(m,) rank of each hit among those of its query, from 0."""
        starts = np.searchsorted(self.query, self.query)
        return np.arange(len(self.query)) - starts

    def top(self, k: int) -> Hits:
        """The best `k` hits of each query."""
        is_top = self.rank < k
        columns = {name: getattr(self, name)[is_top] for name in ("query", "target", "score", "evalue")}
        return Hits(n_queries=self.n_queries, **columns)


def hits_of(n_queries: int, query: ArrayLike, target: ArrayLike, score: ArrayLike, evalue: ArrayLike) -> Hits:
    """A table from hits in the order of a program; of a query's hits on one target only the first.

    >>> hits_of(3, [2, 0, 2, 2], [5, 1, 5, 4], [9, 8, 7, 6], [1, 1, 1, 1]).target.tolist()
    [1, 5, 4]
    """
    queries, targets = np.asarray(query, np.int64), np.asarray(target, np.int64)
    order = np.argsort(queries, kind="stable")
    n_targets = int(targets.max(initial=0)) + 1
    first = np.unique((queries * n_targets + targets)[order], return_index=True)[1]
    order = order[np.sort(first)]
    return Hits(
        n_queries=n_queries,
        query=queries[order],
        target=targets[order],
        score=np.asarray(score, np.float32)[order],
        evalue=np.asarray(evalue, np.float64)[order],
    )


def join_hits(parts: Sequence[Hits]) -> Hits:
    """The hits of several batches of queries."""
    starts = np.cumsum([0, *(part.n_queries for part in parts)])
    empty = np.zeros(0, np.int64)
    return Hits(
        n_queries=int(starts[-1]),
        query=np.concatenate([empty, *(part.query + start for part, start in zip(parts, starts, strict=False))]),
        target=np.concatenate([empty, *(part.target for part in parts)]),
        score=np.concatenate([empty.astype(np.float32), *(part.score for part in parts)]),
        evalue=np.concatenate([empty.astype(np.float64), *(part.evalue for part in parts)]),
    )
