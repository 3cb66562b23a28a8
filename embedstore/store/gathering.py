"""Scattered rows of many parts by number: what re-ranks candidates, and so the part of a search that is felt."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.store.reader import KeyedParts

_FEW = 1024
"""So many rows are copied one by one, which is quicker than to sort them by shard."""


class RowReader:
    """Rows of one array of several parts, under the numbers of `KeyedParts`.

    Shards are mapped once; a row of a mapped one is found by arithmetic, in about a microsecond whatever the number
    of parts. What is not mapped (object storage) is read by range requests.

    Parameters
    ----------
    parts
        The parts.
    array
        Name of the array; it has the same row shape and dtype in all parts.
    row_shape, dtype
        What a row is, for where there is none.
    """

    def __init__(self, parts: KeyedParts, array: str, row_shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._parts = parts
        self._array = array
        self._row_shape = row_shape
        self._dtype = dtype
        arrays = [part.array(array) for part in parts.parts]
        self._is_mapped = all(one.is_mapped for one in arrays)
        starts, chunk_rows = [], []
        self._shards: list[tuple[int, int]] = []
        for index, one in enumerate(arrays):
            for number, first in enumerate(range(0, len(one), one.shard_rows)):
                self._shards.append((index, number))
                starts.append(int(parts.starts[index]) + first)
                chunk_rows.append(one.chunk_rows)
        self._starts = np.array(starts, np.int64)
        self._chunk_rows = np.array(chunk_rows, np.int64)
        self._maps: list[NDArray[Any] | None] = [None] * len(self._shards)

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The rows with these numbers, in this order, as a new array (n, *row_shape)."""
        out = np.empty((len(rows), *self._row_shape), self._dtype)
        if not len(rows):
            return out
        if not self._is_mapped:
            return self._parts.gather(self._array, rows)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        chunks, inside = np.divmod(rows - self._starts[shards], self._chunk_rows[shards])
        if len(rows) <= _FEW:
            places = zip(shards.tolist(), chunks.tolist(), inside.tolist(), strict=True)
            for number, (shard, chunk, row) in enumerate(places):
                out[number] = self._map(shard)[chunk, row]
            return out
        order = np.argsort(shards, kind="stable")
        bounds = np.flatnonzero(np.diff(shards[order], prepend=-1, append=-1))
        for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            where = order[first:last]
            out[where] = self._map(int(shards[where[0]]))[chunks[where], inside[where]]
        return out

    def _map(self, shard: int) -> NDArray[Any]:
        found = self._maps[shard]
        if found is None:
            index, number = self._shards[shard]
            found = self._parts.parts[index].array(self._array).shard(number)
            self._maps[shard] = found
        return found
