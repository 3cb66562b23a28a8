"""Searching a space of a store: by its stored index if there is one, else exactly; never stale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedstore.catalog import suggest_arguments, unknown_name
from embedstore.errors import InputError
from embedstore.indexes import INDEXES, FlatIndex, Index, Neighbours
from embedstore.indexes.base import check_queries, unit_rows
from embedstore.indexes.rerank import drop_key, empty_result, has_missing, merge, rerank
from embedstore.indexes.stored_index import StoredIndex
from embedstore.store import Space, Store
from embedstore.store.filters import Where, select_keys
from embedstore.store.indexes import index_kinds
from embedstore.types import Digests, Vectors

AUTO = "auto"
"""The stored index if there is one, else exact search."""

FLAT = "flat"

EXACT_ROWS = 10_000
"""Up to so many rows that a filter leaves are compared one by one: that costs less than an approximate search."""

_BLOCK = 8192
_FEW_QUERIES = 16
"""Up to so many queries go to the graph, if there is one; more are searched together in the lists."""


@suggest_arguments
def search(
    store: Store,
    vectors: Vectors,
    k: int = 10,
    *,
    space: str | None = None,
    index: str = AUTO,
    where: Where | None = None,
    exclude: Digests | None = None,
) -> Neighbours:
    """The nearest stored vectors of each of (n, D) vectors, by cosine similarity.

    Whatever the index, scores are those of the vectors as they are stored, rows that came after the index was built
    are found, rows that were removed are not, and a result depends neither on the size of the batch nor on the number
    of threads.

    Parameters
    ----------
    store
        The store; what others committed since it was opened is seen after `Store.refresh`.
    vectors
        (n, D) of any float type.
    k
        Neighbours a query; where fewer count, all of them.
    space
        Chosen as in `Store.space`.
    index
        ``auto``: a stored index if there is one, else exact search. ``flat``: exact search.
        Or the type of a stored index.
    where
        Which proteins count: ``{"dataset": "pfam", "split": "train", "taxon": ["9606", "10090"]}``, or keys; see
        `embedstore.store.filters`. Up to 10,000 of them are compared one by one. Of more, an index looks into as many
        times more lists as there are fewer rows, and what it leaves open is filled in exactly.
    exclude
        (n, 24): a key that each query must not find, as its own. Where a query then has fewer than k neighbours, the
        last places have score -inf and a key of zeros.

    Raises
    ------
    InputError
        If the vectors do not fit the space, are not finite, or k < 1.
    UnknownNameError
        For an unknown space, index type, data set or column.
    StoreNotFoundError
        If the space has no such index.
    SpaceMismatchError
        If a stored index was made for another store.
    """
    # To look for the spaces of a store takes as long as to search one of them.
    searcher = store.searchers.get((space or "", index))
    if not isinstance(searcher, Searcher):
        searcher = store.searchers[space or "", index] = get_searcher(store, store.space(space), index)
    return searcher.search(vectors, k, where=where, exclude=exclude)


def get_searcher(store: Store, space: Space, index: str = AUTO) -> Searcher:
    """The searcher of a space, made once for each open store and forgotten by `Store.refresh`."""
    place = (space.id, index)
    searcher = store.searchers.get(place)
    if not isinstance(searcher, Searcher) or searcher.space is not space:
        searcher = store.searchers[place] = Searcher(store, space, index)
    return searcher


class Searcher:
    """Searches one space with its stored indexes; see `search`.

    Parameters
    ----------
    store, space
        Where.
    index
        ``auto``, ``flat``, or the type of a stored index.
    """

    def __init__(self, store: Store, space: Space, index: str = AUTO) -> None:
        if index != AUTO and index not in INDEXES:
            raise unknown_name("index", index, [AUTO, *INDEXES])
        self.space = space
        self._store = store
        self._index_types: list[str] = []
        self._flat: Index | None = None
        if index == AUTO:
            self._index_types = [
                index_type for index_type in index_kinds(store.path, space.id) if index_type in INDEXES
            ]
        elif INDEXES[index].name != FLAT:
            if hasattr(INDEXES.load(index), "trained"):
                self._index_types = [index]
            else:
                # A plug-in type of which nothing is stored is made from the vectors, as exact search is.
                self._flat = INDEXES.load(index)(space.blocks, n_rows=space.n_rows, dim=space.dim)
        self._stored: dict[str, StoredIndex] = {}
        for index_type in self._index_types:
            if index != AUTO:
                self._index(index_type)

    @property
    def has_index(self) -> bool:
        """Whether there is a stored index, so that not every vector is compared."""
        return bool(self._index_types)

    def search(
        self, vectors: Vectors, k: int, *, where: Where | None = None, exclude: Digests | None = None
    ) -> Neighbours:
        """The nearest of the space's vectors; see `embedstore.indexes.api.search`."""
        vectors = np.asarray(vectors)
        check_queries(vectors, k, self.space.dim)
        if exclude is not None and exclude.shape != (len(vectors), 24):
            raise InputError(f"exclude has shape {exclude.shape}; expected a key for each query, ({len(vectors)}, 24).")
        rows = None if where is None else self._rows(where)
        n_rows = self.space.n_rows if rows is None else len(rows)
        n_wanted = min(k + (exclude is not None), n_rows)
        if not n_wanted or not len(vectors):
            return empty_result(len(vectors), n_wanted)
        neighbours = self._search(vectors, n_wanted, rows)
        return neighbours if exclude is None else drop_key(neighbours, exclude, min(k, n_rows))

    def _search(self, vectors: Vectors, k: int, rows: NDArray[np.int64] | None) -> Neighbours:
        stored = self._index_for(len(vectors))
        n_rows = self.space.n_rows if rows is None else len(rows)
        if stored is None or (rows is not None and n_rows <= EXACT_ROWS):
            return self._exact(vectors, k, rows)
        effort = stored.effort.for_k(k)
        if effort.candidates * 4 >= n_rows:
            return self._exact(vectors, k, rows)
        unit_queries, is_allowed, uncovered = unit_rows(vectors), None, stored.uncovered
        if rows is not None:
            is_allowed = np.zeros(int(self.space.row_starts[-1]), np.bool_)
            is_allowed[rows] = True
            uncovered = uncovered[is_allowed[uncovered]]
            effort = replace(effort, probes=-(-effort.probes * self.space.n_rows // n_rows))
        candidates = stored.candidates(unit_queries, effort, is_allowed)
        neighbours = rerank(unit_queries, candidates, self.space.take_rows, self.space.keys_of_rows, k)
        if len(uncovered):
            neighbours = merge([neighbours, self._exact(vectors, k, uncovered)], k)
        incomplete = np.flatnonzero(has_missing(neighbours))
        if len(incomplete):
            exact = self._exact(vectors[incomplete], k, rows)
            neighbours.scores[incomplete], neighbours.digests[incomplete] = exact.scores, exact.digests
        return neighbours

    def _exact(self, vectors: Vectors, k: int, rows: NDArray[np.int64] | None) -> Neighbours:
        if rows is None:
            if self._flat is None:
                self._flat = FlatIndex(self.space.blocks, n_rows=self.space.n_rows, dim=self.space.dim)
            return self._flat.search(vectors, k)
        flat = FlatIndex(lambda: self._blocks(rows), n_rows=len(rows), dim=self.space.dim, memory_bytes=0)
        return flat.search(vectors, k)

    def _blocks(self, rows: NDArray[np.int64]) -> Iterator[tuple[Digests, Vectors]]:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            yield self.space.keys_of_rows(block), self.space.take_rows(block)

    def _rows(self, where: Where) -> NDArray[np.int64]:
        """Rows that count, ascending."""
        rows = self.space.find(select_keys(self._store, where))
        return np.sort(rows[rows >= 0])

    def _index_for(self, n_queries: int) -> StoredIndex | None:
        """The stored index for so many queries: a graph for few of them, else inverted lists, else what there is."""
        if not self._index_types:
            return None
        preferred = "hnsw" if n_queries <= _FEW_QUERIES else "ivf_pq"
        return self._index(preferred if preferred in self._index_types else self._index_types[0])

    def _index(self, index_type: str) -> StoredIndex:
        if index_type not in self._stored:
            self._stored[index_type] = StoredIndex(self._store, self.space, index_type)
        return self._stored[index_type]
