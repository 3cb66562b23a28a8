"""Predict any proteins with a fitted head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedstore.catalog import suggest_arguments
from embedstore.errors import InputError, StoreNotFoundError
from embedstore.models import Model
from embedstore.sequences import read_records
from embedstore.sequences.batching import batched
from embedstore.store.spaces import ResidueSpace, Space, make_space
from embedstore.types import RESIDUES, Progress, ProgressCallback, Record, null_progress
from heads.api.load import FittedHead, FittedLike, as_fitted
from heads.api.prediction_inputs import PredictionRows, partner_column, prediction_rows
from heads.api.predictions import Predictions, join
from heads.base import Head, has_prediction
from heads.calibration.risk_control import CONFIDENCE, RiskThreshold
from heads.features.base import Float32
from heads.features.sources import SEQUENCES, StoreLike, as_store

RecordsLike: TypeAlias = str | PathLike[str] | Iterable[Record]
"""A file of proteins, or records."""

UNANSWERED = "?"
"""Stands for the letter of a residue that is not answered."""

_BATCH = 1024


@suggest_arguments
def predict(
    store: StoreLike,
    head: FittedLike,
    records: RecordsLike,
    *,
    top: int = 1,
    max_error: float | None = None,
    confidence: float = CONFIDENCE,
    model: Model | None = None,
    progress: ProgressCallback = null_progress,
) -> Predictions:
    """Predict proteins; those that the store lacks are embedded on the way, and not stored.

    Parameters
    ----------
    store
        Where to look for vectors before computing them; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``, if there
        is a store.
    head
        A fitted head, or its directory.
    records
        A file (FASTA, CSV, TSV, Parquet), or records. For a head on pairs the second sequence is in a column.
    top
        Labels a protein, for a head that gives one.
    max_error
        Abstain on uncertain proteins so that, with the stated confidence, at most this share of the predictions is
        wrong. It is estimated on the validation split, and holds on average over proteins like those.
    confidence
        Of that guarantee.
    model
        The model of the head's space, where it cannot be loaded by its name.
    progress
        Called after each batch, in records.

    Raises
    ------
    SpaceMismatchError
        If the model that is here does not make the vectors that the head was fitted on.
    InputError
        For ``top`` < 1, or an error rate that the validation rows are too few to guarantee.
    """
    fitted = as_fitted(head)
    parts = predict_batches(
        store,
        fitted,
        records,
        top=top,
        max_error=max_error,
        confidence=confidence,
        model=model,
        progress=progress,
    )
    return join([_predicted(fitted, None, [], top, risk_threshold_of(fitted, max_error, confidence)), *parts])


@suggest_arguments
def predict_batches(
    store: StoreLike,
    head: FittedLike,
    records: RecordsLike,
    *,
    top: int = 1,
    max_error: float | None = None,
    confidence: float = CONFIDENCE,
    model: Model | None = None,
    progress: ProgressCallback = null_progress,
) -> Iterator[Predictions]:
    """As `predict`, a batch at a time: for more proteins than fit into memory."""
    if top < 1:
        raise InputError(f"top is {top}; expected at least 1.")
    fitted = as_fitted(head)
    risk = risk_threshold_of(fitted, max_error, confidence)
    space = space_of(fitted, store)
    return _batches(fitted, open_records(records), space, top, risk, model, progress)


def risk_threshold_of(
    fitted: FittedHead, max_error: float | None, confidence: float = CONFIDENCE
) -> RiskThreshold | None:
    """The probability below which the head abstains; None without an error rate.

    Raises
    ------
    InputError
        If there are no validation rows, or too few.
    """
    if max_error is None:
        return None
    if fitted.validation is None:
        raise InputError(
            f"An error of at most {max_error:g} cannot be guaranteed: this head was fitted without validation rows. "
            "Fit one with them, or leave max_error out (max_error=, --max-error)."
        )
    return fitted.validation.risk_threshold(max_error, confidence)


def open_records(records: RecordsLike) -> Iterable[Record]:
    """Records as they are; a path is read."""
    return read_records(Path(records)) if isinstance(records, str | PathLike) else records


def space_of(fitted: FittedHead, store: StoreLike) -> Space | None:
    """The head's space in a store, or one of which nothing is stored; None for a head that reads sequences."""
    if fitted.space_id == SEQUENCES:
        return None
    try:
        opened = as_store(store)
    except StoreNotFoundError:
        if store is not None:
            raise
        opened = None
    if opened is not None and fitted.space_id in opened.spaces():
        space = opened.any_space(fitted.space_id)
    else:
        space = make_space(fitted.space_identity)
    # What asks about residues looks at the type.
    return space  # type: ignore[return-value]


def _batches(
    fitted: FittedHead,
    records: Iterable[Record],
    space: Space | ResidueSpace | None,
    top: int,
    risk: RiskThreshold | None,
    model: Model | None,
    progress: ProgressCallback,
) -> Iterator[Predictions]:
    done = 0
    for batch in batched(records, _BATCH):
        rows = prediction_rows(fitted, space, batch, model=model)
        yield _predicted(fitted, rows, [record.id for record in batch], top, risk)
        done += len(batch)
        progress(Progress(stage="predict", done=done, total=None, unit="records"))


def _predicted(
    fitted: FittedHead, rows: PredictionRows | None, ids: list[str], top: int, risk: RiskThreshold | None
) -> Predictions:
    """Predictions of a batch; with no rows those of nothing, whose arrays have their types."""
    head = fitted.head
    digests = np.empty((0, 24), np.uint8) if rows is None else rows.digests
    shares = np.zeros((0, head.n_outputs), np.float32)
    if rows is not None:
        shares = np.concatenate([shares, *head.outputs(rows.features)])
    base = Predictions(
        target_type=head.target_type, input=_input(fitted), ids=ids, digests=digests, risk_threshold=risk
    )
    if base.input == "residue":
        lengths = np.zeros(0, np.int64) if rows is None else rows.lengths
        return replace(base, **_letters(head, shares, lengths, risk))
    if head.target_type == "regression":
        values = head.decide(shares)
        half = None if fitted.validation is None else fitted.validation.interval_half_width()
        if half is None:
            return replace(base, values=values)
        return replace(base, values=values, low=values - half, high=values + half)
    if head.target_type == "multilabel":
        return replace(base, sets=_sets(head, shares, risk))
    return replace(base, **_labels(head, shares, top, risk))


def _labels(head: Head, shares: Float32, top: int, risk: RiskThreshold | None) -> dict[str, Any]:
    top = min(top, len(head.classes_))
    # Stable, so that among equals the first class leads, as it does in `predict`.
    best = np.argsort(-shares, axis=1, kind="stable")[:, :top]
    if head.target_type == "ordinal":
        # The median level leads, whatever is the most probable one.
        median = np.searchsorted(head.classes_, head.decide(shares))
        best = np.array([[code, *[c for c in row if c != code]][:top] for code, row in zip(median, best, strict=True)])
        best = best.reshape(len(shares), top).astype(np.int64)
    labels, probabilities = head.classes_[best], np.take_along_axis(shares, best, axis=1)
    predicted = has_prediction(shares)
    if not predicted.all():
        labels = labels.astype(object)
        labels[~predicted] = None
    columns: dict[str, Any] = {"labels": labels, "probabilities": probabilities}
    if risk is not None:
        first = probabilities[:, 0] if top else np.zeros(0, np.float32)
        columns["answered"] = predicted & (first >= np.float32(risk.threshold))
    return columns


def _sets(head: Head, shares: Float32, risk: RiskThreshold | None) -> list[list[tuple[str, float]]]:
    given = head.decide(shares)
    if risk is not None:
        given = given & (shares >= np.float32(risk.threshold))
    names = head.classes_.tolist()
    sets = []
    for row, mask in zip(shares, given, strict=True):
        codes = np.flatnonzero(mask)
        sets.append([(names[code], float(row[code])) for code in codes[np.argsort(-row[codes], kind="stable")]])
    return sets


def _letters(head: Head, shares: Float32, lengths: NDArray[np.int64], risk: RiskThreshold | None) -> dict[str, Any]:
    letters = np.array([str(name) for name in head.classes_.tolist()], dtype=np.str_)
    best = shares.argmax(axis=1) if len(shares) else np.zeros(0, np.int64)
    predicted, probability = letters[best], shares[np.arange(len(shares)), best]
    if risk is not None:
        predicted = np.where(probability >= np.float32(risk.threshold), predicted, UNANSWERED)
    cuts = np.cumsum(lengths)[:-1]
    texts: Sequence[NDArray[np.str_]] = np.split(predicted, cuts) if len(lengths) else []
    parts: Sequence[Float32] = np.split(probability, cuts) if len(lengths) else []
    return {"letters": ["".join(text.tolist()) for text in texts], "letter_probabilities": list(parts)}


def _input(fitted: FittedHead) -> str:
    if fitted.space_identity.get("pooling") == RESIDUES or fitted.head.settings().get("input") == "residue":
        return "residue"
    return "protein" if partner_column(fitted) is None else "pair"
