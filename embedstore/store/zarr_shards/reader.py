"""Reads the arrays of a part: rows by number, ranges of rows, and a check of every checksum."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from embedstore.errors import StoreCorruptError
from embedstore.store.files import StorePath
from embedstore.store.zarr_shards.encoding import CHUNKS_PER_SHARD
from embedstore.store.zarr_shards.shard_io import ByteRanges, ObjectShards, ShardFiles, ShardSource

if TYPE_CHECKING:
    from upath import UPath

CRC_BYTES = 4
"""Bytes of a chunk's checksum, which stands behind it."""

INDEX_BYTES = CHUNKS_PER_SHARD * 16 + CRC_BYTES
"""Bytes of the index at the end of a shard."""

_KEPT_BYTES = 32 * 2**20
"""Of an array in object storage with no more than this, read whole at its first use ..."""

_KEPT_ROW_BYTES = 64
"""... if its rows are small: keys, offsets and lengths, of which some are looked up all the time."""


class ShardedArray:
    """Rows of an array that `ArrayWriter` wrote.

    Chunk ``i`` of a shard stands at ``i * (chunk_bytes + 4)``: a range of rows is a few stretches of bytes, and a
    memory map with a stride is a view of the data.

    Parameters
    ----------
    directory
        The array's directory.
    metadata
        Its zarr metadata, from the part's commit record.

    Attributes
    ----------
    shape
        Number of rows, then the shape of one row.
    dtype
        Element type.
    chunk_rows
        Rows of a chunk.
    """

    def __init__(self, directory: StorePath, metadata: dict[str, Any]) -> None:
        self.shape: tuple[int, ...] = tuple(metadata["shape"])
        self.dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
        self.chunk_rows = int(metadata["codecs"][0]["configuration"]["chunk_shape"][0])
        self._directory = directory
        self._chunk_shape = (self.chunk_rows, *self.shape[1:])
        self._row_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        self._stride = self.chunk_rows * self._row_bytes + CRC_BYTES
        self._n_chunks = -(-len(self) // self.chunk_rows)
        self._source = self._source_in(directory)
        self._maps: dict[int, NDArray[Any]] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """Rows ``start`` to ``stop`` as a new array; as in a slice, both may lie behind the last row."""
        start, stop = min(start, len(self)), len(self) if stop is None else min(stop, len(self))
        return self._gather(np.array([start], np.int64), np.array([max(start, stop)], np.int64))

    def ranges(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> list[NDArray[Any]]:
        """Many ranges of rows, however scattered, without holding more in memory than what they contain.

        Parameters
        ----------
        starts, stops
            (n,) int64: first row of each range, and the one behind its last. They may come in any order, overlap,
            and be empty.

        Returns
        -------
        n arrays of shape (stop - start, *row_shape), in the order asked for; slices of one new array.

        Raises
        ------
        StoreCorruptError
            If a range is not within the array, or a file is missing or was cut.
        """
        starts, stops = np.asarray(starts, np.int64), np.asarray(stops, np.int64)
        rows = self._gather(starts, stops)
        bounds = np.concatenate([[0], np.cumsum(stops - starts)]).tolist()
        return [rows[start:stop] for start, stop in pairwise(bounds)]

    @property
    def is_mapped(self) -> bool:
        """Whether `shard` costs no more than what is looked at."""
        return self._source.mapped

    @property
    def shard_rows(self) -> int:
        """Rows of a shard; the last may have fewer."""
        return self.chunk_rows * CHUNKS_PER_SHARD

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The rows with these numbers, in this order, as a new array."""
        if not self._source.mapped:
            return self._gather(rows, rows + 1)
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        shards = rows // self.shard_rows
        for shard in np.unique(shards):
            where = np.flatnonzero(shards == shard)
            chunk, inside = np.divmod(rows[where] - shard * self.shard_rows, self.chunk_rows)
            out[where] = self.shard(int(shard))[chunk, inside]
        return out

    def damaged_chunks(self) -> list[str]:
        """Names of the chunks whose bytes do not match their crc32c."""
        bad = []
        for shard in range(-(-self._n_chunks // CHUNKS_PER_SHARD)):
            for chunk, stored in enumerate(self._source.raw(shard).reshape(-1, self._stride)):
                if google_crc32c.value(stored[:-CRC_BYTES].tobytes()) != int.from_bytes(stored[-CRC_BYTES:], "little"):
                    bad.append(f"{self._directory.name} shard {shard} chunk {chunk}")
        return bad

    def _gather(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[Any]:
        """The rows of all ranges, one range behind the other, as a new array."""
        if ((starts < 0) | (stops < starts) | (stops > len(self))).any():
            wrong = int(np.argmax((starts < 0) | (stops < starts) | (stops > len(self))))
            raise StoreCorruptError(
                f"Rows {starts[wrong]:,} to {stops[wrong]:,} are not in {self._directory}, which has {len(self):,}. "
                "Run `embedstore verify` to see what is damaged."
            )
        out = np.empty((int((stops - starts).sum()), *self.shape[1:]), self.dtype)
        self._source.read_into(out.reshape(-1).view(np.uint8).data, self._pieces(starts, stops))
        return out

    def _pieces(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> ByteRanges:
        """Where the ranges stand: one piece a chunk that a range touches, since checksums stand between chunks."""
        filled = stops > starts
        starts, stops = starts[filled], stops[filled]
        first = starts // self.chunk_rows
        counts = (stops - 1) // self.chunk_rows - first + 1
        owner = np.repeat(np.arange(len(starts)), counts)
        chunk = first[owner] + np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        low = np.maximum(starts[owner], chunk * self.chunk_rows)
        high = np.minimum(stops[owner], (chunk + 1) * self.chunk_rows)
        shards, inside = np.divmod(chunk, CHUNKS_PER_SHARD)
        offsets = inside * self._stride + (low - chunk * self.chunk_rows) * self._row_bytes
        return ByteRanges(shards, offsets, (high - low) * self._row_bytes)

    def _source_in(self, directory: StorePath) -> ShardSource:
        inside = ["0" for _ in self.shape[1:]]
        if isinstance(directory, Path):
            local: Path = directory

            def file_of(shard: int) -> Path:
                return local.joinpath("c", str(shard), *inside)

            return ShardFiles(file_of, self._shard_bytes, INDEX_BYTES)
        remote: UPath = directory

        def object_of(shard: int) -> UPath:
            return remote.joinpath("c", str(shard), *inside)

        kept = 1 < self._row_bytes <= _KEPT_ROW_BYTES and len(self) * self._row_bytes <= _KEPT_BYTES
        return ObjectShards(remote, object_of, self._shard_bytes, INDEX_BYTES, mapped=kept)

    def _shard_bytes(self, shard: int) -> int:
        n_chunks = min(CHUNKS_PER_SHARD, self._n_chunks - shard * CHUNKS_PER_SHARD)
        return int(n_chunks * self._stride + INDEX_BYTES)

    def shard(self, shard: int) -> NDArray[Any]:
        """A shard as (n_chunks, chunk_rows, *row_shape), to be looked at and not to be changed."""
        if shard not in self._maps:
            raw = self._source.raw(shard).reshape(-1, self._stride)
            self._maps[shard] = _strided(raw, self._chunk_shape, self.dtype)
        return self._maps[shard]


def _strided(raw: NDArray[np.uint8], chunk_shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """View mapped chunks, checksums stepped over, as an array of shape (n_chunks, *chunk_shape)."""
    inner = [dtype.itemsize]
    for size in reversed(chunk_shape[1:]):
        inner.insert(0, inner[0] * size)
    return np.ndarray((len(raw), *chunk_shape), dtype, buffer=raw, strides=(raw.strides[0], *inner))
