"""The rows of a task that a lookup searches, and those that calibrate it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError, StoreError
from embedstore.store.spaces import Space
from heads.family_lookup.calibration import MAX_QUERIES, CalibrationQueries
from heads.family_lookup.voting import LabelTable, label_table
from heads.features.sources import has_vector
from heads.tasks.data import TaskData
from heads.tasks.keys import isin_keys, sortable_keys
from heads.tasks.splitting import split_by_key

REFERENCES = ("train", "all")
_FRACTIONS = (0.9, 0.1, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceData:
    """A task's rows with vectors, and their labels as codes.

    Attributes
    ----------
    ids
        Id of each row of the task.
    label_names
        (C,) labels, sorted.
    table
        Keys and labels of the reference; its rows are rows of the task.
    calibration_table
        Those of the reference that calibration queries search; it holds none of them.
    calibration_queries
        Labelled proteins that are not in `calibration_table`.
    separator
        Between the labels of a row; None where each row has one.
    """

    ids: list[str]
    label_names: NDArray[np.str_]
    table: LabelTable
    calibration_table: LabelTable
    calibration_queries: CalibrationQueries
    separator: str | None

    def label_text(self, codes: NDArray[np.int64]) -> str:
        """Labels of one key, joined as in the source."""
        return (self.separator or "|").join(self.label_names[codes].tolist())


def reference_data(space: Space, data: TaskData, reference: str, *, seed: int = 0) -> ReferenceData:
    """Divide a task's rows into the reference and the calibration queries; the test split is in neither.

    The calibration queries are the validation split. Where there is none, a tenth of the training sequences is held
    out; these can have close relatives in the rest, so the calibration is too optimistic for queries that have none.

    Parameters
    ----------
    space
        The space of the vectors.
    data
        The task.
    reference
        ``train``, or ``all``; the calibration uses the training rows in both cases.
    seed
        Of the rows that are held out and sampled.

    Raises
    ------
    StoreError
        If rows have no vector.
    InputError
        If a split that is needed has no row.
    """
    if reference not in REFERENCES:
        raise InputError(f"reference is {reference!r}; expected one of {', '.join(REFERENCES)}.")
    searched, valid = data.rows(reference), data.splits["valid"]
    train = data.splits["train"] if reference == "all" else searched
    used = np.unique(np.concatenate([searched, train, valid]))
    present = used[has_vector(space, data.digests[used], source=data.source)]
    searched, train, valid = (rows[np.isin(rows, present)] for rows in (searched, train, valid))
    if not len(searched):
        raise StoreError(f"No labelled row of {data.source} has a vector in space {space.id}.")
    label_names, codes = _encode_labels(data, present)

    def table(rows: NDArray[np.int64]) -> LabelTable:
        return label_table(data.digests[rows], [codes[row] for row in rows.tolist()], len(label_names), rows)

    if len(valid):
        queries, source = valid[~isin_keys(data.digests[valid], data.digests[train])], "validation rows"
    else:
        parts = split_by_key(data.digests[train], seed=seed, fractions=_FRACTIONS)
        queries, train = train[parts["valid"]], train[parts["train"]]
        source = "a tenth of the training rows, held out; there is no validation split"
    # A sequence in several rows is one query, with the labels of its first row.
    queries = queries[np.sort(np.unique(sortable_keys(data.digests[queries]), return_index=True)[1])]
    if len(queries) > MAX_QUERIES:
        queries = np.sort(np.random.default_rng(seed).choice(queries, MAX_QUERIES, replace=False))
        source = f"a sample of the {source}"
    return ReferenceData(
        ids=data.ids,
        label_names=label_names,
        table=table(searched),
        calibration_table=table(train),
        calibration_queries=CalibrationQueries(
            vectors=np.asarray(space.take(data.digests[queries]), np.float32),
            label_sets=[codes[row] for row in queries.tolist()],
            source=source,
        ),
        separator=data.label_separator,
    )


def _encode_labels(data: TaskData, rows: NDArray[np.int64]) -> tuple[NDArray[np.str_], dict[int, list[int]]]:
    """The labels of some rows, sorted, and the label codes of each row."""
    label_sets = {row: data.label_set(row) for row in rows.tolist()}
    names = np.unique([label for labels in label_sets.values() for label in labels])
    code_of = {name: code for code, name in enumerate(names.tolist())}
    return names, {row: [code_of[label] for label in labels] for row, labels in label_sets.items()}
