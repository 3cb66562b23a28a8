"""Writes arrays as canonical zarr v3 shards: streamed to disk by us, readable by any zarr.

A shard is its chunks in order, each followed by its crc32c, then the index of (offset, length) pairs with a
crc32c of its own; nothing is compressed. zarr-python writes the same bytes for the same array.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import xxhash
from numpy.typing import DTypeLike, NDArray

from embedstore.store.files import NewFile, StorePath, blocks, new_file
from embedstore.store.layout import RECORD, fsync_path, to_json

CHUNK_BYTES = 256 * 1024
"""Largest inner chunk: the unit of a checksum and of a partial read."""

CHUNKS_PER_SHARD = 512
"""Chunks in a shard file, hence at most 128 MiB of data a file."""

CRC_BYTES = 4
"""Bytes of a chunk's checksum, which stands behind it."""

INDEX_BYTES = CHUNKS_PER_SHARD * 16 + CRC_BYTES
"""Bytes of the index at the end of a shard."""

_MISSING = np.uint64(2**64 - 1)

FileTable = dict[str, dict[str, Any]]
"""Path below the part -> {"bytes": size, "xxh3_128": hash}: what a commit record says of each file."""


def crc32c(payload: bytes) -> bytes:
    """The checksum of a chunk, as it is stored."""
    return int(google_crc32c.value(payload)).to_bytes(CRC_BYTES, "little")


def _fill_value(dtype: np.dtype[Any]) -> float | int:
    # NaN, so that a chunk that went missing cannot pass for a vector: zarr fills silently.
    return float("nan") if dtype.kind == "f" else 0


class ArrayWriter:
    """Appends rows to one array of a part; memory is bounded by one chunk.

    Parameters
    ----------
    part
        Directory of the part.
    name
        Name of the array: a directory in the part.
    dtype
        What is stored; rows are cast to it.
    row_shape
        Shape of one row: ``()`` for a vector of numbers, ``(D,)`` for a matrix.
    """

    def __init__(self, part: StorePath, name: str, dtype: DTypeLike, row_shape: tuple[int, ...] = ()) -> None:
        self.name = name
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.row_shape = row_shape
        row_bytes = self.dtype.itemsize * int(np.prod(row_shape, dtype=np.int64))
        self.chunk_rows = max(1, CHUNK_BYTES // row_bytes)
        self.n_rows = 0
        self.files: FileTable = {}
        self._part = part
        self._buffer = np.empty((self.chunk_rows, *row_shape), self.dtype)
        self._buffered = 0
        self._file: _HashedFile | None = None
        self._shard_chunks = 0
        self._n_shards = 0

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows of shape ``(n, *row_shape)``."""
        start = 0
        while start < len(rows):
            taken = min(self.chunk_rows - self._buffered, len(rows) - start)
            self._buffer[self._buffered : self._buffered + taken] = rows[start : start + taken]
            self._buffered += taken
            start += taken
            if self._buffered == self.chunk_rows:
                self._write_chunk()
        self.n_rows += len(rows)

    def close(self) -> dict[str, Any]:
        """Finish and sync the files; returns the array's zarr metadata."""
        if self.n_rows and self.n_rows == self._buffered:
            # One chunk that was never filled: cut it to size instead of padding a small part to 256 KiB.
            self.chunk_rows = self.n_rows
            self._buffer = self._buffer[: self.n_rows]
        if self._buffered:
            self._buffer[self._buffered :] = _fill_value(self.dtype)
            self._write_chunk()
        if self._file is not None:
            self._close_shard(self._file)
        metadata = array_metadata(self.n_rows, self.row_shape, self.dtype, self.chunk_rows)
        self._file = _HashedFile(self._part / self.name / RECORD)
        self._file.write(to_json(metadata))
        self._finish(self._file, f"{self.name}/{RECORD}")
        directory = self._part / self.name
        if isinstance(directory, Path):
            for folder in [directory, *(path for path in directory.rglob("*") if path.is_dir())]:
                fsync_path(folder)
        return metadata

    def abandon(self) -> None:
        """Close the open file without finishing it."""
        if self._file is not None:
            self._file.abandon()
            self._file = None

    def _shard_name(self) -> str:
        return "/".join([self.name, "c", str(self._n_shards), *("0" for _ in self.row_shape)])

    def _write_chunk(self) -> None:
        if self._file is None:
            self._file = _HashedFile(self._part / self._shard_name())
            self._shard_chunks = 0
        data = self._buffer.tobytes()
        self._file.write(data)
        self._file.write(crc32c(data))
        self._shard_chunks += 1
        self._buffered = 0
        if self._shard_chunks == CHUNKS_PER_SHARD:
            self._close_shard(self._file)

    def _close_shard(self, shard: _HashedFile) -> None:
        chunk_bytes = self._buffer.nbytes + CRC_BYTES
        index = np.full((CHUNKS_PER_SHARD, 2), _MISSING, dtype="<u8")
        index[: self._shard_chunks, 0] = np.arange(self._shard_chunks, dtype=np.uint64) * np.uint64(chunk_bytes)
        index[: self._shard_chunks, 1] = chunk_bytes
        shard.write(index.tobytes() + crc32c(index.tobytes()))
        self._finish(shard, self._shard_name())
        self._n_shards += 1

    def _finish(self, file: _HashedFile, name: str) -> None:
        self.files[name] = file.finish()
        self._file = None


def copy_file(source: Path, target: StorePath) -> dict[str, Any]:
    """Copy a file of this machine and sync it; returns its size and hash, for the file table."""
    file = _HashedFile(target)
    try:
        for block in blocks(source):
            file.write(block)
        return file.finish()
    except BaseException:
        file.abandon()
        raise


class _HashedFile:
    """A new file of which size and hash are known at its end."""

    def __init__(self, path: StorePath) -> None:
        self._file: NewFile = new_file(path)
        self._hash = xxhash.xxh3_128()
        self._n_bytes = 0

    def write(self, payload: bytes) -> None:
        self._file.write(payload)
        self._hash.update(payload)
        self._n_bytes += len(payload)

    def finish(self) -> dict[str, Any]:
        self._file.finish()
        return {"bytes": self._n_bytes, "xxh3_128": self._hash.hexdigest()}

    def abandon(self) -> None:
        self._file.abandon()


def array_metadata(n_rows: int, row_shape: tuple[int, ...], dtype: np.dtype[Any], chunk_rows: int) -> dict[str, Any]:
    """Zarr v3 metadata of a sharded, checksummed, uncompressed array."""
    to_bytes: dict[str, Any] = {"name": "bytes"}
    if dtype.itemsize > 1:
        to_bytes["configuration"] = {"endian": "little"}
    index_codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [n_rows, *row_shape],
        "data_type": dtype.name,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [chunk_rows * CHUNKS_PER_SHARD, *row_shape]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "NaN" if dtype.kind == "f" else 0,
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [chunk_rows, *row_shape],
                    "codecs": [to_bytes, {"name": "crc32c"}],
                    "index_codecs": index_codecs,
                    "index_location": "end",
                },
            }
        ],
        "attributes": {},
    }
