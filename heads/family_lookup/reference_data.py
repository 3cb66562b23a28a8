"""The rows of a task as a lookup needs them: what is searched, and what it is calibrated on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError, StoreError
from embedstore.store.spaces import Space
from embedstore.types import Digests
from heads.family_lookup.calibration import MAX_ROWS, CalibrationRows
from heads.family_lookup.voting import LabelTable, label_table
from heads.features.base import Float32, sortable_keys
from heads.features.vectors import has_vector
from heads.tasks.data import TaskData
from heads.tasks.leakage import isin_keys
from heads.tasks.splitting import split_by_key

REFERENCES = ("train", "all")
_HELD_OUT = (0.9, 0.1, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labelled:
    """A task's rows with vectors, and their labels as codes.

    Attributes
    ----------
    ids
        Id of each row of the task.
    names
        (C,) labels, sorted.
    table
        Keys and labels of the reference; its rows are rows of the task.
    calibration_table
        The same without the calibration rows.
    calibration
        Labelled rows that are not in `calibration_table`.
    separator
        Between the labels of a row; None where each row has one.
    """

    ids: list[str]
    names: NDArray[np.str_]
    table: LabelTable
    calibration_table: LabelTable
    calibration: CalibrationRows
    separator: str | None

    def text(self, codes: NDArray[np.int64]) -> str:
        """Labels of one key as the source writes them."""
        return (self.separator or "|").join(self.names[codes].tolist())


def labelled_rows(space: Space, data: TaskData, reference: str, *, seed: int = 0) -> Labelled:
    """Sort a task's rows into what is searched and what is calibrated on; the test split is in neither.

    Calibration rows are the validation split. A task without one gives a tenth of its training sequences, which are out
    of the reference while it is calibrated: they can have near twins in it, and the calibration is then too hopeful for
    queries that have none.

    Parameters
    ----------
    space
        Of the vectors.
    data
        The task.
    reference
        ``train``, or ``all``: the calibration is that of the training rows in both cases.
    seed
        Of what is held out and sampled.

    Raises
    ------
    StoreError
        If rows have no vector.
    InputError
        If a split that is needed has no row.
    """
    if reference not in REFERENCES:
        raise InputError(f"reference is {reference!r}; expected one of {', '.join(REFERENCES)}.")
    searched = data.rows(reference)
    valid = data.splits["valid"]
    learned = data.splits["train"] if reference == "all" else searched
    used = np.unique(np.concatenate([searched, learned, valid]))
    present = used[has_vector(space, data.digests[used], source=data.source)]
    searched, learned, valid = (rows[np.isin(rows, present)] for rows in (searched, learned, valid))
    if not len(searched):
        raise StoreError(f"No labelled row of {data.source} has a vector in space {space.id}.")
    names, sets = _coded(data, present)

    def table(rows: NDArray[np.int64]) -> LabelTable:
        made = label_table(data.digests[rows], [sets[row] for row in rows.tolist()], len(names))
        return made.of_rows(rows)

    if len(valid):
        asked, rule = valid[~isin_keys(data.digests[valid], data.digests[learned])], "validation rows"
    else:
        parts = split_by_key(data.digests[learned], seed=seed, fractions=_HELD_OUT)
        asked, learned = learned[parts["valid"]], learned[parts["train"]]
        rule = "a tenth of the training rows, held out; there is no validation split"
    # A sequence that stands in several rows is asked once: its labels are those of its first row.
    asked = asked[np.sort(np.unique(sortable_keys(data.digests[asked]), return_index=True)[1])]
    if len(asked) > MAX_ROWS:
        asked = np.sort(np.random.default_rng(seed).choice(asked, MAX_ROWS, replace=False))
        rule = f"a sample of the {rule}"
    return Labelled(
        ids=data.ids,
        names=names,
        table=table(searched),
        calibration_table=table(learned),
        calibration=CalibrationRows(
            vectors=_vectors(space, data.digests[asked]), sets=[sets[row] for row in asked.tolist()], rule=rule
        ),
        separator=data.label_separator,
    )


def _coded(data: TaskData, rows: NDArray[np.int64]) -> tuple[NDArray[np.str_], dict[int, list[int]]]:
    """The labels of some rows, sorted, and the codes of each row's."""
    texts = {row: data.label_set(row) for row in rows.tolist()}
    names = np.unique([label for labels in texts.values() for label in labels])
    code = {name: number for number, name in enumerate(names.tolist())}
    return names, {row: [code[label] for label in labels] for row, labels in texts.items()}


def _vectors(space: Space, digests: Digests) -> Float32:
    return np.asarray(space.take(digests), np.float32)
