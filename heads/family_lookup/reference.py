"""The labelled proteins that a lookup searches, and their neighbours of a query."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

_TAKEN = 256
"""Queries whose neighbours' vectors are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeighbourResult:
    """Neighbours of some queries in a table of labels.

    Attributes
    ----------
    neighbours
        Keys (n, k, 24) and scores (n, k), the nearest first.
    positions
        (n, k) int64 of the keys in `table`.
    table
        The labels of all that was searched.
    """

    neighbours: Neighbours
    positions: NDArray[np.int64]
    table: LabelTable

    def ballots(self, *, sharpness: float) -> LabelVotes:
        """The votes; see `count_ballots`."""
        return vote(self.neighbours.scores, self.positions, self.table, sharpness=sharpness)


class Reference:
    """Labelled proteins with vectors in a space.

    Parameters
    ----------
    space
        Of the vectors.
    table
        Keys and labels; every key has a vector.
    searcher
        Searches the space by what is kept for it; None compares every vector.
    """

    def __init__(self, space: Space, table: LabelTable, *, searcher: Searcher | None = None) -> None:
        self.space = space
        self.table = table
        self._searcher = searcher
        self._search = nearest(space, table.digests, searcher)

    def find(self, vectors: Vectors, k: int, *, not_these: Digests | None = None) -> NeighbourResult:
        """The `k` nearest of each query.

        Parameters
        ----------
        vectors
            (n, D) queries.
        k
            Fewer where there are fewer.
        not_these
            (n, 24) key that each query may not find: its own.

        Raises
        ------
        InputError
            If no labelled protein is left.
        """
        found = self._search(vectors, k if not_these is None else k + 1)
        if not_these is not None:
            found = drop_key(found, not_these, min(k, len(self.table.digests) - 1))
        if not found.k:
            raise InputError(
                "No labelled protein is left to compare with. Add labelled proteins, or keep the query's own."
            )
        return NeighbourResult(neighbours=found, positions=self.table.find(found.digests), table=self.table)

    def without_labels(self, labels: NDArray[np.bool_]) -> Reference:
        """A reference that lacks every protein with one of the labels that are marked in (C,)."""
        return Reference(self.space, self.table.take(~self.table.having(labels)), searcher=self._searcher)

    def cohesion(self, found: NeighbourResult, ballots: LabelVotes) -> Float32:
        """How alike the neighbours of each ballot are, (m,); see `Ballots.cohesion`."""
        out = np.empty(len(ballots.query), np.float32)
        digests = found.neighbours.digests
        bounds = np.searchsorted(ballots.query, np.arange(0, len(digests) + _TAKEN, _TAKEN))
        for number, (first, last) in enumerate(pairwise(bounds.tolist())):
            part = ballots.take(slice(first, last))
            start = number * _TAKEN
            wanted, back = np.unique(found.positions[start : start + _TAKEN], return_inverse=True)
            vectors = unit_rows(self.space.take(found.table.digests[wanted]))[back]
            out[first:last] = part.moved(-start).cohesion(vectors)
        return out


def nearest(space: Space, digests: Digests, searcher: Searcher | None) -> Callable[[Vectors, int], Neighbours]:
    """A search among some keys of a space; the one place where a lookup meets an index.

    Parameters
    ----------
    space
        Of the vectors.
    digests
        (U, 24) distinct keys to search among.
    searcher
        Searches the space by what is kept for it; None compares every vector.

    Returns
    -------
    callable
        ``search(vectors (n, D), k) -> Neighbours``.
    """
    if searcher is not None and searcher.has_kept:
        return lambda vectors, k: searcher.search(vectors, k, where=digests)
    # In the order of the store, so that a sweep reads each of its pages once.
    stored = digests[np.argsort(space.find(digests))]

    def blocks() -> Iterator[tuple[Digests, Vectors]]:
        for start in range(0, len(stored), BLOCK_ROWS):
            keys = stored[start : start + BLOCK_ROWS]
            yield keys, space.take(keys)

    return FlatIndex(blocks, n_rows=len(stored), dim=space.dim).search
