"""Rows sorted into ranges of keys on disk, so that millions of keys are joined in the memory of a few thousand."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import StoreWriteError
from embedstore.store.keys import prefixes
from embedstore.types import DIGEST_BYTES, Digests

_FLUSH_ROWS = 1 << 16


@contextlib.contextmanager
def _spilling() -> Iterator[None]:
    """Say where it was that a temporary file could not be written, which no one has named."""
    try:
        yield
    except OSError as error:
        raise StoreWriteError(
            f"Cannot write a temporary file in {tempfile.tempdir or os.environ.get('TMPDIR', '/tmp')}: "  # noqa: S108
            f"{error.strerror or error}. A build keeps about 100 bytes a sequence there while it runs. Free space, or "
            "set TMPDIR to a directory that has some; what is committed is kept."
        ) from error


_SIEVE_BITS = 1 << 26


class BloomFilter:
    """Tells most keys that are not among some from those that may be: 8 MiB at most, however many they are.

    Parameters
    ----------
    n_keys
        How many will be added, about; of others, one in sixteen passes, and more where there are tens of millions.
    """

    def __init__(self, n_keys: int) -> None:
        self._size = min(max(1 << (16 * n_keys).bit_length(), 1 << 10), _SIEVE_BITS)
        self._bits = np.zeros(self._size // 8, np.uint8)

    def add(self, digests: Digests) -> None:
        """Take keys (n, 24) in."""
        position = self._place(digests)
        np.bitwise_or.at(self._bits, position >> np.uint64(3), _bit(position))

    def may_hold(self, digests: Digests) -> NDArray[np.bool_]:
        """(n,) bool: False for keys that were certainly not added."""
        position = self._place(digests)
        may_be_held: NDArray[np.bool_] = (self._bits[position >> np.uint64(3)] & _bit(position)) != 0
        return may_be_held

    def _place(self, digests: Digests) -> NDArray[np.uint64]:
        # Other bytes than those that choose the bucket: within one, those are nearly the same.
        return prefixes(digests[:, 8:16]) & np.uint64(self._size - 1)


def _bit(position: NDArray[np.uint64]) -> NDArray[np.uint8]:
    bits: NDArray[np.uint8] = np.left_shift(1, position & np.uint64(7)).astype(np.uint8)
    return bits


class KeyPartition:
    """Rows with a key, kept in ``n_buckets`` equal ranges of keys.

    Keys are digests and therefore spread evenly. Rows are gathered, sorted by bucket, and appended to one temporary
    file that has no name: it is gone with the process, however that ends. One bucket stays in memory.

    Parameters
    ----------
    n_buckets
        How many ranges.
    **fields
        Name and dtype of what each row holds besides its key.
    """

    def __init__(self, n_buckets: int, **fields: str) -> None:
        self.dtype = np.dtype([("digest", np.uint8, (DIGEST_BYTES,)), *fields.items()])
        self.n_rows = 0
        self._n_buckets = n_buckets
        self._held: list[NDArray[np.void]] = []
        self._n_held = 0
        with _spilling():
            self._file = tempfile.TemporaryFile(prefix="embedstore-") if n_buckets > 1 else None  # noqa: SIM115
        self._runs: list[tuple[int, NDArray[np.int64]]] = []

    def __enter__(self) -> KeyPartition:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory and the disk back."""
        self._held, self._runs = [], []
        if self._file is not None:
            # What is buffered may not fit on the disk; it is not wanted any more.
            with contextlib.suppress(OSError):
                self._file.close()

    def append(self, digests: Digests, **fields: NDArray[np.generic] | int) -> None:
        """Add rows: keys (n, 24), and each field as (n,) or one value for all."""
        rows = np.empty(len(digests), self.dtype)
        rows["digest"] = digests
        for name, values in fields.items():
            rows[name] = values
        self.n_rows += len(rows)
        self._held.append(rows)
        self._n_held += len(rows)
        if self._file is not None and self._n_held >= _FLUSH_ROWS:
            self._flush()

    def read(self, bucket: int) -> NDArray[np.void]:
        """All rows of a bucket, in the order in which they were added."""
        if self._file is None:
            return np.concatenate(self._held) if self._held else np.empty(0, self.dtype)
        if self._n_held:
            self._flush()
        size = self.dtype.itemsize
        out = np.empty(sum(int(ends[bucket + 1] - ends[bucket]) for _, ends in self._runs), self.dtype)
        row = 0
        for position, ends in self._runs:
            count = int(ends[bucket + 1] - ends[bucket])
            payload = os.pread(self._file.fileno(), count * size, position + int(ends[bucket]) * size)
            out[row : row + count] = np.frombuffer(payload, self.dtype)
            row += count
        return out

    def _flush(self) -> None:
        assert self._file is not None  # noqa: S101 - for mypy; the callers have just seen it
        rows = np.concatenate(self._held)
        buckets = (prefixes(rows["digest"]) >> np.uint64(32)) * np.uint64(self._n_buckets) >> np.uint64(32)
        order = np.argsort(buckets, kind="stable")
        ends = np.searchsorted(buckets[order], np.arange(self._n_buckets + 1, dtype=np.uint64))
        with _spilling():
            position = self._file.tell()
            self._file.write(rows[order].tobytes())
            self._file.flush()
        self._runs.append((position, ends.astype(np.int64)))
        self._held, self._n_held = [], 0
