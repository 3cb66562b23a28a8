"""Writes into a space: vectors and matrices in parts, the reasons of what got none, ledgers of builds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import LedgerError, StoreError
from embedstore.store.layout import (
    BUILDS,
    PARTS,
    SKIPPED,
    SPACES,
    translate_write_errors,
)
from embedstore.store.locks import SharedStoreLock
from embedstore.store.part_writer import PartWriter
from embedstore.store.spaces import ResidueSpace, Space, SpaceBase
from embedstore.types import Digests, Vectors

PART_ROWS = 8192
"""A part is committed once it has this many rows ..."""

PART_SECONDS = 60.0
"""... or this much work, whichever comes first: what a crash can cost."""


def _part_writer(space: SpaceBase, folder: str, kind: str) -> PartWriter:
    if space.path is None:
        raise StoreError(f"Nothing of space {space.id} is stored here, so nothing can be written to it.")
    return PartWriter(space.path.parent.parent, f"{SPACES}/{space.id}/{folder}", kind)


class SpaceWriter:
    """Appends what a space is for in parts; what is committed stays, whatever happens next.

    Parameters
    ----------
    space
        Where to write; a part is committed every `PART_ROWS` rows or `PART_SECONDS`, whichever comes first.
    """

    def __init__(self, space: Space | ResidueSpace) -> None:
        self.space = space
        self._work: SharedStoreLock | None = None
        self._part: PartWriter | None = None
        self._started = 0.0
        self._rows = 0
        self._offset = 0

    def __enter__(self) -> SpaceWriter:
        # Also between two parts: what the work reads must not be removed meanwhile.
        if self.space.path is not None:
            with translate_write_errors(self.space.path):
                self._work = SharedStoreLock(self.space.path.parent.parent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
            elif self._part is not None:
                self._part.close()
        finally:
            if self._work is not None:
                self._work.release()

    def append(
        self,
        digests: Digests,
        values: Vectors | Sequence[Vectors],
        lengths: NDArray[np.int64],
        flags: NDArray[np.uint8],
    ) -> None:
        """Add proteins: keys (n, 24), vectors (n, D) or n matrices (L, D), lengths in residues (n,), flags (n,)."""
        if self._part is None:
            self._part = _part_writer(self.space, PARTS, "vectors")
            self._started, self._rows, self._offset = time.monotonic(), 0, 0
        if isinstance(self.space, ResidueSpace):
            self._append_matrices(self._part, values, lengths)
        else:
            self._part.append("vectors", np.asarray(values), self.space.dtype)
        self._part.append("digests", digests, np.uint8)
        self._part.append("lengths", lengths, np.int32)
        self._part.append("flags", flags, np.uint8)
        self._rows += len(digests)
        if self._rows >= PART_ROWS or time.monotonic() - self._started >= PART_SECONDS:
            self.commit()

    def _append_matrices(
        self, part: PartWriter, matrices: Vectors | Sequence[Vectors], lengths: NDArray[np.int64]
    ) -> None:
        if [len(matrix) for matrix in matrices] != lengths.tolist():
            raise LedgerError("A matrix has not one row for each residue of its protein. Please report this.")
        if not self._rows:
            part.append("residues_offsets", np.zeros(1, np.int64), np.int64)
        for matrix in matrices:
            part.append("residues", matrix, self.space.dtype)
        ends = self._offset + np.cumsum(lengths)
        part.append("residues_offsets", ends, np.int64)
        self._offset = int(ends[-1])

    def commit(self) -> None:
        """Commit the rows that are waiting, if any."""
        if self._part is not None:
            part, self._part = self._part, None
            with part:
                part.commit(self._rows, {})


def write_skipped(space: SpaceBase, skipped: dict[bytes, str]) -> None:
    """Record keys that got no vector, with the reason; what is recorded with the same reason is left alone."""
    known = space.skipped
    new = {key: why for key, why in skipped.items() if known.get(key) != why}
    if not new:
        return
    with _part_writer(space, f"{SKIPPED}/{PARTS}", "skipped") as part:
        part.append("digests", np.frombuffer(b"".join(new), np.uint8).reshape(-1, 24), np.uint8)
        part.text("reasons").append([why.encode() for why in new.values()])
        part.commit(len(new), {})


def write_build(space: SpaceBase, ledger: dict[str, Any]) -> None:
    """Record a finished build: which data set parts it covered, and its counts."""
    with _part_writer(space, BUILDS, "build") as part:
        part.commit(0, ledger)
