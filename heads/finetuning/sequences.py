"""Rows of a task as fine-tuning reads them: proteins, residues of whole proteins, pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.sequences import digest, read_records
from embedstore.store.store import Store
from heads.base import Float32
from heads.streams import FeaturesLike, Rows, SequenceFeatures, as_features, shuffled
from heads.tasks.base import TaskData, TaskSelection


@dataclass(frozen=True, slots=True, eq=False)
class PairSequences(SequenceFeatures):
    """Pairs of proteins; ``residues`` are those of the first ones.

    Parameters
    ----------
    partners
        (N,) texts: the second protein of each pair.
    """

    partners: Sequence[str] = ()

    def select(self, rows: Rows) -> PairSequences:
        """Some of the pairs, in the order given."""
        return PairSequences(
            [self.residues[row] for row in rows.tolist()],
            None if self.digests is None else self.digests[rows],
            self.block_rows,
            [self.partners[row] for row in rows.tolist()],
        )


@dataclass(frozen=True, slots=True, eq=False)
class ResidueSequences(SequenceFeatures):
    """The residues of whole proteins, a row each; ``residues`` has a text a protein, and no key is handed out."""

    @property
    def shape(self) -> tuple[int, int]:
        """Residues of all proteins, and no dimensions."""
        return int(self.offsets[-1]), 0

    @property
    def offsets(self) -> NDArray[np.int64]:  # type: ignore[override]
        """(P + 1,) int64: where each protein starts."""
        lengths = [0, *(len(text) for text in self.residues)]
        return np.cumsum(lengths).astype(np.int64)

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield the rows of each protein, and (L, 0) vectors."""
        offsets = self.offsets.tolist()
        for start, stop in pairwise(offsets):
            yield slice(start, stop), np.empty((stop - start, 0), np.float32)

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield the rows of each protein, in random order."""
        offsets = self.offsets
        for proteins in shuffled(len(self.residues), 1, seed=seed):
            start, stop = int(offsets[proteins[0]]), int(offsets[proteins[0] + 1])
            yield np.arange(start, stop), np.empty((stop - start, 0), np.float32)

    def select(self, rows: Rows) -> ResidueSequences:
        """Refused: a residue has no state without its protein.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError("Single residues were asked for; fine-tuning needs whole proteins. Select proteins.")


def input_of(X: FeaturesLike) -> str:
    """What the rows are: ``"protein"``, ``"residue"`` or ``"pair"``.

    Raises
    ------
    InputError
        For vectors.
    """
    features = as_features(X)
    if isinstance(features, PairSequences):
        return "pair"
    if isinstance(features, ResidueSequences):
        return "residue"
    if isinstance(features, SequenceFeatures):
        return "protein"
    raise InputError(
        f"Fine-tuning reads sequences, and X holds vectors of {features.shape[1]} dimensions. Give it the residues of "
        "each protein."
    )


def sequence_rows(store: Store, data: TaskData, selection: TaskSelection, split: str) -> SequenceFeatures:
    """The sequences of a split of a task.

    Raises
    ------
    InputError
        If the split has no row.
    StoreError
        If the store lacks a sequence.
    """
    rows = data.rows(split)
    if data.input == "pair" and data.partners is not None:
        first, second = _texts(store, data, selection, [data.digests[rows], data.partners[rows]])
        keys = getattr(data, "keys", data.digests)
        return PairSequences(first, keys[rows], partners=second)
    (texts,) = _texts(store, data, selection, [data.digests[rows]])
    if data.input == "residue":
        return ResidueSequences(texts)
    return SequenceFeatures(texts, data.digests[rows])


def _texts(
    store: Store, data: TaskData, selection: TaskSelection, keys: Sequence[NDArray[np.uint8]]
) -> list[list[str]]:
    """The residues of some keys: from the labelled file where the task is one, else from the store."""
    if selection.labels is None:
        return [[residues.decode("ascii") for residues in store.sequences.take(some)] for some in keys]
    path = Path(data.source)
    records = read_records(path, id_column=selection.id_column, sequence_column=selection.sequence_column)
    known = {digest(record.residues): record.residues.decode("ascii") for record in records}
    missing = [key for some in keys for key in map(bytes, some) if key not in known]
    if missing:
        raise InputError(
            f"{len(missing):,} proteins of {path} are not among its sequences any more: the file changed while it was "
            "read. Start again."
        )
    return [[known[bytes(key)] for key in some] for some in keys]
