"""Exact search: blocked matrix products over a stream of vectors, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from embedstore.index.base import Neighbours, check_queries, unit_rows
from embedstore.types import Digests, Vectors

Blocks = Callable[[], Iterable[tuple[Digests, Vectors]]]
"""Opens a fresh stream of ``(keys (n, 24), vectors (n, D))``."""

BLOCK_ROWS = 16384
"""Rows compared at a time: the block as float32 and its scores stay within 128 MB for D = 1024."""

_QUERIES = 1024
_PASS_QUERIES = 32 * _QUERIES
"""Queries answered in one pass over the vectors, which are converted to float32 once a pass."""

_MERGED = 1 << 14
_SCORED = 256
_MARGIN = 1e-4
"""More than what a float32 product of unit vectors can be off, up to D = 10,000."""


class ExactIndex:
    """Compares each query with every vector.

    The matrix product only nominates: whatever comes within its rounding error of the k-th place is scored
    again row by row in float64, so that neither batch size, block size nor thread count changes a result.

    Parameters
    ----------
    blocks
        Opens a stream of keys and vectors; read once for every 32,768 queries.
    n_rows
        Rows in the stream.
    dim
        D.
    """

    def __init__(self, blocks: Blocks, *, n_rows: int, dim: int) -> None:
        self._blocks = blocks
        self.n_rows = n_rows
        self.dim = dim
        self._block_lengths: list[NDArray[np.float32]] = []

    @classmethod
    def from_arrays(cls, digests: Digests, vectors: Vectors) -> ExactIndex:
        """An index over arrays in memory: keys (N, 24) and vectors (N, D)."""

        def blocks() -> Iterator[tuple[Digests, Vectors]]:
            for start in range(0, len(vectors), BLOCK_ROWS):
                yield digests[start : start + BLOCK_ROWS], vectors[start : start + BLOCK_ROWS]

        return cls(blocks, n_rows=len(vectors), dim=vectors.shape[1])

    def search(self, queries: Vectors, k: int) -> Neighbours:
        """The ``min(k, n_rows)`` nearest vectors of each query, (n, D) of any float type.

        Raises
        ------
        InputError
            If the queries do not fit, or ``k`` < 1.
        """
        check_queries(queries, k, self.dim)
        k = min(k, self.n_rows)
        found = Neighbours(
            digests=np.empty((len(queries), k, 24), np.uint8), scores=np.empty((len(queries), k), np.float32)
        )
        for start in range(0, len(queries) if k else 0, _PASS_QUERIES):
            asked = unit_rows(queries[start : start + _PASS_QUERIES])
            bests = [_Best(asked[row : row + _QUERIES], k) for row in range(0, len(asked), _QUERIES)]
            for number, (digests, vectors) in enumerate(self._blocks()):
                rows = np.asarray(vectors, np.float32)
                lengths = self._lengths(number, rows)
                for best in bests:
                    best.offer(digests, rows, lengths)
            found.digests[start : start + len(asked)] = np.concatenate([best.digests for best in bests])
            found.scores[start : start + len(asked)] = np.concatenate([best.scores for best in bests])
        return found

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
        self.digests = np.zeros((len(queries), k, 24), np.uint8)

    def offer(self, digests: Digests, rows: NDArray[np.float32], lengths: NDArray[np.float32]) -> None:
        """Take what belongs among the best from one block of rows and their Euclidean lengths."""
        rough = self.queries @ rows.T
        rough /= lengths
        bar = self.scores[:, -1] - _MARGIN
        if len(rows) > self.k:
            # A store often holds relatives side by side: without the block's own k-th place they would all come in.
            bar = np.maximum(bar, np.partition(rough, -self.k, axis=1)[:, -self.k] - _MARGIN)
        query, row = np.nonzero(rough >= bar[:, None])
        for start in range(0, len(query), _MERGED):
            self._merge(query[start : start + _MERGED], row[start : start + _MERGED], digests, rows)

    def _merge(
        self, query: NDArray[np.int64], row: NDArray[np.int64], digests: Digests, rows: NDArray[np.float32]
    ) -> None:
        touched, local = np.unique(query, return_inverse=True)
        scores = _cosines(self.queries[query], rows[row])
        old = np.repeat(np.arange(len(touched)), self.k)
        owner = np.concatenate([old, local])
        all_scores = np.concatenate([self.scores[touched].ravel(), scores])
        all_digests = np.concatenate([self.digests[touched].reshape(-1, 24), digests[row]])
        keys = np.ascontiguousarray(all_digests).view(">u8").reshape(-1, 3)
        order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0], -all_scores, owner))
        first = np.searchsorted(owner[order], np.arange(len(touched)))
        kept = order[first[:, None] + np.arange(self.k)]
        self.scores[touched] = all_scores[kept]
        self.digests[touched] = all_digests[kept]


def _cosines(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of each unit query with the row beside it, summed row by row in float64: the same bits in any batch."""
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _SCORED):
        query = queries[start : start + _SCORED].astype(np.float64)
        row = rows[start : start + _SCORED].astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", row, row))
        scores[start : start + _SCORED] = np.einsum("ij,ij->i", query, row) / np.where(lengths > 0, lengths, 1)
    return scores
