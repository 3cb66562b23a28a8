"""Where a head reads its rows: vectors of a space, the residues themselves, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.store.spaces import ResidueSpace, Space
from embedstore.store.store import Store
from heads.features.base import SequenceFeatures, VectorAndSequenceFeatures
from heads.features.load import SplitData, load_examples, task_space
from heads.features.sequences import PairSequences, ResidueSequences
from heads.features.vectors import has_vector
from heads.tasks.data import TaskData

SEQUENCES = "sequences"
"""Name of the source of heads that read residues."""

BOTH = "both"
"""What a head reads that is made of heads on vectors and of heads on sequences."""


class Source(Protocol):
    """Anything that gives a head the rows of a task."""

    @property
    def id(self) -> str:
        """The space's id, or `SEQUENCES`."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides the rows, of a space; empty for residues."""
        ...

    def present(self, data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of (n,) rows of the task it has, (n,) bool."""
        ...

    def rows(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitData:
        """Those rows that it has, with their targets."""
        ...


class VectorSource:
    """The vectors of a space."""

    def __init__(self, space: Space | ResidueSpace) -> None:
        self.space = space

    @property
    def id(self) -> str:
        """The space's id."""
        return str(self.space.id)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The space's identity."""
        return self.space.identity

    def present(self, data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows that the build did not skip; StoreError for rows that were never embedded."""
        present = has_vector(self.space, data.digests[rows], source=data.source)
        if data.partners is not None:
            present &= has_vector(self.space, data.partners[rows], source=data.partner_source)
        return present

    def rows(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitData:
        """Vectors and targets."""
        return load_examples(self.space, data, rows, what=what)


class SequenceSource:
    """The sequences of the task: nothing has to be built first."""

    id = SEQUENCES
    identity: Mapping[str, Any] = MappingProxyType({})

    def present(self, data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """All of them."""
        return np.ones(len(rows), np.bool_)

    def rows(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitData:
        """Residues and targets."""
        texts = [residues.decode("ascii") for residues in data.residues(rows)]
        features: SequenceFeatures
        if data.input == "residue":
            _require_labels(data, rows, texts)
            features = ResidueSequences(texts)
        elif data.partner_residues is not None:
            partners = [residues.decode("ascii") for residues in data.partner_residues(rows)]
            features = PairSequences(texts, data.keys[rows], partners=partners)
        else:
            features = SequenceFeatures(texts, data.digests[rows])
        return SplitData(features=features, y=data.targets(rows), rows=rows, n_without_vector=0)


class VectorsAndSequences(VectorSource):
    """The vectors of a space, and beside each the residues of its protein."""

    def rows(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitData:
        """Vectors, residues and targets."""
        found = super().rows(data, rows, what=what)
        texts = [residues.decode("ascii") for residues in data.residues(found.rows)]
        sequences = SequenceFeatures(texts, data.digests[found.rows])
        return replace(found, features=VectorAndSequenceFeatures(found.features, sequences))


def _require_labels(data: TaskData, rows: NDArray[np.int64], texts: Sequence[str]) -> None:
    for row, text in zip(rows.tolist(), texts, strict=True):
        if len(data.labels[row]) != len(text):
            raise InputError(
                f"{data.ids[row]!r} of {data.source} has {len(text):,} residues and {len(data.labels[row]):,} labels "
                f"in column {data.label_column!r}; expected one letter a residue. Correct that row or leave it empty."
            )


def source_of(store: Store | None, data: TaskData, space: str | None = None, *, reads: str = "vectors") -> Source:
    """Where a head gets the rows of a task.

    Parameters
    ----------
    store
        None where none is needed: for a head that reads the sequences of a file.
    data
        The task.
    space
        Space id or model name; None where there is one space.
    reads
        What the head reads: see `heads.catalog.HeadSpec`.

    Raises
    ------
    StoreError
        If a task on residues finds no residue vectors; the message has the command that makes them.
    InputError
        If a space is named for a head that reads sequences.
    """
    if reads != SEQUENCES:
        if store is None:
            raise TypeError("A head that reads vectors needs a store.")
        return (VectorsAndSequences if reads == BOTH else VectorSource)(task_space(store, data, space))
    if space is not None:
        raise InputError(f"This head reads sequences and needs no space; {space!r} was named. Leave it out.")
    return SequenceSource()
