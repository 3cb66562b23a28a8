"""Encodes groups, arrays and shards with zarr-python, in memory; whoever calls puts the bytes into files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

CHUNKS_PER_SHARD = 512
"""Chunks in a shard file, hence at most 128 MiB of data a file."""

_METADATA = "zarr.json"


class ShardEncoder:
    """An uncompressed zarr v3 array whose shards are taken out of memory as soon as they are encoded.

    Each inner chunk is followed by its crc32c; the index at the end of a shard has a crc32c of its own.

    Parameters
    ----------
    dtype
        Element type.
    row_shape
        Shape of one row.
    chunk_rows
        Rows of an inner chunk.
    """

    def __init__(self, dtype: np.dtype[Any], row_shape: tuple[int, ...], chunk_rows: int) -> None:
        # Imported here: zarr takes longer to load than reading a store, or `--help`, which need it not.
        import zarr
        from zarr.codecs import BytesCodec, Crc32cCodec
        from zarr.storage import MemoryStore

        self._files: dict[str, Buffer] = {}
        self._array = zarr.create_array(
            MemoryStore(self._files),
            shape=(0, *row_shape),
            dtype=dtype,
            chunks=(chunk_rows, *row_shape),
            shards=(chunk_rows * CHUNKS_PER_SHARD, *row_shape),
            serializer=BytesCodec(),
            compressors=[Crc32cCodec()],
            # NaN, so that a missing chunk cannot pass for a vector: zarr fills silently.
            fill_value=np.nan if dtype.kind == "f" else 0,
            config={"write_empty_chunks": True},
        )

    def encode(self, rows: NDArray[Any]) -> tuple[str, memoryview]:
        """Append the rows of one shard, of which all but the last are full; returns its key and its bytes."""
        start = self._array.shape[0]
        self._array.resize((start + len(rows), *self._array.shape[1:]))
        self._array[start:] = rows
        (key,) = self._files.keys() - {_METADATA}
        return key, self._files.pop(key).as_numpy_array().data

    def metadata(self) -> dict[str, Any]:
        """The array's zarr metadata, as parsed JSON."""
        return _without_defaults(self._files)


def group_metadata(attributes: dict[str, Any]) -> dict[str, Any]:
    """The zarr metadata of a group, as parsed JSON."""
    import zarr
    from zarr.storage import MemoryStore

    files: dict[str, Buffer] = {}
    zarr.create_group(MemoryStore(files), attributes=attributes)
    return _without_defaults(files)


def _without_defaults(files: dict[str, Buffer]) -> dict[str, Any]:
    """Parse the metadata, without the empty list that zarr adds and that stores so far lack."""
    document: dict[str, Any] = json.loads(files[_METADATA].to_bytes())
    document.pop("storage_transformers", None)
    return document
