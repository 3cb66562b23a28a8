"""Nearest family: the neighbours of a protein among labelled proteins, their vote, and what it is worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.indexes.api import AUTO, Searcher, get_searcher
from embedstore.models import Model
from embedstore.sequences.batching import batched
from embedstore.store.spaces import Space
from embedstore.store.store import Store
from embedstore.types import Progress, ProgressCallback, Record, null_progress
from heads.api.predict import RecordsLike, open_records
from heads.calibration.risk_control import CONFIDENCE
from heads.family_lookup.alignment import require_parasail
from heads.family_lookup.calibration import UNKNOWN_SHARE, calibrate, uncalibrated
from heads.family_lookup.hits import Hits, join
from heads.family_lookup.lookup import FamilyLookup, aligned
from heads.family_lookup.reference import Reference
from heads.family_lookup.reference_data import Labelled, labelled_rows
from heads.family_lookup.regions import Windows, as_windows, choose_regions
from heads.features.vectors import StoreLike, as_store, record_features, record_keys
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection

__all__ = ["Hits", "lookup"]

_BATCH = 1024
"""Queries for which an exact index reads the vectors once."""


def lookup(
    records: RecordsLike,
    *,
    store: StoreLike = None,
    task: str | None = None,
    labels: str | PathLike[str] | None = None,
    dataset: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    split_column: str | None = None,
    labels_id_column: str | None = None,
    labels_sequence_column: str | None = None,
    labels_skip_invalid: bool = False,
    space: str | None = None,
    k: int = 10,
    reference: str = "train",
    index: str = AUTO,
    max_error: float | None = None,
    confidence: float = CONFIDENCE,
    unknown_share: float = UNKNOWN_SHARE,
    exclude_self: bool = False,
    align: bool = False,
    window: int | str | Sequence[int] | None = None,
    step: int | None = None,
    seed: int = 0,
    model: Model | None = None,
    progress: ProgressCallback = null_progress,
) -> Hits:
    """Find the nearest family of each protein, and how likely it is the right one.

    The k nearest of the task's labelled proteins vote. What a vote is worth is learned on the validation rows, each
    asked once with its family among the labelled proteins and once without it, so that an unknown family gets a low
    probability. The test split is not looked at.

    With several labels a protein (`label_separator`), each label that a neighbour has gets a probability of its own,
    and `max_error` is the share of wrong ones among the labels that are given.

    Parameters
    ----------
    records
        A file (FASTA, CSV, TSV, Parquet), or records.
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``.
    task, labels, dataset, label_column, split_column, seed
        Which labelled proteins; see `heads.fit`.
    label_separator
        What stands between the labels of a protein that has several, such as ``|``.
    labels_id_column, labels_sequence_column
        Columns of the labelled file, where they have unusual names.
    labels_skip_invalid
        Whether its rows that are no proteins are left out, and named, in place of an error.
    space
        Space id or model name; None where the store has one space.
    k
        Neighbours that vote.
    reference
        ``train`` for the training rows alone, ``all`` for every labelled row, the test rows among them.
    index
        ``auto``: a kept index of the space if there is one (`embedstore.build_index`), else exact search. ``flat``:
        exact search. Or a kept one by its kind.
    max_error
        Largest share of the answers that may be wrong; what is less certain gets no answer. It holds with the stated
        `confidence` for queries like the calibration rows, of which `unknown_share` are of unknown families. None:
        whatever has a probability of 0.5 is answered.
    confidence
        Of that guarantee.
    unknown_share
        Share of the queries that are assumed to be of a family that the labelled proteins lack.
    exclude_self
        Let a query that is itself a labelled protein not find itself. By default it does, with a score of 1.
    align
        Align each protein with its nearest neighbour; needs parasail.
    window
        Search windows of so many residues and report where each family lies: a number, several, or ``auto`` for four
        lengths that suit the labelled proteins. The odds of a window are divided by the number of such windows that
        lie side by side on the protein.
    step
        Residues from one window to the next; None for a quarter of a window.
    model
        The model of the space, where it cannot be loaded by its name.
    progress
        Called after each batch, in records.

    Raises
    ------
    UnknownNameError
        For an unknown task, data set, space or index.
    InputError
        For an argument that is out of range, or an error rate that the calibration rows are too few to guarantee.
    MissingPackageError
        If alignments are asked for and parasail is not installed.
    StoreError
        If labelled rows have no vector; the message has the command that makes them.
    """
    _check(k=k, max_error=max_error, confidence=confidence, unknown_share=unknown_share)
    if align:
        require_parasail()
    opened = as_store(store)
    selection = TaskSelection.of(
        task=task,
        labels=labels,
        dataset=dataset,
        label_column=label_column,
        split_column=split_column,
        id_column=labels_id_column,
        sequence_column=labels_sequence_column,
        skip_invalid=labels_skip_invalid,
        seed=seed,
        label_separator=label_separator,
    )
    data = read_task(selection, opened)
    data.require_proteins("lookup")
    if window is not None:
        data.require_one_label("a search of windows (window=, --window)")
    chosen = opened.space(space)
    labelled = labelled_rows(chosen, data, reference, seed=seed)
    annotator = _annotator(
        chosen,
        labelled,
        k=k,
        searcher=get_searcher(opened, chosen, index),
        max_error=max_error,
        confidence=confidence,
        unknown_share=unknown_share,
        exclude_self=exclude_self,
        seed=seed,
    )
    cut = None if window is None else as_windows(window, step, _lengths(opened, labelled))
    parts = []
    n_done = 0
    for batch in _batches(open_records(records), cut):
        parts.append(_batch_hits(annotator, batch, cut, opened if align else None, model))
        n_done += len(batch)
        progress(Progress(stage="lookup", done=n_done, total=None, unit="records"))
    return join(parts or [_batch_hits(annotator, [], cut, opened if align else None, model)])


def _check(*, k: int, max_error: float | None, confidence: float, unknown_share: float) -> None:
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1.")
    if max_error is not None and not 0 < max_error < 1:
        raise InputError(f"max_error is {max_error:g}; expected a share between 0 and 1, such as 0.01.")
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence is {confidence:g}; expected from 0.5 to less than 1, such as 0.95.")
    if not 0 <= unknown_share < 1:
        raise InputError(f"unknown_share is {unknown_share:g}; expected from 0 to less than 1, such as 0.1.")


def _annotator(
    space: Space,
    labelled: Labelled,
    *,
    k: int,
    searcher: Searcher,
    max_error: float | None,
    confidence: float,
    unknown_share: float,
    exclude_self: bool,
    seed: int,
) -> FamilyLookup:
    """Everything that is learned before the first query."""
    if len(labelled.calibration_table.digests):
        calibration = calibrate(
            Reference(space, labelled.calibration_table, searcher=searcher),
            labelled.calibration,
            k=k,
            several=labelled.separator is not None,
            unknown_share=unknown_share,
            seed=seed,
        )
    else:
        calibration = uncalibrated("there are no training rows to calibrate with.")
    return FamilyLookup(
        reference=Reference(space, labelled.table, searcher=searcher),
        labelled=labelled,
        calibration=calibration,
        risk_threshold=None if max_error is None else calibration.risk_threshold(max_error, confidence),
        k=k,
        exclude_self=exclude_self,
    )


def _lengths(store: Store, labelled: Labelled) -> NDArray[np.int64]:
    """Residues of the labelled proteins whose sequences are in the store."""
    digests = labelled.table.digests
    return store.sequences.lengths(digests[store.sequences.contains(digests)])


def _batches(records: Iterable[Record], cut: Windows | None) -> Iterator[list[Record]]:
    """Records such that their windows are about as many as an index likes to search at once."""
    if cut is None:
        yield from batched(records, _BATCH)
        return
    batch: list[Record] = []
    n_windows = 0
    for record in records:
        batch.append(record)
        n_windows += len(cut.spans(len(record.residues)))
        if n_windows >= _BATCH:
            yield batch
            batch, n_windows = [], 0
    if batch:
        yield batch


def _batch_hits(
    annotator: FamilyLookup, batch: list[Record], cut: Windows | None, store: Store | None, model: Model | None
) -> Hits:
    """The hits of some records; with a store, aligned."""
    spans = [(row, span) for row, record in enumerate(batch) for span in _spans(record, cut)]
    asked = [Record(id=batch[row].id, residues=batch[row].residues[slice(*span)]) for row, span in spans]
    features = record_features(annotator.reference.space, asked, model=model)
    chances = None
    if cut is not None:
        # As many windows as lie side by side on a protein are as many chances of a hit by accident.
        chances = np.array([len(batch[row].residues) / (stop - start) for row, (start, stop) in spans])
    hits = annotator.hits([record.id for record in asked], record_keys(asked), features.vectors, chances=chances)
    if annotator.labelled.separator is None:
        residues = [record.residues for record in asked]
    else:
        of_key = {digest.tobytes(): record.residues for digest, record in zip(record_keys(asked), asked, strict=True)}
        residues = [of_key[digest.tobytes()] for digest in hits.digests]
    if cut is not None:
        owner = np.array([row for row, _ in spans], np.int64)
        starts, stops = np.array([span for _, span in spans], np.int64).reshape(-1, 2).T
        chosen = _chosen(hits, owner, starts, stops)
        hits = replace(hits.take(chosen), starts=starts[chosen] + 1, stops=stops[chosen])
        residues = [residues[row] for row in chosen.tolist()]
    return hits if store is None else replace(hits, alignments=aligned(hits, residues, store))


def _spans(record: Record, cut: Windows | None) -> list[tuple[int, int]]:
    length = len(record.residues)
    return [(0, length)] if cut is None else cut.spans(length)


def _chosen(
    hits: Hits, owner: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rows of the windows that are reported, protein by protein."""
    labels = np.unique(hits.candidates, return_inverse=True)[1]
    # Without probabilities the vote stands in.
    worth = np.where(np.isnan(hits.probabilities), hits.votes, hits.probabilities)
    chosen: list[int] = []
    for protein in np.unique(owner).tolist():
        rows = np.flatnonzero(owner == protein)
        picked = choose_regions(
            starts[rows], stops[rows], labels[rows], hits.answered[rows], worth[rows], hits.scores[rows]
        )
        chosen += rows[picked].tolist()
    return np.array(chosen, np.int64)
