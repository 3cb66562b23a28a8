"""Where the bytes of a sharded array are read from: files on this machine, or objects."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import StoreCorruptError
from embedstore.store import object_store
from embedstore.store.files import StorePath

if TYPE_CHECKING:
    from upath import UPath

_GAP_BYTES = 256 * 1024
"""Reading this much in vain costs an object store less than another request."""

_SPAN_BYTES = 8 * 2**20
"""Longest request: several side by side are quicker than one."""

_WINDOW_BYTES = 64 * 2**20
"""What is requested at once, in bytes ..."""

_WINDOW_SPANS = 256
"""... and in requests."""


@dataclass(frozen=True, slots=True)
class ByteRanges:
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

    ``mapped`` tells whether `raw` costs next to nothing the second time.
    Both methods raise StoreCorruptError where a shard is missing or has another size than the array implies.
    """

    mapped: bool

    def read_into(self, out: memoryview, pieces: ByteRanges) -> None:
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

    mapped = True

    def __init__(self, path_of: Callable[[int], Path], bytes_of: Callable[[int], int], index_bytes: int) -> None:
        self._path_of = path_of
        self._bytes_of = bytes_of
        self._index_bytes = index_bytes

    def read_into(self, out: memoryview, pieces: ByteRanges) -> None:
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


class _Span:
    """Pieces that one request fetches, neighbours read along with what lies between them."""

    def __init__(self, shard: int, start: int) -> None:
        self.shard = shard
        self.start = start
        self.stop = start
        self.pieces: list[int] = []


class ObjectShards:
    """Shards in object storage: pieces by range requests, many at once.

    Parameters
    ----------
    directory
        The array's directory.
    path_of
        The path of a shard.
    bytes_of
        The size that a shard must have.
    index_bytes
        Size of the index at the end of each shard.
    mapped
        Whether each shard is read whole when something of it is first asked for, and kept: for arrays that are small
        and looked into often.
    """

    def __init__(
        self,
        directory: UPath,
        path_of: Callable[[int], UPath],
        bytes_of: Callable[[int], int],
        index_bytes: int,
        *,
        mapped: bool,
    ) -> None:
        self.mapped = mapped
        self._directory = directory
        self._path_of = path_of
        self._bytes_of = bytes_of
        self._index_bytes = index_bytes
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def read_into(self, out: memoryview, pieces: ByteRanges) -> None:
        """See `ShardSource.read_into`."""
        ends = np.cumsum(pieces.sizes).tolist()
        offsets, sizes = pieces.offsets.tolist(), pieces.sizes.tolist()
        for window in _windows(_spans(pieces)):
            for span, data in zip(window, self._fetch(window), strict=True):
                for piece in span.pieces:
                    start, size, end = offsets[piece] - span.start, sizes[piece], ends[piece]
                    out[end - size : end] = data[start : start + size]

    def raw(self, shard: int) -> NDArray[np.uint8]:
        """See `ShardSource.raw`."""
        if shard in self._kept:
            return self._kept[shard]
        path, expected = self._path_of(shard), self._bytes_of(shard)
        # One byte more than is due is asked for, so that an object of another size shows itself without a request.
        out, size = np.empty(expected + 1, np.uint8), 0
        try:
            for block in object_store.blocks_up_to(path, expected + 1):
                out[size : size + len(block)] = np.frombuffer(block, np.uint8)
                size += len(block)
        except FileNotFoundError as error:
            raise shard_of_other_size(path, 0, expected) from error
        if size != expected:
            raise shard_of_other_size(path, size, expected)
        data = out[: expected - self._index_bytes]
        if self.mapped:
            self._kept[shard] = data
        return data

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return object_store.sizes(self._directory)

    def _fetch(self, window: list[_Span]) -> list[memoryview]:
        if self.mapped:
            return [self.raw(span.shard)[span.start : span.stop].data for span in window]
        for shard in {span.shard for span in window}:
            path, expected = self._path_of(shard), self._bytes_of(shard)
            size = self._sizes.get(path.path.strip("/"), 0)
            if size != expected:
                raise shard_of_other_size(path, size, expected)
        contents = object_store.read_spans([(self._path_of(span.shard), span.start, span.stop) for span in window])
        for span, data in zip(window, contents, strict=True):
            if len(data) != span.stop - span.start:
                raise shard_of_other_size(self._path_of(span.shard), span.start + len(data), self._bytes_of(span.shard))
        return [memoryview(data) for data in contents]


def _spans(pieces: ByteRanges) -> Iterator[_Span]:
    """The requests for these pieces, in order of their place."""
    order = np.lexsort((pieces.offsets, pieces.shards))
    span: _Span | None = None
    rows = zip(
        order.tolist(),
        pieces.shards[order].tolist(),
        pieces.offsets[order].tolist(),
        pieces.sizes[order].tolist(),
        strict=True,
    )
    for piece, shard, offset, size in rows:
        if span and (
            shard != span.shard or offset > span.stop + _GAP_BYTES or offset + size > span.start + _SPAN_BYTES
        ):
            yield span
            span = None
        span = span or _Span(shard, offset)
        span.stop = max(span.stop, offset + size)
        span.pieces.append(piece)
    if span:
        yield span


def _windows(spans: Iterator[_Span]) -> Iterator[list[_Span]]:
    """Spans in groups that are requested at once, so that memory is bounded whatever is asked for."""
    window: list[_Span] = []
    for span in spans:
        window.append(span)
        if len(window) == _WINDOW_SPANS or sum(member.stop - member.start for member in window) >= _WINDOW_BYTES:
            yield window
            window = []
    if window:
        yield window


def shard_of_other_size(path: StorePath, size: int, expected: int) -> StoreCorruptError:
    """The error for a shard that is missing or was cut."""
    return StoreCorruptError(
        f"{path} has {size:,} bytes where {expected:,} are due. Run `embedstore verify` to see what else is damaged."
    )
