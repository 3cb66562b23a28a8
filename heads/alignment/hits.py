"""Hits of queries among the training proteins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hits:
    """A table of hits: those of a query stand together, the best first, in the order of the program.

    Attributes
    ----------
    n_queries
        Queries that were asked about; those that found nothing have no row here.
    query
        (m,) int64 row of the query, ascending.
    target
        (m,) int64 row among the training proteins that have a label; for profiles the code of the family.
    score
        (m,) float32, in bits.
    evalue
        (m,) float64 expected number of such hits by chance, as the program counts it.
    """

    n_queries: int
    query: NDArray[np.int64]
    target: NDArray[np.int64]
    score: NDArray[np.float32]
    evalue: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.query)

    @property
    def found(self) -> NDArray[np.bool_]:
        """(n_queries,) bool: queries with a hit."""
        return np.bincount(self.query, minlength=self.n_queries) > 0

    @property
    def rank(self) -> NDArray[np.int64]:
        """(m,) place of each hit among those of its query, from 0."""
        starts = np.searchsorted(self.query, self.query)
        return np.arange(len(self.query)) - starts

    def top(self, k: int) -> Hits:
        """The best `k` hits of each query."""
        kept = self.rank < k
        return Hits(
            n_queries=self.n_queries,
            query=self.query[kept],
            target=self.target[kept],
            score=self.score[kept],
            evalue=self.evalue[kept],
        )


def hits_of(n_queries: int, query: ArrayLike, target: ArrayLike, score: ArrayLike, evalue: ArrayLike) -> Hits:
    """A table of hits in the order in which a program gave them; of a query's hits on one target the first is kept.

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
