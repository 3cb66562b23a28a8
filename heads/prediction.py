"""Predict labels of any proteins with a fitted head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedstore.batching import batched
from embedstore.errors import InputError, StoreNotFoundError
from embedstore.models import Model
from embedstore.sequences import read_records
from embedstore.store.spaces import Space
from embedstore.types import DIGEST_BYTES, Digests, Progress, ProgressCallback, Record, no_progress
from heads.catalog import HEADS
from heads.features import StoreLike, as_store, record_features, record_sequences
from heads.persist import FittedHead, FittedLike, as_fitted
from heads.streams import Float32

if TYPE_CHECKING:
    import pandas as pd

RecordsLike: TypeAlias = str | PathLike[str] | Iterable[Record]
"""A file of proteins, or records."""

_BATCH = 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """The most probable labels of each protein, in the order of the records.

    Attributes
    ----------
    ids
        Id of each protein.
    digests
        (N, 24) uint8 keys.
    labels
        (N, top), the most probable first.
    probabilities
        (N, top) float32.
    """

    ids: list[str]
    digests: Digests
    labels: NDArray[Any]
    probabilities: Float32

    def to_frame(self) -> pd.DataFrame:
        """A row a protein: id, label, probability; with ``top`` > 1 a row a label, and its rank from 1."""
        import pandas as pd

        n, top = self.labels.shape
        columns: dict[str, Any] = {"id": np.repeat(np.array(self.ids, dtype=object), top)}
        if top > 1:
            columns["rank"] = np.tile(np.arange(1, top + 1), n)
        columns |= {"label": self.labels.ravel(), "probability": self.probabilities.ravel()}
        return pd.DataFrame(columns)


def predict(
    fitted: FittedLike,
    records: RecordsLike,
    *,
    store: StoreLike = None,
    top: int = 1,
    model: Model | None = None,
    progress: ProgressCallback = no_progress,
) -> Predictions:
    """Label proteins; those that the store lacks are embedded on the way, and not stored.

    Parameters
    ----------
    fitted
        A fitted head, or its directory.
    records
        A file (FASTA, CSV, TSV, Parquet), or records.
    store
        Where to look for vectors before computing them; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``, if there
        is a store.
    top
        Labels a protein.
    model
        The model of the head's space, where it cannot be loaded by its name.
    progress
        Called after each batch, in records.

    Raises
    ------
    SpaceMismatchError
        If the model that is here does not make the vectors that the head was fitted on.
    InputError
        For ``top`` < 1.
    """
    if top < 1:
        raise InputError(f"top is {top}; expected at least 1.")
    chosen = as_fitted(fitted)
    reads_sequences = HEADS[chosen.head_name].reads == "sequences"
    space = None if reads_sequences else space_of(chosen, store)
    head = chosen.head
    top = min(top, len(head.classes_))
    ids: list[str] = []
    digests = [np.empty((0, DIGEST_BYTES), np.uint8)]
    labels = [np.empty((0, top), head.classes_.dtype)]
    probabilities = [np.empty((0, top), np.float32)]
    for batch in batched(open_records(records), _BATCH):
        features = record_sequences(batch) if space is None else record_features(space, batch, model=model)
        shares = head.predict_proba(features)
        # Stable, so that among equals the first class leads, as it does in `predict`.
        best = np.argsort(-shares, axis=1, kind="stable")[:, :top]
        ids += [record.id for record in batch]
        digests.append(features.digests if features.digests is not None else digests[0])
        labels.append(head.classes_[best])
        probabilities.append(np.take_along_axis(shares, best, axis=1))
        progress(Progress(stage="predict", done=len(ids), total=None, unit="records"))
    return Predictions(
        ids=ids,
        digests=np.concatenate(digests),
        labels=np.concatenate(labels),
        probabilities=np.concatenate(probabilities),
    )


def open_records(records: RecordsLike) -> Iterable[Record]:
    """Records as they are; a path is read."""
    return read_records(Path(records)) if isinstance(records, str | PathLike) else records


def space_of(fitted: FittedHead, store: StoreLike) -> Space:
    """The head's space in a store, or one of which nothing is stored."""
    try:
        opened = as_store(store)
    except StoreNotFoundError:
        if store is not None:
            raise
        opened = None
    if opened is not None and fitted.space_id in opened.spaces():
        return opened.space(fitted.space_id)
    return Space(fitted.space_identity)
