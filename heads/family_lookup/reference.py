"""The labelled proteins that a lookup searches, and a query's neighbours among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.indexes import FlatIndex, Neighbours
from embedstore.indexes.api import Searcher
from embedstore.indexes.base import unit_rows
from embedstore.indexes.rerank import drop_key
from embedstore.store.spaces import Space
from embedstore.types import Digests, Vectors
from heads.family_lookup.voting import LabelTable, LabelVotes, vote
from heads.features.base import BLOCK_ROWS, Float32

_BATCH = 256
"""Queries whose neighbours' vectors are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeighbourResult:
    """Neighbours of some queries.

    Attributes
    ----------
    neighbours
        Keys (n, k, 24) and scores (n, k), the nearest first.
    positions
        (n, k) int64 of the keys in `table`.
    table
        The labels of the reference.
    """

    neighbours: Neighbours
    positions: NDArray[np.int64]
    table: LabelTable

    def votes(self, *, sharpness: float) -> LabelVotes:
        """See `heads.family_lookup.voting.vote`."""
        return vote(self.neighbours.scores, self.positions, self.table, sharpness=sharpness)


class Reference:
    """Labelled proteins with vectors in a space.

    Parameters
    ----------
    space
        The space.
    table
        Keys and labels; every key has a vector.
    searcher
        Searches the space by its stored index; None compares every vector.
    """

    def __init__(self, space: Space, table: LabelTable, *, searcher: Searcher | None = None) -> None:
        self.space = space
        self.table = table
        self._searcher = searcher
        self._search = _search_function(space, table.digests, searcher)

    def search(self, vectors: Vectors, k: int, *, exclude: Digests | None = None) -> NeighbourResult:
        """The `k` nearest neighbours of each query.

        Parameters
        ----------
        vectors
            (n, D) queries.
        k
            Neighbours; fewer where the reference is smaller.
        exclude
            (n, 24) key that each query must not find, its own.

        Raises
        ------
        InputError
            If no labelled protein is left.
        """
        neighbours = self._search(vectors, k if exclude is None else k + 1)
        if exclude is not None:
            neighbours = drop_key(neighbours, exclude, min(k, len(self.table.digests) - 1))
        if not neighbours.k:
            raise InputError(
                "No labelled protein is left to compare with. Add labelled proteins, or keep the query's own."
            )
        return NeighbourResult(neighbours=neighbours, positions=self.table.find(neighbours.digests), table=self.table)

    def without_labels(self, labels: NDArray[np.bool_]) -> Reference:
        """The reference without the proteins that have any of the labels marked in (C,)."""
        return Reference(self.space, self.table.subset(~self.table.has_label(labels)), searcher=self._searcher)

    def within_label_similarity(self, result: NeighbourResult, votes: LabelVotes) -> Float32:
        """Of each entry of `votes`, (m,); see `LabelVotes.within_label_similarity`."""
        out = np.empty(len(votes.query), np.float32)
        n_queries = len(result.positions)
        bounds = np.searchsorted(votes.query, np.arange(0, n_queries + _BATCH, _BATCH))
        for number, (first, last) in enumerate(pairwise(bounds.tolist())):
            start = number * _BATCH
            part = votes.subset(slice(first, last))
            distinct, inverse = np.unique(result.positions[start : start + _BATCH], return_inverse=True)
            vectors = unit_rows(self.space.take(result.table.digests[distinct]))[inverse]
            out[first:last] = replace(part, query=part.query - start).within_label_similarity(vectors)
        return out


def _search_function(space: Space, digests: Digests, searcher: Searcher | None) -> Callable[[Vectors, int], Neighbours]:
    """A search among (U, 24) distinct keys of a space: ``search(vectors (n, D), k)``."""
    if searcher is not None and searcher.has_index:
        return lambda vectors, k: searcher.search(vectors, k, where=digests)
    # In the order of the store, so that each page is read once.
    stored = digests[np.argsort(space.find(digests))]

    def blocks() -> Iterator[tuple[Digests, Vectors]]:
        for start in range(0, len(stored), BLOCK_ROWS):
            keys = stored[start : start + BLOCK_ROWS]
            yield keys, space.take(keys)

    return FlatIndex(blocks, n_rows=len(stored), dim=space.dim).search
