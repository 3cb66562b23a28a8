"""Where the bytes of a sharded array are read from: files on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import StoreCorruptError


@dataclass(frozen=True, slots=True)
class Pieces:
    """Stretches of bytes to read, each within one chunk, in the order in which they follow each other in memory.

    Attributes
    ----------
    shards, offsets, sizes
        (P,) int64: number of the shard, first byte in it, and number of bytes.
    """

    shards: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]


class ShardSource(Protocol):
    """Reads bytes out of the shards of one array.

    Both methods raise StoreCorruptError where a shard is missing or has another size than the array implies.
    """

    def read_into(self, out: memoryview, pieces: Pieces) -> None:
        """Read the pieces one behind the other into ``out``, bytes, as long as all of them together."""

    def raw(self, shard: int) -> NDArray[np.uint8]:
        """All bytes of a shard but its index, (n,) uint8, to be looked at and not to be changed."""


class ShardFiles:
    """Shards in files on this machine: pieces by positioned reads, whole shards by memory maps.

    Positioned reads leave nothing of the file in the memory of this process, however much of it is read; a map holds
    each page that was looked at until memory runs short. No file stays open between two calls.

    Parameters
    ----------
    path_of
        The path of a shard.
    bytes_of
        The size that a shard must have.
    index_bytes
        Size of the index at the end of each shard.
    """

    def __init__(self, path_of: Callable[[int], Path], bytes_of: Callable[[int], int], index_bytes: int) -> None:
        self._path_of = path_of
        self._bytes_of = bytes_of
        self._index_bytes = index_bytes

    def read_into(self, out: memoryview, pieces: Pieces) -> None:
        """See `ShardSource.read_into`."""
        ends = np.cumsum(pieces.sizes)
        order = np.lexsort((pieces.offsets, pieces.shards))
        for shard in np.unique(pieces.shards).tolist():
            here = order[pieces.shards[order] == shard]
            descriptor = self._open(shard)
            try:
                for offset, size, end in zip(
                    pieces.offsets[here].tolist(), pieces.sizes[here].tolist(), ends[here].tolist(), strict=True
                ):
                    # The size of the file was checked: only a file that shrinks right now gives less.
                    if os.preadv(descriptor, [out[end - size : end]], offset) != size:
                        raise shard_of_other_size(self._path_of(shard), offset, self._bytes_of(shard))
            finally:
                os.close(descriptor)

    def raw(self, shard: int) -> NDArray[np.uint8]:
        """See `ShardSource.raw`."""
        # A map that reaches past the end of its file kills the process with a bus error: the size is checked first.
        os.close(self._open(shard))
        return np.memmap(self._path_of(shard), np.uint8, "r", shape=(self._bytes_of(shard) - self._index_bytes,))

    def _open(self, shard: int) -> int:
        path, expected = self._path_of(shard), self._bytes_of(shard)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise shard_of_other_size(path, 0, expected) from error
        size = os.fstat(descriptor).st_size
        if size != expected:
            os.close(descriptor)
            raise shard_of_other_size(path, size, expected)
        return descriptor


def shard_of_other_size(path: Path, size: int, expected: int) -> StoreCorruptError:
    """The error for a shard that is missing or was cut."""
    return StoreCorruptError(
        f"{path} has {size:,} bytes where {expected:,} are due. Run `embedstore verify` to see what else is hurt."
    )
