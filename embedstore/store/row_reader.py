"""Scattered rows of many parts by number: what re-ranks candidates, and so the part of a search that is felt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.store.parts import KeyedParts


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
        self._is_mapped = all(source.is_mapped for source in arrays)
        starts, chunk_rows = [], []
        self._shards: list[tuple[int, int]] = []
        for index, source in enumerate(arrays):
            for number, first in enumerate(range(0, len(source), source.shard_rows)):
                self._shards.append((index, number))
                starts.append(int(parts.starts[index]) + first)
                chunk_rows.append(source.chunk_rows)
        self._n_rows = sum(map(len, arrays))
        self._starts = np.array(starts, np.int64)
        self._chunk_rows = np.array(chunk_rows, np.int64)
        self._row_bytes = dtype.itemsize * math.prod(row_shape)
        # Of a shard that is not mapped yet the first byte is 0.
        self._first_byte, self._chunk_bytes = np.zeros((2, len(self._shards)), np.int64)
        self._maps: list[NDArray[Any]] = []

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The rows with these numbers, in this order, as a new array (n, *row_shape)."""
        if not len(rows):
            return np.empty((0, *self._row_shape), self._dtype)
        if not self._is_mapped:
            return self._parts.gather(self._array, rows)
        if rows.min() < 0 or rows.max() >= self._n_rows:
            raise IndexError(f"Rows {rows.min()} to {rows.max()} were asked for; there are {self._n_rows}, from 0.")
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        for shard in np.unique(shards[self._first_byte[shards] == 0]).tolist():
            self._open(shard)
        chunks, inside = np.divmod(rows - self._starts[shards], self._chunk_rows[shards])
        places = self._first_byte[shards] + chunks * self._chunk_bytes[shards] + inside * self._row_bytes
        lowest = int(places.min())
        memory = _Memory(lowest, int(places.max()) - lowest + 1, self._row_bytes)
        row_bytes: NDArray[np.uint8] = np.asarray(memory)[places - lowest]
        return row_bytes.view(self._dtype).reshape(len(rows), *self._row_shape)

    def _open(self, shard: int) -> None:
        index, number = self._shards[shard]
        mapped = self._parts.parts[index].array(self._array).shard(number)
        self._maps.append(mapped)
        self._chunk_bytes[shard] = mapped.strides[0]
        self._first_byte[shard] = mapped.__array_interface__["data"][0]


class _Memory:
    """Rows of bytes that start at each of ``n`` neighbouring addresses, as numpy is told of foreign memory.

    All shards are indexed at once in it, wherever they are mapped: to gather from one after the other and to put each
    row in its place would copy every row twice.
    """

    def __init__(self, address: int, n: int, row_bytes: int) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (address, True),
            "shape": (n, row_bytes),
            "strides": (1, 1),
            "typestr": "|u1",
        }
