"""Replaces parts by a new one with some of their rows, copied block by block, whatever arrays they have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.store.files import StorePath
from embedstore.store.maintenance.part_checks import check_files
from embedstore.store.part_writer import PartWriter
from embedstore.store.parts import Part, committed_parts
from embedstore.types import Progress, ProgressCallback

BLOCK_BYTES = 8 * 2**20
"""What is read at once."""

_OFFSETS = "_offsets"


_STANDARD = {"kind", "place", "n_rows", "files", "replaces", "created", "record_xxh3_128"}
"""Fields of every record; the others belong to its kind."""


class ByteProgress:
    """Adds up the bytes of a job for its progress callback."""

    def __init__(self, progress: ProgressCallback, stage: str, total: int) -> None:
        self._progress = progress
        self._stage = stage
        self._total = total
        self._done = 0

    def add(self, n_bytes: int) -> None:
        """Report so many bytes more."""
        self._done += n_bytes
        self._progress(Progress(stage=self._stage, done=self._done, total=self._total, unit="bytes"))


def replace_parts(
    store: StorePath,
    location: str,
    parts: Sequence[Part],
    masks: Sequence[NDArray[np.bool_]],
    meter: ByteProgress,
    *,
    may_commit: Callable[[PartWriter], bool] = lambda _: True,
) -> Part | None:
    """Commit one part with some rows of several, which it replaces in one step for all readers.

    Parameters
    ----------
    store
        Directory of the store.
    location
        Directory of the parts, below it.
    parts
        At least one; all of the same kind and arrays.
    masks
        (n,) bool for each part: the rows to copy.
    meter
        Counts the bytes that are copied.
    may_commit
        Called last, before the commit; nothing is replaced where it returns False.

    Returns
    -------
    The new part; None if readers no longer see all of ``parts``, or ``may_commit`` refused.

    Raises
    ------
    StoreCorruptError
        If a file of a part is damaged.
    """
    for part in parts:
        check_files(part.path, part.details)
    with PartWriter(store, location, parts[0].details["kind"]) as writer:
        copy_rows(parts, masks, writer, meter.add)
        # What others committed meanwhile is seen only after `may_commit`, which may lock them out.
        if not may_commit(writer) or not are_current(store / location, parts):
            return None
        writer.commit(sum(int(mask.sum()) for mask in masks), own_details(parts[0]), replaces=replaced_parts(parts))
    return Part(writer.path)


def are_current(location: StorePath, parts: Iterable[Part]) -> bool:
    """Whether readers see all of these parts still: none was replaced or removed."""
    return {part.name for part in parts} <= {part.name for part in committed_parts(location)}


def replaced_parts(parts: Iterable[Part]) -> list[str]:
    """All that a part made of these stands for: them, and whatever they stand for."""
    return sorted({name for part in parts for name in [part.name, *part.details["replaces"]]})


def own_details(part: Part) -> dict[str, Any]:
    """What a record says beyond what every record says."""
    return {name: value for name, value in part.details.items() if name not in _STANDARD}


def copy_rows(
    parts: Sequence[Part], masks: Sequence[NDArray[np.bool_]], into: PartWriter, progress: Callable[[int], None]
) -> None:
    """Append the rows of ``parts`` that are to be kept to a new part, in this order.

    An array ``x`` beside which ``x_offsets`` stands is ragged: row ``i`` of the part is
    ``x[offsets[i]:offsets[i + 1]]``. All other arrays have one row for each row of the part.

    Parameters
    ----------
    parts
        At least one; all of the same arrays.
    masks
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
        for part, mask in zip(parts, masks, strict=True):
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
