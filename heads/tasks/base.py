"""What a task is: the declared row, and the labelled rows that its reader finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.types import Digests


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A row of the task catalog.

    Attributes
    ----------
    name
        What the task is called.
    target
        ``"module:function"`` of its reader: ``reader(task, selection, store) -> TaskData``.
    dataset
        The data set of the store that holds its rows.
    label_columns
        Columns that can hold the label; the first that the data set has is used.
    kind
        What is predicted: ``"class"``.
    split_column
        Column that says which rows are for training. A data set without it is split at random by key.
    splits
        What the column's texts mean, besides the usual names: ``{"holdout": "test"}``.
    main_metric
        The metric to compare heads by.
    licence, citation, source_url
        Of the data.
    summary
        One line for a list.
    """

    name: str
    target: str
    dataset: str
    label_columns: tuple[str, ...]
    kind: str = "class"
    split_column: str = "split"
    splits: Mapping[str, str] = field(default_factory=dict)
    main_metric: str = "accuracy"
    licence: str
    citation: str
    source_url: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSelection:
    """Which task, in the words of the caller: enough to find the same rows again.

    Attributes
    ----------
    task
        Name of a row of the catalog, or None.
    labels
        Path of a labelled file, or None; one of the two is given.
    label_column, split_column
        Columns to use in place of the task's own.
    seed
        Of the random split, where there is no split column.
    """

    task: str | None = None
    labels: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.task is None) == (self.labels is None):
            given = "both" if self.task is not None else "neither"
            raise InputError(f"Give a task or a labelled file (task= or labels=); {given} was given.")

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskData:
    """The labelled rows of a task.

    Attributes
    ----------
    name
        Name of the task, or the stem of the labelled file.
    source
        Name of the data set, or the path of the file.
    label_column
        Column that the labels came from.
    split_rule
        How the rows were split, in words.
    ids
        Id of each row.
    digests
        (N, 24) uint8 key of each row.
    labels
        (N,) text, empty where a row has no label.
    splits
        Row numbers of ``train``, ``valid`` and ``test``; labelled rows only.
    n_unlabelled, n_unassigned
        Rows left out because they have no label, or stand in no split.
    """

    name: str
    source: str
    label_column: str
    split_rule: str
    ids: list[str]
    digests: Digests
    labels: NDArray[np.str_]
    splits: dict[str, NDArray[np.int64]]
    n_unlabelled: int
    n_unassigned: int

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of a split; ``"all"`` is every labelled row of any.

        Raises
        ------
        InputError
            If there is no such split, or it has no row.
        """
        if split == "all":
            return np.sort(np.concatenate(list(self.splits.values())))
        rows = self.splits.get(split)
        if rows is None or not len(rows):
            there = ", ".join(f"{name} ({len(found):,} rows)" for name, found in self.splits.items())
            raise InputError(f"Task {self.name} has no labelled row in split {split!r}. It has {there}.")
        return rows
