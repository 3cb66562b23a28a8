"""True scores: the one function that scores a pair of vectors, and the k best of what was nominated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from embedstore.indexes.base import Neighbours
from embedstore.indexes.float16_scan import HalfScan
from embedstore.types import DIGEST_BYTES, Digests, Vectors

MARGIN = 1e-4
"""More than what a float32 product of unit vectors can be off, up to D = 10,000."""

NO_ROW = -1
"""Stands where there is no candidate."""

_SCORED = 256
_CONVERTED = 64
_GATHERED_BYTES = 16 * 2**20
"""Candidates' vectors that are held at once, in half precision."""

_HALF_INFINITY = 0x7C00

Take = Callable[[NDArray[np.int64]], Vectors]
"""Vectors (n, D) of rows by number."""

Keys = Callable[[NDArray[np.int64]], Digests]
"""Keys (n, 24) of rows by number."""


def cosines(queries: NDArray[np.float32], rows: Vectors) -> NDArray[np.float32]:
    """Cosine of each unit query with the row beside it, (n, D) each, summed row by row in float64.

    A pair has the same bits in any batch, with any number of threads, and in every kind of index.
    """
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _SCORED):
        query = queries[start : start + _SCORED].astype(np.float64)
        row = rows[start : start + _SCORED].astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", row, row))
        scores[start : start + _SCORED] = np.einsum("ij,ij->i", query, row) / np.where(lengths > 0, lengths, 1)
    return scores


def as_float32(vectors: Vectors) -> NDArray[np.float32]:
    """The same numbers in float32, (n, D); what is float32 already is not copied.

    numpy converts float16 one number at a time. In blocks that stay in the cache, shifting the bits into place and
    multiplying by 2 ** 112, which repairs the exponent, is exact and faster.
    """
    if vectors.dtype != np.float16:
        return np.ascontiguousarray(vectors, np.float32)
    out = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _CONVERTED):
        half = vectors[start : start + _CONVERTED].view(np.int16)
        block = out[start : start + _CONVERTED]
        if int((half & np.int16(0x7FFF)).max(initial=0)) >= _HALF_INFINITY:
            block[:] = vectors[start : start + _CONVERTED]
            continue
        bits = block.view(np.int32)
        bits[:] = half
        bits <<= 13
        # Widening copied the sign into three bits of the exponent.
        bits &= np.int32(~0x70000000)
        block *= np.float32(2.0**112)
    return out


def order_by_score(scores: NDArray[np.float32], digests: Digests, owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order of pairs by owner, then falling score, then key: scores and owners (n,), keys (n, 24)."""
    keys = np.ascontiguousarray(digests).view(">u8").reshape(-1, 3)
    return np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0], -scores, owner))


def select_best(
    n_queries: int, k: int, owner: NDArray[np.int64], scores: NDArray[np.float32], digests: Digests
) -> Neighbours:
    """The k best of scored pairs for each query; where a query has fewer, score -inf and a key of zeros stand.

    Parameters
    ----------
    n_queries
        n.
    k
        Neighbours a query.
    owner
        (m,) int64: which query a pair belongs to.
    scores, digests
        (m,) and (m, 24): score and key of each pair.
    """
    order = order_by_score(scores, digests, owner)
    first = np.searchsorted(owner[order], np.arange(n_queries + 1))
    place = first[:-1, None] + np.arange(k)
    has_neighbour = place < first[1:, None]
    if not len(order):
        return empty_result(n_queries, k)
    pairs = order[np.minimum(place, len(order) - 1)]
    neighbours = Neighbours(digests=digests[pairs], scores=scores[pairs])
    neighbours.scores[~has_neighbour] = -np.inf
    neighbours.digests[~has_neighbour] = 0
    return neighbours


def empty_result(n_queries: int, k: int) -> Neighbours:
    """K places for each query, with nothing in them."""
    return Neighbours(
        digests=np.zeros((n_queries, k, DIGEST_BYTES), np.uint8), scores=np.full((n_queries, k), -np.inf, np.float32)
    )


def merge(neighbours: list[Neighbours], k: int) -> Neighbours:
    """The k best of what several searches for the same queries found among different rows."""
    n_queries = len(neighbours[0].scores)
    scores = np.concatenate([result.scores for result in neighbours], axis=1)
    digests = np.concatenate([result.digests for result in neighbours], axis=1)
    query, place = np.nonzero(scores > -np.inf)
    return select_best(n_queries, k, query, scores[query, place], digests[query, place])


def rerank(queries: NDArray[np.float32], candidates: NDArray[np.int64], take: Take, keys: Keys, k: int) -> Neighbours:
    """Score candidates with their true vectors, and keep the k best.

    As in exact search, a float32 product nominates what is within its rounding error of the k-th place, and that
    is scored by `cosines`.

    Parameters
    ----------
    queries
        (n, D) float32, of unit length.
    candidates
        (n, c) int64 row numbers, each at most once a query; `NO_ROW` where there is none.
    take, keys
        Vectors and keys of rows.
    k
        Neighbours a query; score -inf where there are not so many.
    """
    n_queries, width = candidates.shape
    step = max(1, _GATHERED_BYTES // max(1, width * queries.shape[1] * 2))
    parts = []
    with closing(HalfScan(queries.shape[1], width)) as scan:
        for start in range(0, n_queries, step):
            unit_queries, rows = queries[start : start + step], candidates[start : start + step]
            query, place = np.nonzero(rows != NO_ROW)
            vectors = take(rows[query, place])
            bounds = np.searchsorted(query, np.arange(len(unit_queries) + 1))
            products = scan.cosines if vectors.dtype == np.float16 else _cosines_of
            rough = np.full(rows.shape, -np.inf, np.float32)
            rough[query, place] = products(unit_queries, vectors, bounds)
            threshold = np.full(len(unit_queries), -np.inf, np.float32)
            if width > k:
                threshold = np.partition(rough, -k, axis=1)[:, -k] - MARGIN
            nominated = np.flatnonzero(rough[query, place] >= threshold[query])
            scores = cosines(unit_queries[query[nominated]], vectors[nominated])
            parts.append(
                select_best(
                    len(unit_queries), k, query[nominated], scores, keys(rows[query[nominated], place[nominated]])
                )
            )
    if not parts:
        return empty_result(0, k)
    return Neighbours(
        digests=np.concatenate([part.digests for part in parts]), scores=np.concatenate([part.scores for part in parts])
    )


def _cosines_of(queries: NDArray[np.float32], vectors: Vectors, bounds: NDArray[np.int64]) -> NDArray[np.float32]:
    """What `HalfScan.cosines` gives, for rows that are not float16."""
    rows = as_float32(vectors)
    products = np.empty(len(rows), np.float32)
    ends = bounds.tolist()
    for query, start, stop in zip(queries, ends[:-1], ends[1:], strict=True):
        products[start:stop] = rows[start:stop] @ query
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    products /= np.where(lengths > 0, lengths, np.float32(1))
    return products


def drop_key(neighbours: Neighbours, excluded: Digests, k: int) -> Neighbours:
    """The first k neighbours of each query that are not its own key.

    Parameters
    ----------
    found
        (n, k + 1) or fewer neighbours.
    excluded
        (n, 24): the key that each query must not find.
    k
        Neighbours wanted; score -inf where there are not so many.
    """
    is_own = (neighbours.digests == excluded[:, None, :]).all(axis=2)
    query, place = np.nonzero(~is_own & (neighbours.scores > -np.inf))
    return select_best(len(excluded), k, query, neighbours.scores[query, place], neighbours.digests[query, place])


def has_missing(neighbours: Neighbours) -> NDArray[np.bool_]:
    """Which queries have fewer neighbours than places, (n,) bool."""
    is_missing: NDArray[np.bool_] = (neighbours.scores == -np.inf).any(axis=1)
    return is_missing
