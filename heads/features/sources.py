"""The examples of a task or of any records, as a head reads them: vectors of a space, sequences, or both."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedstore.embedding.query import embed_records
from embedstore.embedding.windows import LongSequencePolicy
from embedstore.errors import InputError, StoreError, StoreNotFoundError
from embedstore.models import Model
from embedstore.sequences import digest, key_text
from embedstore.store.keys import as_digests
from embedstore.store.spaces import ResidueSpace, Space, SpaceBase
from embedstore.store.store import Store, open_store
from embedstore.types import RESIDUES, Digests, Record
from heads.features.base import ArrayFeatures, Features, SequenceFeatures, VectorAndSequenceFeatures
from heads.features.residues import ResidueFeatures
from heads.features.sequences import PairSequences, ResidueSequences
from heads.features.vectors import PairFeatures, SpaceFeatures
from heads.tasks.data import MASKED, TaskData, spread_letters
from heads.tasks.pairing import parse_pairing

SEQUENCES = "sequences"
"""Name of the source of heads that read residues."""

BOTH = "both"
"""What a head reads that combines heads on vectors and heads on sequences."""

StoreLike: TypeAlias = Store | str | PathLike[str] | None
"""An open store, its path, or None for ``$EMBEDSTORE``, else ``./embedstore.zarr``."""


def as_store(store: StoreLike) -> Store:
    """An open store; a path is opened."""
    return store if isinstance(store, Store) else open_store(store)


def store_if_any(store: StoreLike) -> Store | None:
    """The store; None where none is named and there is none at the default path, for heads that read sequences."""
    try:
        return as_store(store)
    except StoreNotFoundError:
        if store is not None or os.environ.get("EMBEDSTORE"):
            raise
        return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitData:
    """Rows of a split that have vectors.

    Attributes
    ----------
    features
        Their vectors; for residues a row each, those of protein p at ``features.offsets[p]:features.offsets[p + 1]``.
    y
        Their targets, as `heads.base.Head.fit` takes them.
    rows
        (n,) int64: which rows of the task they are; for residues the proteins.
    n_without_vector
        Rows of the split that the build skipped.
    """

    features: Features
    y: Any
    rows: NDArray[np.int64]
    n_without_vector: int


class Source(Protocol):
    """Gives a head the examples of a task."""

    @property
    def id(self) -> str:
        """The space's id, or `SEQUENCES`."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """The identity of a space; empty for sequences."""
        ...

    def available(self, data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of (n,) rows of the task have an example, (n,) bool."""
        ...

    def examples(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitData:
        """The examples of those rows that have one, with their targets."""
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

    def available(self, data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Rows that the build did not skip; StoreError for rows that were never embedded."""
        available = has_vector(self.space, data.digests[rows], source=data.source)
        if data.partners is not None:
            available &= has_vector(self.space, data.partners[rows], source=data.partner_source)
        return available

    def examples(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitData:
        """Vectors and targets; InputError if the build skipped all of these rows."""
        available = self.available(data, rows)
        if not available.any():
            raise InputError(
                f"No {what} of {data.source} has a vector in space {self.space.id}: the build skipped them all."
            )
        embedded = rows[available]
        features, y = _features(self.space, data, embedded)
        return SplitData(features=features, y=y, rows=embedded, n_without_vector=len(rows) - len(embedded))


class SequenceSource:
    """The sequences of the task; no store is needed."""

    id = SEQUENCES
    identity: Mapping[str, Any] = MappingProxyType({})

    def available(self, data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """All of them."""
        return np.ones(len(rows), np.bool_)

    def examples(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitData:
        """Residues and targets."""
        texts = _texts(data.residues(rows))
        features: SequenceFeatures
        if data.input == "residue":
            _require_labels(data, rows, texts)
            features = ResidueSequences(texts)
        elif data.partner_residues is not None:
            features = PairSequences(texts, data.keys[rows], partners=_texts(data.partner_residues(rows)))
        else:
            features = SequenceFeatures(texts, data.digests[rows])
        return SplitData(features=features, y=data.targets(rows), rows=rows, n_without_vector=0)


class VectorsAndSequences(VectorSource):
    """The vectors of a space, each with the sequence of its protein."""

    def examples(self, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitData:
        """Vectors, residues and targets."""
        examples = super().examples(data, rows, what=what)
        sequences = SequenceFeatures(_texts(data.residues(examples.rows)), data.digests[examples.rows])
        return replace(examples, features=VectorAndSequenceFeatures(examples.features, sequences))


def _texts(sequences: Sequence[bytes]) -> list[str]:
    return [residues.decode("ascii") for residues in sequences]


def _require_labels(data: TaskData, rows: NDArray[np.int64], texts: Sequence[str]) -> None:
    for row, text in zip(rows.tolist(), texts, strict=True):
        if len(data.labels[row]) != len(text):
            raise InputError(
                f"{data.ids[row]!r} of {data.source} has {len(text):,} residues and {len(data.labels[row]):,} labels "
                f"in column {data.label_column!r}; expected one letter a residue. Correct that row or leave it empty."
            )


def get_source(store: Store | None, data: TaskData, space: str | None = None, *, reads: str = "vectors") -> Source:
    """The source of a task's examples for a head.

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


def task_space(store: Store, data: TaskData, name: str | None = None) -> Space | ResidueSpace:
    """The space whose vectors a task needs: of matrices where its rows are residues.

    Raises
    ------
    StoreError
        If a task on residues finds no residue vectors; the message has the command that makes them.
    """
    if data.input != "residue":
        return store.space(name)
    if not any(isinstance(store.any_space(space), ResidueSpace) for space in store.spaces()):
        raise StoreError(
            f"{data.name} is a task on residues, and the store at {store.path} has no residue vectors. Make them: "
            f"`embedstore build --model NAME --residues {data.source}`."
        )
    return store.residue_space(name)


def _features(space: Space | ResidueSpace, data: TaskData, rows: NDArray[np.int64]) -> tuple[Features, Any]:
    if isinstance(space, ResidueSpace):
        if data.input != "residue":
            raise InputError(
                f"{data.name} needs one vector a {data.input}; {space.id} has one a residue. Name another."
            )
        residues = ResidueFeatures.from_keys(space, data.digests[rows])
        return residues, _residue_labels(data, rows, residues)
    if data.input == "residue":
        raise InputError(f"{data.name} needs a vector for each residue; {space.id} has one a protein. Name another.")
    if data.partners is None:
        return SpaceFeatures(space, data.digests[rows]), data.targets(rows)
    pairing = parse_pairing(data.pairing)
    return PairFeatures(space, data.digests[rows], data.partners[rows], pairing), data.targets(rows)


def _residue_labels(data: TaskData, rows: NDArray[np.int64], features: ResidueFeatures) -> NDArray[np.str_]:
    """A letter a residue, (sum of lengths,), empty where there is no label.

    Raises
    ------
    InputError
        If a protein has more or fewer labels than residues; those that a space cut off are no reason.
    """
    texts = [str(text) for text in data.labels[rows]]
    stated = features.space.identity.get("long")
    policy = LongSequencePolicy.parse(str(stated)) if stated else None
    cut = policy.limit if policy and policy.kind == "truncate" else None
    for position, (text, length) in enumerate(zip(texts, np.diff(features.offsets).tolist(), strict=True)):
        if len(text) > length == cut:
            texts[position] = text[:cut]
        elif len(text) != length:
            raise InputError(
                f"{data.ids[rows[position]]!r} of {data.source} has {length:,} residues and {len(text):,} labels in "
                f"column {data.label_column!r}; expected one letter a residue. Correct that row or leave it empty."
            )
    return spread_letters(texts, MASKED)


def has_vector(space: SpaceBase, digests: Digests, *, source: str) -> NDArray[np.bool_]:
    """Which keys have a vector, (N,) bool; a key may lack one only if the build skipped it and said why.

    Parameters
    ----------
    space
        Where to look.
    digests
        (N, 24) uint8.
    source
        What the keys belong to, for the message: a data set's name or a path.

    Raises
    ------
    StoreError
        If keys were never embedded; the message has the command that does it.
    """
    present = space.find(digests) >= 0
    absent = digests[~present]
    if len(absent):
        skipped = space.skipped
        missing = [key for key in absent if key.tobytes() not in skipped]
        if missing:
            residues = " --residues" if space.pooling == RESIDUES else ""
            how = f"Embed them: `embedstore build --model {space.identity['model']}{residues} {source}`."
            if space.is_imported:
                how = f"The space was imported: `embedstore import FILE --dataset NAME --into {space.id}` adds to it."
            raise StoreError(
                f"{len(missing):,} of the {len(digests):,} rows of {source} have no vector in space {space.id} "
                f"(first: {key_text(missing[0].tobytes())}). {how}"
            )
    return present


def record_keys(records: Sequence[Record]) -> Digests:
    """Key of each record, (n, 24) uint8."""
    return as_digests([digest(record.residues) for record in records])


def record_features(space: Space, records: Sequence[Record], *, model: Model | None = None) -> ArrayFeatures:
    """Vectors of some records, each distinct sequence looked up or embedded once.

    Parameters
    ----------
    space
        Whose vectors to give.
    records
        Any records, of the store or not.
    model
        The model that made the space, where it cannot be loaded by its name.

    Raises
    ------
    SpaceMismatchError
        If the installed model is not the one that made the space.
    """
    keys = record_keys(records)
    distinct, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    # In the order of the records: where a vector is computed, its neighbours in the batch are then the same ones
    # whatever the keys are.
    order = np.argsort(first)
    vectors = embed_records(space, [records[row] for row in first[order]], model=model)
    position = np.empty(len(distinct), np.int64)
    position[order] = np.arange(len(distinct))
    return ArrayFeatures(vectors[position[inverse.ravel()]], keys)
