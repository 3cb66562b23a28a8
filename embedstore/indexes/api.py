"""Searches a space of a store: by its kept index where there is one, exactly where that is due, never stale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedstore.catalog import unknown_name
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
"""The kept index if there is one, else exact search."""

FLAT = "flat"

EXACT_ROWS = 10_000
"""Of so many rows or fewer that a filter leaves, each is compared: that costs less than looking for them."""

_BLOCK = 8192
_FEW_QUERIES = 16
"""So few queries go to the graph, where there is one; many are scanned for together."""


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
        ``auto``: a kept index if there is one, else exact search. ``flat``: exact search. Or a kept one by its kind.
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
        For an unknown space, kind of index, data set or column.
    StoreNotFoundError
        If an index was asked for that is not kept.
    SpaceMismatchError
        If a kept index was made for another store.
    """
    # To look for the spaces of a store takes as long as to search one of them.
    found = store.searchers.get((space or "", index))
    if not isinstance(found, Searcher):
        found = store.searchers[space or "", index] = get_searcher(store, store.space(space), index)
    return found.search(vectors, k, where=where, exclude=exclude)


def get_searcher(store: Store, space: Space, index: str = AUTO) -> Searcher:
    """What searches a space, made once for each store that is open; it is forgotten by `Store.refresh`."""
    place = (space.id, index)
    found = store.searchers.get(place)
    if not isinstance(found, Searcher) or found.space is not space:
        found = store.searchers[place] = Searcher(store, space, index)
    return found


class Searcher:
    """Searches one space with what is kept for it; see `search`.

    Parameters
    ----------
    store, space
        Where.
    index
        ``auto``, ``flat``, or the kind of a kept index.
    """

    def __init__(self, store: Store, space: Space, index: str = AUTO) -> None:
        if index != AUTO and index not in INDEXES:
            raise unknown_name("index", index, [AUTO, *INDEXES])
        self.space = space
        self._store = store
        self._kinds: list[str] = []
        self._flat: Index | None = None
        if index == AUTO:
            self._kinds = [kind for kind in index_kinds(store.path, space.id) if kind in INDEXES]
        elif INDEXES[index].name != FLAT:
            if hasattr(INDEXES.load(index), "trained"):
                self._kinds = [index]
            else:
                # A kind from outside of which nothing is kept is made from the vectors, as exact search is.
                self._flat = INDEXES.load(index)(space.blocks, n_rows=space.n_rows, dim=space.dim)
        self._kept: dict[str, StoredIndex] = {}
        for kind in self._kinds:
            if index != AUTO:
                self._index(kind)

    @property
    def has_kept(self) -> bool:
        """Whether an index is kept, so that not every vector is compared."""
        return bool(self._kinds)

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
        wanted = min(k + (exclude is not None), n_rows)
        if not wanted or not len(vectors):
            return empty_result(len(vectors), wanted)
        found = self._search(vectors, wanted, rows)
        return found if exclude is None else drop_key(found, exclude, min(k, n_rows))

    def _search(self, vectors: Vectors, k: int, rows: NDArray[np.int64] | None) -> Neighbours:
        kept = self._index_for(len(vectors))
        n_rows = self.space.n_rows if rows is None else len(rows)
        if kept is None or (rows is not None and n_rows <= EXACT_ROWS):
            return self._exact(vectors, k, rows)
        effort = kept.effort.for_k(k)
        if effort.candidates * 4 >= n_rows:
            return self._exact(vectors, k, rows)
        asked, chosen, late = unit_rows(vectors), None, kept.uncovered
        if rows is not None:
            chosen = np.zeros(int(self.space.row_starts[-1]), np.bool_)
            chosen[rows] = True
            late = late[chosen[late]]
            effort = replace(effort, probes=-(-effort.probes * self.space.n_rows // n_rows))
        candidates = kept.candidates(asked, effort, chosen)
        found = rerank(asked, candidates, self.space.take_rows, self.space.keys_of_rows, k)
        if len(late):
            found = merge([found, self._exact(vectors, k, late)], k)
        short = np.flatnonzero(has_missing(found))
        if len(short):
            exact = self._exact(vectors[short], k, rows)
            found.scores[short], found.digests[short] = exact.scores, exact.digests
        return found

    def _exact(self, vectors: Vectors, k: int, rows: NDArray[np.int64] | None) -> Neighbours:
        if rows is None:
            if self._flat is None:
                self._flat = FlatIndex(self.space.blocks, n_rows=self.space.n_rows, dim=self.space.dim)
            return self._flat.search(vectors, k)
        few = FlatIndex(lambda: self._blocks(rows), n_rows=len(rows), dim=self.space.dim, memory_bytes=0)
        return few.search(vectors, k)

    def _blocks(self, rows: NDArray[np.int64]) -> Iterator[tuple[Digests, Vectors]]:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            yield self.space.keys_of_rows(block), self.space.take_rows(block)

    def _rows(self, where: Where) -> NDArray[np.int64]:
        """Rows that count, ascending."""
        rows = self.space.find(select_keys(self._store, where))
        return np.sort(rows[rows >= 0])

    def _index_for(self, n_queries: int) -> StoredIndex | None:
        """The kept index for so many queries: a graph for few of them, else inverted lists, else what there is."""
        if not self._kinds:
            return None
        favourite = "hnsw" if n_queries <= _FEW_QUERIES else "ivf_pq"
        return self._index(favourite if favourite in self._kinds else self._kinds[0])

    def _index(self, kind: str) -> StoredIndex:
        if kind not in self._kept:
            self._kept[kind] = StoredIndex(self._store, self.space, kind)
        return self._kept[kind]
