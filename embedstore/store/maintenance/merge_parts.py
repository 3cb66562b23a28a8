"""Copies rows of several parts into a new one, block by block, whatever arrays they have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedstore.store.part_writer import PartWriter
from embedstore.store.parts import Part

BLOCK_BYTES = 8 * 2**20
"""What is read at once."""

_OFFSETS = "_offsets"


def n_bytes_of(part: Part) -> int:
    """Bytes of a part's files, by its record."""
    return sum(file["bytes"] for file in part.details["files"].values())


def copy_rows(
    parts: Sequence[Part], kept: Sequence[NDArray[np.bool_]], into: PartWriter, progress: Callable[[int], None]
) -> None:
    """Append the rows of ``parts`` that are to be kept to a new part, in this order.

    An array ``x`` beside which ``x_offsets`` stands is ragged: row ``i`` of the part is
    ``x[offsets[i]:offsets[i + 1]]``. All other arrays have one row for each row of the part.

    Parameters
    ----------
    parts
        At least one; all of the same arrays.
    kept
        (n,) bool for each part.
    into
        Where to; its arrays begin with these rows.
    progress
        Called with the bytes read since the last call.
    """
    names = parts[0].array_names
    for name in names:
        is_offsets = name.endswith(_OFFSETS) and name.removesuffix(_OFFSETS) in names
        is_ragged = f"{name}{_OFFSETS}" in names
        end = 0
        for part, mask in zip(parts, kept, strict=True):
            array = part.array(name)
            if part is parts[0]:
                into.append(name, np.zeros(1, array.dtype) if is_offsets else array.read(0, 0), array.dtype)
            if is_offsets:
                ends = end + np.cumsum(np.diff(array.read())[mask])
                into.append(name, ends, array.dtype)
                end = int(ends[-1]) if len(ends) else end
                continue
            step = max(1, BLOCK_BYTES // (array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))))
            bounds = part.array(f"{name}{_OFFSETS}").read() if is_ragged else np.arange(part.n_rows + 1)
            for start, stop in _runs(mask):
                for first in range(int(bounds[start]), int(bounds[stop]), step):
                    rows = array.read(first, min(first + step, int(bounds[stop])))
                    into.append(name, rows, array.dtype)
                    progress(rows.nbytes)


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First row of each stretch that is kept, and the one behind its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
