"""Vectors by key, streamed from a space; and of any records, computed where the space has none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedstore.embedding.query import embed_records
from embedstore.errors import StoreError, StoreNotFoundError
from embedstore.models import Model
from embedstore.sequences import digest, key_text
from embedstore.store.keys import as_digests
from embedstore.store.spaces import Space, SpaceBase
from embedstore.store.store import Store, open_store
from embedstore.types import RESIDUES, Digests, Record
from heads.features.base import BLOCK_ROWS, ArrayFeatures, Float32, Rows, shuffled

StoreLike: TypeAlias = Store | str | PathLike[str] | None
"""An open store, its path, or None for ``$EMBEDSTORE``, else ``./embedstore.zarr``."""


def as_store(store: StoreLike) -> Store:
    """An open store; a path is opened."""
    return store if isinstance(store, Store) else open_store(store)


def store_if_any(store: StoreLike) -> Store | None:
    """The store; None where none is named and none stands at the usual place: who reads sequences needs none."""
    try:
        return as_store(store)
    except StoreNotFoundError:
        if store is not None or os.environ.get("EMBEDSTORE"):
            raise
        return None


@dataclass(frozen=True, slots=True, eq=False)
class SpaceFeatures:
    """Vectors of given keys, streamed from a space in the order of the keys.

    Parameters
    ----------
    space
        Where the vectors are.
    digests
        (N, 24) uint8, each with a vector in `space`.
    """

    space: Space
    digests: Digests

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        return len(self.digests), self.space.dim

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield slices of rows and their vectors as float32."""
        for start in range(0, len(self.digests), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(self.digests)))
            yield rows, np.asarray(self.space.take(self.digests[rows]), np.float32)

    @property
    def offsets(self) -> None:
        """None: a row is a protein."""
        return

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row once in random order, `n_rows` at a time."""
        for rows in shuffled(len(self.digests), n_rows, seed=seed):
            yield rows, np.asarray(self.space.take(self.digests[rows]), np.float32)

    def select(self, rows: Rows) -> SpaceFeatures:
        """Some of the rows, in the order given."""
        return SpaceFeatures(self.space, self.digests[rows])


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
        If the model that is here is not the one that made the space.
    """
    digests = record_keys(records)
    distinct, first, back = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    # In the order of the records: where a vector is computed, its neighbours in the batch are then the same ones
    # whatever the keys are.
    order = np.argsort(first)
    vectors = embed_records(space, [records[row] for row in first[order]], model=model)
    position = np.empty(len(distinct), np.int64)
    position[order] = np.arange(len(distinct))
    return ArrayFeatures(vectors[position[back.ravel()]], digests)
