"""Where a head reads its rows: vectors of a space, or the residues themselves."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.store.spaces import ResidueSpace, Space
from embedstore.store.store import Store
from heads.features import with_vectors
from heads.inputs import SplitRows, rows_of
from heads.streams import SequenceFeatures
from heads.tasks.base import TaskData

SEQUENCES = "sequences"
"""Name of the source of heads that read residues."""


class Source(Protocol):
    """Anything that gives a head the rows of a task."""

    @property
    def name(self) -> str:
        """What it is called in a table."""
        ...

    def present(self, data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of (n,) rows of the task it has, (n,) bool."""
        ...

    def rows(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitRows:
        """Those rows that it has, with their targets."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is, for JSON."""
        ...


class Vectors:
    """The vectors of a space."""

    def __init__(self, space: Space | ResidueSpace) -> None:
        self.space = space

    @property
    def name(self) -> str:
        """The space's id."""
        return str(self.space.id)

    def present(self, data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows that the build did not skip; StoreError for rows that were never embedded."""
        present = with_vectors(self.space, data.digests[rows], source=data.source)
        if data.partners is not None:
            present &= with_vectors(self.space, data.partners[rows], source=data.partner_source)
        return present

    def rows(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitRows:
        """Vectors and targets."""
        return rows_of(self.space, data, rows, what=what)

    def describe(self) -> dict[str, Any]:
        """Its id and identity."""
        return {"id": self.space.id, "identity": dict(self.space.identity)}


class Residues:
    """The sequences that the store keeps."""

    name = SEQUENCES

    def __init__(self, store: Store) -> None:
        self._sequences = store.sequences

    def present(self, data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """All of them: StoreError names a sequence that the store lacks."""
        return np.ones(len(rows), np.bool_)

    def rows(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitRows:
        """Residues and targets."""
        if data.input != "protein":
            raise InputError(f"{data.name} is a task on {data.input}s; heads that read sequences take whole proteins.")
        digests = data.digests[rows]
        texts = [residues.decode() for residues in self._sequences.take(digests)]
        return SplitRows(features=SequenceFeatures(texts, digests), y=data.targets(rows), rows=rows, n_without_vector=0)

    def describe(self) -> dict[str, Any]:
        """Its name."""
        return {"id": self.name}
