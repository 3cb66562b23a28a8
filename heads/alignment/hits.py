"""Hits of queries among the training proteins, and what they say for each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassScores:
    """What the hits of each query say: a score for each class that is hit, those of a query together, the best first.

    Attributes
    ----------
    n_queries
        Queries that were asked about.
    query, code
        (m,) int64 row of the query, ascending, and code of the class.
    score
        (m,) float64 bits of the class's best hit, or the sum of those that vote.
    """

    n_queries: int
    query: NDArray[np.int64]
    code: NDArray[np.int64]
    score: NDArray[np.float64]


def class_scores(hits: Hits, members: csr_array, *, n_votes: int = 1) -> ClassScores:
    """Score of each class that is hit.

    Parameters
    ----------
    hits
        Of queries among targets.
    members
        (targets, C) sparse bool, the classes of each target.
    n_votes
        1: a class scores what its best hit does. More: what its hits among the best `n_votes` of the query score
        together.
    """
    voting = hits.top(n_votes) if n_votes > 1 else hits
    counts = np.diff(members.indptr)[voting.target]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    code = members.indices[np.repeat(members.indptr[voting.target], counts) + within].astype(np.int64)
    query, score = np.repeat(voting.query, counts), np.repeat(voting.score, counts).astype(np.float64)
    n_classes = members.shape[1]
    _, first, inverse = np.unique(query * n_classes + code, return_index=True, return_inverse=True)
    if n_votes > 1:
        total = np.bincount(inverse, weights=score, minlength=len(first))
        # Stable: of classes with the same sum the one with the better hit leads.
        order = np.lexsort((first, -total, query[first]))
        first, summed = first[order], np.asarray(total[order], np.float64)
        return ClassScores(n_queries=hits.n_queries, query=query[first], code=code[first], score=summed)
    first = np.sort(first)
    return ClassScores(n_queries=hits.n_queries, query=query[first], code=code[first], score=score[first])
