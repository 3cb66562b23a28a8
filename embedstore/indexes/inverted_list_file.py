"""Inverted lists in one file that is mapped and not read: codes in the layout of FAISS's fast scan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
"""Rows of a block; the last of a list is filled up."""

ID_BYTES = 8

# The order in which the 4-bit codes of 16 rows stand in 16 bytes (FAISS, pq4_fast_scan.cpp, `pq4_pack_codes`).
_ORDER = np.array([0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15])


def pack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows of 4-bit codes as fast scan wants them.

    Parameters
    ----------
    codes
        (n, m / 2) uint8, two codes a byte, the first in the lower half; n a multiple of 32, m even.

    Returns
    -------
    (n / 32, m / 2, 32) uint8: a block of 32 rows is one stretch of bytes.
    """
    blocks = codes.reshape(-1, BLOCK, codes.shape[1]).transpose(0, 2, 1)
    out = np.empty(blocks.shape, np.uint8)
    for half, values in enumerate((blocks & 15, blocks >> 4)):
        out[:, :, 16 * half : 16 * half + 16] = values[:, :, _ORDER] | (values[:, :, _ORDER + 16] << 4)
    return out


def unpack(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The rows that `pack` packed."""
    values = np.empty(blocks.shape, np.uint8)
    low, high = blocks[:, :, :16], blocks[:, :, 16:]
    values[:, :, _ORDER] = (low & 15) | (high << 4)
    values[:, :, _ORDER + 16] = (low >> 4) | (high & 0xF0)
    rows: NDArray[np.uint8] = values.transpose(0, 2, 1).reshape(-1, blocks.shape[1])
    return rows


def write_lists(file: Path, lists: NDArray[np.int32], codes: NDArray[np.uint8], n_lists: int) -> NDArray[np.int64]:
    """Write rows by list: for each list its blocks of codes, then its ids.

    Parameters
    ----------
    file
        The new file.
    lists
        (n,) the list of each row; a row's id is its number.
    codes
        (n, m / 2) uint8.
    n_lists
        Number of lists.

    Returns
    -------
    (n_lists,) int64 rows of each list.
    """
    order = np.argsort(lists, kind="stable")
    sizes = np.bincount(lists, minlength=n_lists)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    with file.open("xb") as stream:
        for number in np.flatnonzero(sizes).tolist():
            rows = order[starts[number] : starts[number + 1]]
            padded = np.zeros((_capacity(len(rows)), codes.shape[1]), np.uint8)
            padded[: len(rows)] = codes[rows]
            ids = np.full(len(padded), -1, "<i8")
            ids[: len(rows)] = rows
            stream.write(pack(padded).tobytes())
            stream.write(ids.tobytes())
    return sizes


def read_lists(file: Path, sizes: NDArray[np.int64], code_bytes: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """List (n,) and code (n, m / 2) of each row, in the order of ids: what `write_lists` was given."""
    lists = np.empty(int(sizes.sum()), np.int32)
    codes = np.empty((len(lists), code_bytes), np.uint8)
    raw = np.memmap(file, np.uint8, "r") if len(lists) else np.empty(0, np.uint8)
    for number, offset in zip(np.flatnonzero(sizes).tolist(), offsets_of(sizes, code_bytes)[sizes > 0], strict=True):
        size = int(sizes[number])
        capacity, split = _capacity(size), int(offset) + _capacity(size) * code_bytes
        blocks = raw[offset:split].reshape(-1, code_bytes, BLOCK)
        ids = raw[split : split + capacity * ID_BYTES].view("<i8")[:size]
        lists[ids] = number
        codes[ids] = unpack(blocks)[:size]
    return lists, codes


def offsets_of(sizes: NDArray[np.int64], code_bytes: int) -> NDArray[np.int64]:
    """First byte of each list, (n_lists,) int64."""
    lengths = (sizes + BLOCK - 1) // BLOCK * BLOCK * (code_bytes + ID_BYTES)
    offsets: NDArray[np.int64] = np.cumsum(lengths) - lengths
    return offsets


def file_bytes(sizes: NDArray[np.int64], code_bytes: int) -> int:
    """Size of a file of such lists."""
    return int(((sizes + BLOCK - 1) // BLOCK).sum()) * BLOCK * (code_bytes + ID_BYTES)


def mapped_lists(file: Path, sizes: NDArray[np.int64], code_bytes: int) -> Any:
    """FAISS inverted lists over a file that `write_lists` wrote, mapped: what is not searched is never read."""
    import faiss

    places = np.stack([sizes, (sizes + BLOCK - 1) // BLOCK * BLOCK, offsets_of(sizes, code_bytes)], axis=1)
    name = os.fsencode(file.absolute())
    # What FAISS writes of its lists on disk (OnDiskInvertedLists.cpp, its IO hook): rows, room and first byte of each
    # list, free room, the file and its size. Python cannot set these fields of the object itself.
    words = [len(sizes), code_bytes, len(sizes), *places.ravel().tolist(), 0, len(name)]
    written = b"ilod" + np.array(words, "<u8").tobytes() + name
    written += np.array([file_bytes(sizes, code_bytes)], "<u8").tobytes()
    reader = faiss.VectorIOReader()
    faiss.copy_array_to_vector(np.frombuffer(written, np.uint8), reader.data)
    return faiss.read_InvertedLists(reader, faiss.IO_FLAG_READ_ONLY)


def _capacity(size: int) -> int:
    return (size + BLOCK - 1) // BLOCK * BLOCK
