"""Rows of a task as fine-tuning reads them: proteins, residues of whole proteins, pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.sequences import digest, read_records
from embedstore.store.store import Store
from heads.base import Float32
from heads.leakage import is_among
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SequenceRows:
    """Sequences of some rows of a task, and their targets.

    Attributes
    ----------
    features
        The sequences.
    y
        The targets, as `heads.base.Head.fit` takes them.
    rows
        (n,) int64: which rows of the task they are; for residues the proteins.
    """

    features: SequenceFeatures
    y: Any
    rows: Rows


def sequence_rows(store: Store, data: TaskData, selection: TaskSelection, split: str) -> SequenceRows | None:
    """The sequences and targets of a split; None for a validation split that has no row.

    Residues have no key: validation proteins that stand in the training rows too are left out here.

    Raises
    ------
    InputError
        If the split has no row, or a protein has not one label a residue.
    StoreError
        If the store lacks a sequence.
    """
    if split == "valid" and not len(data.splits["valid"]):
        return None
    rows = data.rows(split)
    if split == "valid" and data.input == "residue":
        rows = rows[~is_among(data.digests[rows], data.digests[data.splits["train"]])]
        if not len(rows):
            return None
    keys = [data.digests[rows]] if data.partners is None else [data.digests[rows], data.partners[rows]]
    texts = _texts(store, data, selection, keys)
    if data.input == "residue":
        _require_labels(data, rows, texts[0])
        return SequenceRows(features=ResidueSequences(texts[0]), y=data.targets(rows), rows=rows)
    if len(texts) == 2:
        features: SequenceFeatures = PairSequences(texts[0], data.keys[rows], partners=texts[1])
    else:
        features = SequenceFeatures(texts[0], data.digests[rows])
    return SequenceRows(features=features, y=data.targets(rows), rows=rows)


def _require_labels(data: TaskData, rows: Rows, texts: Sequence[str]) -> None:
    for row, text in zip(rows.tolist(), texts, strict=True):
        if len(data.labels[row]) != len(text):
            raise InputError(
                f"{data.ids[row]!r} of {data.source} has {len(text):,} residues and {len(data.labels[row]):,} labels "
                f"in column {data.label_column!r}; expected one letter a residue. Correct that row or leave it empty."
            )


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
