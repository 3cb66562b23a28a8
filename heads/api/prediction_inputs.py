"""Proteins that are asked about, as the rows that a fitted head takes: vectors, residues, pairs, sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from embedstore.embedding.embedder import Embedder, embed_batches, is_storable
from embedstore.embedding.query import check_model, load_space_model, long_policy_of
from embedstore.errors import InputError, NonFiniteError, SequenceError
from embedstore.models import Model
from embedstore.sequences import normalise
from embedstore.sequences.batching import plan_batches
from embedstore.store.spaces import ResidueSpace, Space
from embedstore.types import Digests, Record, Vectors
from heads.api.load import FittedHead
from heads.catalog import HEADS
from heads.features.base import Features, SequenceFeatures, VectorAndSequenceFeatures
from heads.features.residues import ResidueFeatures
from heads.features.sequences import PairSequences, ResidueSequences
from heads.features.sources import BOTH, record_features, record_keys
from heads.features.vectors import PairFeatures
from heads.tasks.catalog import TASKS
from heads.tasks.keys import sortable_keys
from heads.tasks.pairing import ORDERED, parse_pairing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictionRows:
    """Rows of a batch of records.

    Attributes
    ----------
    features
        A row a protein or a pair; a row a residue where residues are predicted.
    digests
        (n, 24) uint8 key of each record's protein; of a pair the first.
    lengths
        (n,) int64: rows of each record.
    """

    features: Features
    digests: Digests
    lengths: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Vectors in memory that are found by key, as those of a space are."""

    digests: Digests
    vectors: list[Vectors] | Vectors
    dim: int

    def take(self, digests: Digests) -> list[Vectors] | Vectors:
        """Vectors, or matrices, of keys."""
        known = sortable_keys(self.digests)
        order = np.argsort(known)
        place = order[np.searchsorted(known[order], sortable_keys(digests))]
        return [self.vectors[row] for row in place.tolist()] if isinstance(self.vectors, list) else self.vectors[place]


def prediction_rows(
    fitted: FittedHead, space: Space | ResidueSpace | None, records: Sequence[Record], *, model: Model | None = None
) -> PredictionRows:
    """Rows of some records; vectors that the space lacks are made.

    Raises
    ------
    SpaceMismatchError
        If the model that is here is not the one that made the space.
    InputError
        For a pair without its second sequence, or a protein that is too long for the space.
    """
    digests = record_keys(records)
    ones = np.ones(len(records), np.int64)
    if space is None:
        return _sequences(fitted, records, digests)
    if isinstance(space, ResidueSpace):
        return _residue_rows(space, records, digests, model)
    column = partner_column(fitted)
    if column is None:
        features: Features = record_features(space, records, model=model)
        if HEADS[fitted.head_name].reads == BOTH:
            texts = [record.residues.decode("ascii") for record in records]
            features = VectorAndSequenceFeatures(features, SequenceFeatures(texts, digests))
        return PredictionRows(features=features, digests=digests, lengths=ones)
    partners = [_partner(record, column) for record in records]
    other = record_keys(partners)
    both = record_features(space, [*records, *partners], model=model)
    keys = np.concatenate([digests, other])
    held = _Held(keys, both.vectors, space.dim)
    features = PairFeatures(cast(Space, held), digests, other, parse_pairing(_pairing(fitted)))
    return PredictionRows(features=features, digests=digests, lengths=ones)


def _sequences(fitted: FittedHead, records: Sequence[Record], digests: Digests) -> PredictionRows:
    """The same for a head that reads sequences."""
    texts = [record.residues.decode() for record in records]
    ones = np.ones(len(records), np.int64)
    if (column := partner_column(fitted)) is not None:
        partners = [_partner(record, column).residues.decode() for record in records]
        return PredictionRows(features=PairSequences(texts, digests, partners=partners), digests=digests, lengths=ones)
    if fitted.head.settings().get("input") == "residue":
        lengths = np.array([len(text) for text in texts], np.int64)
        return PredictionRows(features=ResidueSequences(texts), digests=digests, lengths=lengths)
    return PredictionRows(features=SequenceFeatures(texts, digests), digests=digests, lengths=ones)


def partner_column(fitted: FittedHead) -> str | None:
    """Column of the second protein of a head on pairs, else None."""
    named = fitted.task.get("partner_column")
    if named is not None:
        return str(named)
    task = str(fitted.task.get("task"))
    return TASKS[task].partner_column if task in TASKS and TASKS[task].input == "pair" else None


def _pairing(fitted: FittedHead) -> str:
    named, task = fitted.task.get("pairing"), str(fitted.task.get("task"))
    return str(named or (TASKS[task].pairing if task in TASKS else None) or ORDERED)


def _partner(record: Record, column: str) -> Record:
    text = record.columns.get(column, "")
    try:
        residues = normalise(text.encode()).residues
    except SequenceError as error:
        raise InputError(f"{record.id!r}, column {column!r}: {error}") from error
    if not residues:
        raise InputError(
            f"{record.id!r} has no second sequence; this head predicts pairs and reads it from column {column!r} "
            "(CSV, TSV or Parquet)."
        )
    return Record(id=record.id, residues=residues)


def _residue_rows(
    space: ResidueSpace, records: Sequence[Record], digests: Digests, model: Model | None
) -> PredictionRows:
    distinct, first = np.unique(digests, axis=0, return_index=True)
    is_stored = space.find(distinct) >= 0
    matrices: list[Vectors] = [np.empty((0, space.dim), space.dtype)] * len(distinct)
    for row, matrix in zip(np.flatnonzero(is_stored).tolist(), space.take(distinct[is_stored]), strict=True):
        matrices[row] = matrix
    missing = np.flatnonzero(~is_stored)
    if len(missing):
        made = _embedded(space, [records[first[row]] for row in missing.tolist()], model)
        for row, matrix in zip(missing.tolist(), made, strict=True):
            matrices[row] = matrix
    held = _Held(distinct, matrices, space.dim)
    lengths = np.array([len(matrix) for matrix in cast(list[Vectors], held.take(digests))], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    features = ResidueFeatures(cast(ResidueSpace, held), digests, offsets)
    return PredictionRows(features=features, digests=digests, lengths=lengths)


def _embedded(space: ResidueSpace, records: Sequence[Record], model: Model | None) -> list[Vectors]:
    """Matrices of proteins that the space lacks, (L, D) each."""
    as_space = cast(Space, space)
    if model is None:
        model = load_space_model(as_space)
    else:
        check_model(as_space, model)
    embedder = Embedder(model, [space.pooling], long_policy_of(space))
    lengths = np.array([len(record.residues) for record in records], np.int64)
    too_long = np.array([embedder.exceeds_limit(length) for length in lengths.tolist()])
    if too_long.any() and embedder.long.kind != "window":
        longest = int(lengths.argmax())
        raise InputError(
            f"{records[longest].id!r} has {lengths[longest]:,} residues; space {space.id} takes at most "
            f"{embedder.long.limit:,} ({embedder.long}). Leave it out, or ask about parts of it."
        )
    together = np.flatnonzero(~too_long)
    batches = [together[batch] for batch in plan_batches(lengths[together], budget=model.batch_residues)]
    groups = [*np.flatnonzero(too_long)[:, None], *batches]
    out: list[Vectors] = [np.empty((0, space.dim), space.dtype)] * len(records)
    sequences = [[records[row].residues for row in group.tolist()] for group in groups]
    for group, outputs in zip(groups, embed_batches(embedder, sequences), strict=True):
        for row, matrix in zip(group.tolist(), outputs[space.pooling], strict=True):
            if not is_storable(matrix, space.dtype.name).all():
                raise NonFiniteError(f"The vectors of {records[row].id!r} are not finite or zero. Leave it out.")
            out[row] = matrix.astype(space.dtype)
    return out
