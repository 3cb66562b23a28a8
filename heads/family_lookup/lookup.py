"""The lookup of families: neighbours, votes, probabilities, answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.indexes import Neighbours
from embedstore.indexes.api import AUTO, get_searcher
from embedstore.models import Model
from embedstore.sequences.batching import batched
from embedstore.types import Progress, ProgressCallback, Record, Vectors, null_progress
from heads.calibration.risk_control import CONFIDENCE, RiskThreshold
from heads.family_lookup.alignment import Alignment, align, require_parasail
from heads.family_lookup.calibration import UNKNOWN_SHARE, Calibration, calibrate
from heads.family_lookup.hits import Hits, join
from heads.family_lookup.reference import NeighbourResult, Reference
from heads.family_lookup.reference_data import reference_data
from heads.family_lookup.regions import Windows, make_windows, select_regions
from heads.family_lookup.voting import LabelVotes
from heads.features.sources import StoreLike, as_store, record_features, record_keys
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection

MIN_PROBABILITY = 0.5
"""Without an error rate, labels of at least this probability are answered."""

_BATCH = 1024
"""Queries for which an exact index reads the vectors once."""


class FamilyLookup:
    """Finds the nearest family of proteins; fitted once, used for any number of queries.

    Parameters
    ----------
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``.
    task, labels, dataset
        Which labelled proteins are the reference, as in `heads.fit`.
    space
        Space id or model name; None where the store has one space.
    k
        Number of neighbours that vote.
    reference
        ``train``, or ``all`` for every labelled row.
    index
        ``auto``, ``flat``, or the type of a stored index: see `embedstore.search`.
    unknown_share
        Assumed share of queries whose family is not in the reference.
    exclude_self
        Whether a query that is a labelled protein must not find itself.
    seed
        Of the calibration.

    Attributes
    ----------
    calibration
        How votes become probabilities.

    Raises
    ------
    InputError
        For an argument out of range, or a task on residues or pairs.
    StoreError
        If labelled rows have no vector.
    UnknownNameError
        For an unknown task, data set, space or index.

    Examples
    --------
    >>> import heads
    >>> families = heads.FamilyLookup("proteins.zarr", task="pfam")  # doctest: +SKIP
    >>> families.query(embedstore.read_records("unknown.fasta")).to_frame()  # doctest: +SKIP
    """

    def __init__(
        self,
        store: StoreLike = None,
        *,
        task: str | TaskSelection | None = None,
        labels: str | PathLike[str] | None = None,
        dataset: str | None = None,
        space: str | None = None,
        k: int = 10,
        reference: str = "train",
        index: str = AUTO,
        unknown_share: float = UNKNOWN_SHARE,
        exclude_self: bool = False,
        seed: int = 0,
    ) -> None:
        if k < 1:
            raise InputError(f"k is {k}; it must be at least 1.")
        if not 0 <= unknown_share < 1:
            raise InputError(f"unknown_share is {unknown_share:g}; expected from 0 to less than 1, such as 0.1.")
        self.k, self.exclude_self = k, exclude_self
        self._store = as_store(store)
        self._task = read_task(TaskSelection.of(task, labels=labels, dataset=dataset, seed=seed), self._store)
        self._task.require_proteins("lookup")
        self._space = self._store.space(space)
        self._data = reference_data(self._space, self._task, reference, seed=seed)
        self._is_multilabel = self._data.separator is not None
        searcher = get_searcher(self._store, self._space, index)
        self._reference = Reference(self._space, self._data.table, searcher=searcher)
        self.calibration = Calibration(reason="there are no training rows to calibrate with.")
        if len(self._data.calibration_table.digests):
            self.calibration = calibrate(
                Reference(self._space, self._data.calibration_table, searcher=searcher),
                self._data.calibration_queries,
                k=k,
                is_multilabel=self._is_multilabel,
                unknown_share=unknown_share,
                seed=seed,
            )

    def query(
        self,
        records: Iterable[Record],
        *,
        max_error: float | None = None,
        confidence: float = CONFIDENCE,
        align: bool = False,
        window: int | str | Sequence[int] | None = None,
        step: int | None = None,
        model: Model | None = None,
        progress: ProgressCallback = null_progress,
    ) -> Hits:
        """The hits of records; see `heads.lookup` for the arguments.

        Raises
        ------
        InputError
            For an argument out of range, or an error rate that the calibration queries are too few to guarantee.
        MissingPackageError
            If alignments are asked for and parasail is not installed.
        """
        check_risk(max_error, confidence)
        if align:
            require_parasail()
        windows = None
        if window is not None:
            self._task.require_one_label("a search of windows (window=, --window)")
            windows = make_windows(window, step, self._reference_lengths())
        risk = None if max_error is None else self.calibration.risk_threshold(max_error, confidence)
        parts = []
        n_done = 0
        for batch in _batches(records, windows):
            parts.append(self._hits(batch, windows, risk, model=model, align_=align))
            n_done += len(batch)
            progress(Progress(stage="lookup", done=n_done, total=None, unit="records"))
        return join(parts or [self._hits([], windows, risk, model=model, align_=align)])

    def _hits(
        self,
        batch: list[Record],
        windows: Windows | None,
        risk: RiskThreshold | None,
        *,
        model: Model | None,
        align_: bool,
    ) -> Hits:
        """The hits of some records, or of the regions selected in their windows."""
        lengths = [len(record.residues) for record in batch]
        spans = [
            (row, span)
            for row, length in enumerate(lengths)
            for span in ([(0, length)] if windows is None else windows.spans(length))
        ]
        queries = [Record(id=batch[row].id, residues=batch[row].residues[slice(*span)]) for row, span in spans]
        vectors = record_features(self._space, queries, model=model).vectors
        n_places = None
        if windows is not None:
            n_places = np.array([lengths[row] / (stop - start) for row, (start, stop) in spans])
        hits, query = self._vector_hits(queries, vectors, risk, n_places=n_places)
        if windows is not None:
            protein = np.array([row for row, _ in spans], np.int64)
            starts, stops = np.array([span for _, span in spans], np.int64).reshape(-1, 2).T
            selected = _select_windows(hits, protein, starts, stops)
            hits = replace(hits.subset(selected), starts=starts[selected] + 1, stops=stops[selected])
            query = selected
        if not align_:
            return hits
        return replace(hits, alignments=self._align(hits, [queries[row].residues for row in query.tolist()]))

    def _vector_hits(
        self,
        queries: Sequence[Record],
        vectors: Vectors,
        risk: RiskThreshold | None,
        *,
        n_places: NDArray[np.float64] | None,
    ) -> tuple[Hits, NDArray[np.int64]]:
        """A hit for each query, or for each predicted label of it, and the query of each.

        The odds of a window are divided by the number of such windows that fit side by side on the protein
        (`n_places`), as so many could hit by chance.
        """
        digests = record_keys(queries)
        result = self._reference.search(vectors, self.k, exclude=digests if self.exclude_self else None)
        votes = result.votes(sharpness=self.calibration.sharpness)
        if not self._is_multilabel:
            votes = votes.subset(votes.top_label())
        logits, probabilities = self._score(result, votes)
        if n_places is not None:
            factor = n_places[votes.query]
            logits = logits - np.log(factor)
            probabilities = probabilities / (probabilities + (1 - probabilities) * factor)
        if risk is not None:
            answered = logits >= risk.threshold
        else:
            answered = (logits if self.calibration.calibrator is None else probabilities) >= MIN_PROBABILITY
        if self._is_multilabel:
            reported = _reported(votes, logits, answered)
            votes, probabilities, answered = votes.subset(reported), probabilities[reported], answered[reported]
        candidates = self._data.label_names[votes.label]
        neighbour_ids, neighbour_labels = self._describe_neighbours(result)
        query = votes.query
        hits = Hits(
            ids=[queries[row].id for row in query.tolist()],
            digests=digests[query],
            answered=answered,
            labels=np.where(answered, candidates, ""),
            candidates=candidates,
            probabilities=probabilities.astype(np.float32),
            scores=votes.score,
            votes=votes.vote.astype(np.float32),
            nearest_ids=[self._data.ids[row] for row in votes.row.tolist()],
            nearest_digests=result.neighbours.digests[query, votes.nearest],
            neighbours=Neighbours(digests=result.neighbours.digests[query], scores=result.neighbours.scores[query]),
            neighbour_ids=neighbour_ids[query],
            neighbour_labels=neighbour_labels[query],
            calibration=self.calibration,
            risk_threshold=risk,
        )
        return hits, query

    def _score(self, result: NeighbourResult, votes: LabelVotes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logit and probability of each entry; without a calibration the vote, and NaN."""
        calibrator = self.calibration.calibrator
        if calibrator is None:
            return votes.vote, np.full(len(votes.query), np.nan)
        logits = calibrator.logits(votes.features(self._reference.within_label_similarity(result, votes)))
        return logits, calibrator.probabilities(logits)

    def _describe_neighbours(self, result: NeighbourResult) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Ids and labels of all neighbours, (n, k) each."""
        table = result.table
        distinct, inverse = np.unique(result.positions, return_inverse=True)
        ids, labels = np.empty(len(distinct), object), np.empty(len(distinct), object)
        for number, key in enumerate(distinct.tolist()):
            entries = slice(table.starts[key], table.starts[key + 1])
            ids[number] = self._data.ids[int(table.rows[entries].min())]
            labels[number] = self._data.label_text(table.columns[entries])
        return ids[inverse].reshape(result.positions.shape), labels[inverse].reshape(result.positions.shape)

    def _align(self, hits: Hits, residues: Sequence[bytes]) -> list[Alignment]:
        """Alignments of the hits' queries with their nearest neighbours."""
        distinct, inverse = np.unique(hits.nearest_digests, axis=0, return_inverse=True)
        is_stored = self._store.sequences.contains(distinct)
        if not is_stored.all():
            raise InputError(
                f"The store has no sequence of {int((~is_stored).sum()):,} of the {len(is_stored):,} neighbours to "
                "align with. Add them (`embedstore add NAME PATH`), or leave alignments out (align=, --align)."
            )
        targets = self._store.sequences.take(distinct)
        return [align(query, targets[row]) for query, row in zip(residues, inverse.ravel().tolist(), strict=True)]

    def _reference_lengths(self) -> NDArray[np.int64]:
        """Lengths of the reference's sequences that are in the store."""
        digests = self._data.table.digests
        return self._store.sequences.lengths(digests[self._store.sequences.contains(digests)])


def check_risk(max_error: float | None, confidence: float) -> None:
    """Refuse an error rate or a confidence out of range."""
    if max_error is not None and not 0 < max_error < 1:
        raise InputError(f"max_error is {max_error:g}; expected a share between 0 and 1, such as 0.01.")
    if not 0.5 <= confidence < 1:
        raise InputError(f"confidence is {confidence:g}; expected from 0.5 to less than 1, such as 0.95.")


def _batches(records: Iterable[Record], windows: Windows | None) -> Iterator[list[Record]]:
    """Records in batches of about `_BATCH` queries."""
    if windows is None:
        yield from batched(records, _BATCH)
        return
    batch: list[Record] = []
    n_windows = 0
    for record in records:
        batch.append(record)
        n_windows += len(windows.spans(len(record.residues)))
        if n_windows >= _BATCH:
            yield batch
            batch, n_windows = [], 0
    if batch:
        yield batch


def _reported(votes: LabelVotes, logits: NDArray[np.float64], answered: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The entries that are reported, by query and then by logit: all answers of a query, or its best label."""
    order = np.lexsort((votes.label, -logits, votes.query))
    is_best = np.append(True, np.diff(votes.query[order]) > 0) if len(order) else np.zeros(0, np.bool_)
    return order[answered[order] | is_best]


def _select_windows(
    hits: Hits, protein: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Indices of the windows that are reported, protein by protein."""
    labels = np.unique(hits.candidates, return_inverse=True)[1]
    # Without probabilities windows are ranked by the vote.
    ranking = np.where(np.isnan(hits.probabilities), hits.votes, hits.probabilities)
    selected: list[int] = []
    for number in np.unique(protein).tolist():
        rows = np.flatnonzero(protein == number)
        regions = select_regions(
            starts[rows], stops[rows], labels[rows], hits.answered[rows], ranking[rows], hits.scores[rows]
        )
        selected += rows[regions].tolist()
    return np.array(selected, np.int64)
