"""Nearest family: the neighbours of a protein among the labelled proteins of a task, and their vote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.batching import batched
from embedstore.errors import InputError, StoreError
from embedstore.index import INDEXES, Index, Neighbours
from embedstore.models import Model
from embedstore.store.spaces import Space
from embedstore.types import DIGEST_BYTES, Digests, Progress, ProgressCallback, Vectors, no_progress
from heads.base import BLOCK_ROWS, Float32
from heads.features import StoreLike, as_store, record_features, with_vectors
from heads.prediction import RecordsLike, open_records
from heads.tasks.base import TaskData, TaskSelection
from heads.tasks.readers import read_task
from heads.votes import LabelledKeys, labelled_keys

if TYPE_CHECKING:
    import pandas as pd

REFERENCES = ("train", "all")
_BATCH = 1024
"""Queries for which an exact index reads the vectors once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hits:
    """The nearest family of each protein, in the order of the records. Neither score nor vote is a probability.

    Attributes
    ----------
    ids
        Id of each query.
    digests
        (N, 24) uint8 key of each query.
    labels
        (N,) family that the neighbours voted for, weighted by similarity.
    scores
        (N,) float32 cosine similarity of the nearest neighbour of that family.
    votes
        (N,) float32 share of the similarity of the neighbours that this family has.
    neighbour_ids
        Id of that nearest neighbour; the first of its ids where its sequence has several.
    neighbours
        Keys (N, k, 24) and scores (N, k) of all neighbours that voted.
    """

    ids: list[str]
    digests: Digests
    labels: NDArray[np.str_]
    scores: Float32
    votes: Float32
    neighbour_ids: list[str]
    neighbours: Neighbours

    def to_frame(self) -> pd.DataFrame:
        """A row a protein: id, label, score, vote, neighbour."""
        import pandas as pd

        return pd.DataFrame(
            {
                "id": self.ids,
                "label": self.labels,
                "score": self.scores,
                "vote": self.votes,
                "neighbour": self.neighbour_ids,
            }
        )


def lookup(
    records: RecordsLike,
    *,
    store: StoreLike = None,
    task: str | None = None,
    labels: str | PathLike[str] | None = None,
    dataset: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    labels_id_column: str | None = None,
    labels_sequence_column: str | None = None,
    space: str | None = None,
    k: int = 10,
    reference: str = "train",
    index: str = "flat",
    seed: int = 0,
    model: Model | None = None,
    progress: ProgressCallback = no_progress,
) -> Hits:
    """Find the nearest family of each protein.

    The k nearest of the task's labelled proteins vote, each with its cosine similarity (a negative one counts
    nothing). A query that is itself one of them finds itself, with a score of 1.

    Parameters
    ----------
    records
        A file (FASTA, CSV, TSV, Parquet), or records.
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``.
    task, labels, dataset, label_column, split_column, seed
        Which labelled proteins; see `heads.fit`.
    labels_id_column, labels_sequence_column
        Columns of the labelled file, where they have unusual names.
    space
        Space id or model name; None where the store has one space.
    k
        Neighbours that vote.
    reference
        ``train`` for the training rows alone, ``all`` for every labelled row.
    index
        Name of an index in `embedstore.index.INDEXES`.
    model
        The model of the space, where it cannot be loaded by its name.
    progress
        Called after each batch, in records.

    Raises
    ------
    UnknownNameError
        For an unknown task, data set, space or index.
    InputError
        For an unknown reference, or k < 1.
    StoreError
        If labelled rows have no vector; the message has the command that makes them.
    """
    if reference not in REFERENCES:
        raise InputError(f"reference is {reference!r}; expected one of {', '.join(REFERENCES)}.")
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1.")
    make_index = INDEXES.load(index)
    opened = as_store(store)
    selection = TaskSelection(
        task=task,
        labels=None if labels is None else fspath(labels),
        dataset=dataset,
        label_column=label_column,
        split_column=split_column,
        id_column=labels_id_column,
        sequence_column=labels_sequence_column,
        seed=seed,
    )
    data = read_task(selection, opened)
    families = _Families(opened.space(space), data, reference, make_index)
    found = []
    n_done = 0
    for batch in batched(open_records(records), _BATCH):
        features = record_features(families.space, batch, model=model)
        found.append(families.hits([record.id for record in batch], features.digests, features.vectors, k))
        n_done += len(batch)
        progress(Progress(stage="lookup", done=n_done, total=None, unit="records"))
    return _joined(found)


class _Families:
    """The labelled proteins of a task, ready to be searched."""

    def __init__(self, space: Space, data: TaskData, reference: str, make_index: Callable[..., Index]) -> None:
        rows = data.rows(reference)
        rows = rows[with_vectors(space, data.digests[rows], source=data.source)]
        if not len(rows):
            raise StoreError(f"No labelled row of {data.source} has a vector in space {space.id}.")
        self.space = space
        self._ids = [data.ids[row] for row in rows.tolist()]
        self._names, codes = np.unique(data.labels[rows], return_inverse=True)
        self._keys: LabelledKeys = labelled_keys(data.digests[rows], codes)
        # In the order of the store, so that a sweep reads each of its pages once.
        self._stored = self._keys.digests[np.argsort(space.find(self._keys.digests))]
        self._index = make_index(self._blocks, n_rows=len(self._stored), dim=space.dim)

    def hits(self, ids: list[str], digests: Digests | None, vectors: Vectors, k: int) -> Hits:
        """The nearest family of each query."""
        found = self._index.search(vectors, k)
        positions = self._keys.find(found.digests)
        votes = self._keys.vote(positions, np.maximum(found.scores, 0), len(self._names))
        winner = votes.argmax(axis=1)
        # Neighbours come nearest first, so the first entry of the winning family is its nearest protein.
        source, entry, _ = self._keys.spread(positions.ravel())
        of_winner = np.flatnonzero(self._keys.codes[entry] == winner[source // found.k])
        query, first = np.unique(source[of_winner] // found.k, return_index=True)
        nearest = of_winner[first]
        return Hits(
            ids=ids,
            digests=np.empty((0, DIGEST_BYTES), np.uint8) if digests is None else digests,
            labels=self._names[winner],
            scores=found.scores[query, source[nearest] % found.k],
            votes=votes.max(axis=1).astype(np.float32),
            neighbour_ids=[self._ids[row] for row in self._keys.rows[entry[nearest]].tolist()],
            neighbours=found,
        )

    def _blocks(self) -> Iterator[tuple[Digests, Vectors]]:
        for start in range(0, len(self._stored), BLOCK_ROWS):
            digests = self._stored[start : start + BLOCK_ROWS]
            yield digests, self.space.take(digests)


def _joined(parts: list[Hits]) -> Hits:
    """Batches of hits as one."""

    def joined(arrays: list[NDArray[Any]], empty: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate(arrays) if arrays else empty

    no_keys = np.empty((0, DIGEST_BYTES), np.uint8)
    return Hits(
        ids=[name for part in parts for name in part.ids],
        digests=joined([part.digests for part in parts], no_keys),
        labels=joined([part.labels for part in parts], np.empty(0, np.str_)),
        scores=joined([part.scores for part in parts], np.empty(0, np.float32)),
        votes=joined([part.votes for part in parts], np.empty(0, np.float32)),
        neighbour_ids=[name for part in parts for name in part.neighbour_ids],
        neighbours=Neighbours(
            digests=joined([part.neighbours.digests for part in parts], np.empty((0, 0, DIGEST_BYTES), np.uint8)),
            scores=joined([part.neighbours.scores for part in parts], np.empty((0, 0), np.float32)),
        ),
    )
