"""Writes arrays shard by shard: encoded by zarr-python, hashed and synced by us, readable by any zarr."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import DTypeLike, NDArray

from embedstore.store.files import StorePath, new_file
from embedstore.store.layout import RECORD, fsync_path, to_json
from embedstore.store.zarr_shards.encoding import CHUNKS_PER_SHARD, ShardEncoder

CHUNK_BYTES = 256 * 1024
"""Largest inner chunk: the unit of a checksum and of a partial read."""

FileTable = dict[str, dict[str, Any]]
"""Path below the part -> {"bytes": size, "xxh3_128": hash}: what a commit record says of each file."""


class ArrayWriter:
    """Appends rows to one array of a part; memory is bounded by one shard, of at most 128 MiB, and its encoding.

    Parameters
    ----------
    part
        Directory of the part.
    name
        Name of the array: a directory in the part.
    dtype
        Type to which rows are cast and stored.
    row_shape
        Shape of one row: ``()`` for a vector of numbers, ``(D,)`` for a matrix.

    Attributes
    ----------
    files
        Size and hash of each finished file.
    """

    def __init__(self, part: StorePath, name: str, dtype: DTypeLike, row_shape: tuple[int, ...] = ()) -> None:
        self.name = name
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.row_shape = row_shape
        row_bytes = self.dtype.itemsize * int(np.prod(row_shape, dtype=np.int64))
        self.chunk_rows = max(1, CHUNK_BYTES // row_bytes)
        self.files: FileTable = {}
        self._part = part
        # Untouched pages take no memory: a small array does not cost a whole shard.
        self._shard = np.empty((self.chunk_rows * CHUNKS_PER_SHARD, *row_shape), self.dtype)
        self._n_rows = 0
        self._encoder: ShardEncoder | None = None

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows of shape ``(n, *row_shape)``."""
        while len(rows):
            n_taken = min(len(self._shard) - self._n_rows, len(rows))
            self._shard[self._n_rows : self._n_rows + n_taken] = rows[:n_taken]
            self._n_rows += n_taken
            rows = rows[n_taken:]
            if self._n_rows == len(self._shard):
                self._write_shard()

    def close(self) -> dict[str, Any]:
        """Finish and sync the files; returns the array's zarr metadata."""
        if self._encoder is None and 0 < self._n_rows < self.chunk_rows:
            # A single chunk that was never filled: cut it to size instead of padding a small part to 256 KiB.
            self.chunk_rows = self._n_rows
        if self._n_rows:
            self._write_shard()
        metadata = self._get_encoder().metadata()
        self._write(RECORD, to_json(metadata))
        directory = self._part / self.name
        if isinstance(directory, Path):
            for folder in [directory, *(path for path in directory.rglob("*") if path.is_dir())]:
                fsync_path(folder)
        return metadata

    def _get_encoder(self) -> ShardEncoder:
        if self._encoder is None:
            self._encoder = ShardEncoder(self.dtype, self.row_shape, self.chunk_rows)
        return self._encoder

    def _write_shard(self) -> None:
        self._write(*self._get_encoder().encode(self._shard[: self._n_rows]))
        self._n_rows = 0

    def _write(self, key: str, payload: bytes | memoryview) -> None:
        name = f"{self.name}/{key}"
        self.files[name] = write_file(self._part / name, [payload])


def write_file(path: StorePath, blocks: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """Create and sync a file; returns its size and hash, for the file table. Nothing is left open after an error."""
    file = new_file(path)
    content_hash, n_bytes = xxhash.xxh3_128(), 0
    try:
        for block in blocks:
            file.write(block)
            content_hash.update(block)
            n_bytes += len(block)
        file.finish()
    except BaseException:
        file.abandon()
        raise
    return {"bytes": n_bytes, "xxh3_128": content_hash.hexdigest()}
