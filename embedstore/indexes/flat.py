"""Exact search: blocked matrix products over a stream of vectors, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from embedstore.indexes.base import Neighbours, check_queries, unit_rows
from embedstore.indexes.rerank import MARGIN, as_float32, cosines, order_by_score
from embedstore.types import DIGEST_BYTES, Digests, Vectors

Blocks = Callable[[], Iterable[tuple[Digests, Vectors]]]
"""Opens a fresh stream of ``(keys (n, 24), vectors (n, D))``."""

BLOCK_ROWS = 16384
"""Rows compared at a time: the block as float32 and its scores stay within 128 MB for D = 1024."""

MEMORY_BYTES = 2**30
"""Vectors are kept as float32 from the first search on where all of them together take no more than this."""

_QUERIES = 1024
_PASS_QUERIES = 32 * _QUERIES
"""Queries answered in one pass over the vectors, which are converted to float32 once a pass."""

_MERGED = 1 << 14
_CROWD = 8
"""A query to which more than so many times k rows of a block come near has the block's own k-th place looked up."""


class FlatIndex:
    """Compares each query with every vector.

    The matrix product only nominates: whatever comes within its rounding error of the k-th place is scored
    again row by row in float64, so that neither batch size, block size nor thread count changes a result.

    Parameters
    ----------
    blocks
        Opens a stream of keys and vectors; read once for every 32,768 queries, or once for all where they are kept.
    n_rows
        Rows in the stream.
    dim
        D.
    memory_bytes
        Keep the vectors as float32 between two searches if they fit into this; 0 never does.
    """

    def __init__(self, blocks: Blocks, *, n_rows: int, dim: int, memory_bytes: int = MEMORY_BYTES) -> None:
        self._blocks = blocks
        self.n_rows = n_rows
        self.dim = dim
        self._fits = n_rows * dim * 4 <= memory_bytes
        self._cached: list[tuple[Digests, NDArray[np.float32]]] | None = None
        self._block_lengths: list[NDArray[np.float32]] = []

    @classmethod
    def from_arrays(cls, digests: Digests, vectors: Vectors, *, memory_bytes: int = MEMORY_BYTES) -> FlatIndex:
        """An index over arrays in memory: keys (N, 24) and vectors (N, D)."""

        def blocks() -> Iterator[tuple[Digests, Vectors]]:
            for start in range(0, len(vectors), BLOCK_ROWS):
                yield digests[start : start + BLOCK_ROWS], vectors[start : start + BLOCK_ROWS]

        return cls(blocks, n_rows=len(vectors), dim=vectors.shape[1], memory_bytes=memory_bytes)

    def search(self, queries: Vectors, k: int) -> Neighbours:
        """The ``min(k, n_rows)`` nearest vectors of each query, (n, D) of any float type.

        Raises
        ------
        InputError
            If the queries do not fit, or ``k`` < 1.
        """
        check_queries(queries, k, self.dim)
        k = min(k, self.n_rows)
        neighbours = Neighbours(
            digests=np.empty((len(queries), k, DIGEST_BYTES), np.uint8), scores=np.empty((len(queries), k), np.float32)
        )
        for start in range(0, len(queries) if k else 0, _PASS_QUERIES):
            unit_queries = unit_rows(queries[start : start + _PASS_QUERIES])
            bests = [_Best(unit_queries[row : row + _QUERIES], k) for row in range(0, len(unit_queries), _QUERIES)]
            for number, (digests, rows) in enumerate(self._converted()):
                lengths = self._lengths(number, rows)
                for best in bests:
                    best.offer(digests, rows, lengths)
            neighbours.digests[start : start + len(unit_queries)] = np.concatenate([best.digests for best in bests])
            neighbours.scores[start : start + len(unit_queries)] = np.concatenate([best.scores for best in bests])
        return neighbours

    def _converted(self) -> Iterator[tuple[Digests, NDArray[np.float32]]]:
        """The stream with its vectors as float32."""
        if self._cached is not None:
            yield from self._cached
            return
        blocks = []
        for digests, vectors in self._blocks():
            rows = as_float32(vectors)
            if self._fits:
                blocks.append((digests, rows))
            yield digests, rows
        if self._fits:
            self._cached = blocks

    def _lengths(self, number: int, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Euclidean length of each row of a block, kept for the next search: 4 bytes a row."""
        if number == len(self._block_lengths):
            lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
            self._block_lengths.append(np.where(lengths > 0, lengths, np.float32(1)))
        return self._block_lengths[number]


class _Best:
    """The k best rows so far of a batch of queries."""

    def __init__(self, queries: NDArray[np.float32], k: int) -> None:
        self.queries = queries
        self.k = k
        self.scores = np.full((len(queries), k), -np.inf, np.float32)
        self.digests = np.zeros((len(queries), k, DIGEST_BYTES), np.uint8)

    def offer(self, digests: Digests, rows: NDArray[np.float32], lengths: NDArray[np.float32]) -> None:
        """Take what belongs among the best from one block of rows and their Euclidean lengths."""
        rough = self.queries @ rows.T
        rough /= lengths
        threshold = self.scores[:, -1] - MARGIN
        near = rough >= threshold[:, None]
        if len(rows) > self.k:
            # A store often holds relatives side by side: without the block's own k-th place they would all come in.
            crowded = np.flatnonzero(np.count_nonzero(near, axis=1) > _CROWD * self.k)
            if len(crowded):
                block_kth = np.partition(rough[crowded], -self.k, axis=1)[:, -self.k] - MARGIN
                near[crowded] = rough[crowded] >= np.maximum(threshold[crowded], block_kth)[:, None]
        query, row = np.nonzero(near)
        for start in range(0, len(query), _MERGED):
            self._merge(query[start : start + _MERGED], row[start : start + _MERGED], digests, rows)

    def _merge(
        self, query: NDArray[np.int64], row: NDArray[np.int64], digests: Digests, rows: NDArray[np.float32]
    ) -> None:
        touched, local = np.unique(query, return_inverse=True)
        scores = cosines(self.queries[query], rows[row])
        owner = np.concatenate([np.repeat(np.arange(len(touched)), self.k), local])
        all_scores = np.concatenate([self.scores[touched].ravel(), scores])
        all_digests = np.concatenate([self.digests[touched].reshape(-1, DIGEST_BYTES), digests[row]])
        order = order_by_score(all_scores, all_digests, owner)
        first = np.searchsorted(owner[order], np.arange(len(touched)))
        best_rows = order[first[:, None] + np.arange(self.k)]
        self.scores[touched] = all_scores[best_rows]
        self.digests[touched] = all_digests[best_rows]
