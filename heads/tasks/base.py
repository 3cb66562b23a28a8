"""What a task is: the declared row, and the labelled rows that its reader finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.types import Digests
from heads.targets import KINDS, label_sets

INPUTS = ("protein", "residue", "pair")
"""What a row of a task is: a protein, each residue of one, or two proteins."""


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
        What is predicted: one of `heads.targets.KINDS`.
    input
        What of: one of `INPUTS`.
    label_separator
        What stands between the labels of a row; for ``"multilabel"`` alone.
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
    input: str = "protein"
    label_separator: str | None = None
    split_column: str = "split"
    splits: Mapping[str, str] = field(default_factory=dict)
    main_metric: str = "accuracy"
    licence: str
    citation: str
    source_url: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSelection:
    """Where labels come from, in the words of the caller: enough to find the same rows again.

    Attributes
    ----------
    task
        Name of a row of the catalog, or None.
    labels
        Path of a labelled file, or None.
    dataset
        Name of a data set of the store, or None; one of the three is given.
    label_column, split_column
        Columns to use in place of the usual ones.
    id_column, sequence_column
        Columns of the labelled file, where they have unusual names.
    seed
        Of the random split, where there is no split column.
    label_separator
        What stands between the labels of a row that can have several; None for what the task says, else for one label.
    kind
        What is predicted: one of `heads.targets.KINDS`; None for what the task says, else one class, or several where
        there is a separator.
    """

    task: str | None = None
    labels: str | None = None
    dataset: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    id_column: str | None = None
    sequence_column: str | None = None
    seed: int = 0
    label_separator: str | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        ways = {"task": self.task, "labels": self.labels, "dataset": self.dataset}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            raise InputError(
                "Labels come from a task (task=, --task), from a labelled file (labels=, --labels) or from a data set "
                f"of the store (dataset=, --dataset); given: {' and '.join(given) or 'none'}. Give one of the three."
            )
        if self.labels is None and (self.id_column or self.sequence_column):
            raise InputError(
                "Columns of ids and sequences were named, but they are those of a labelled file (labels=, --labels), "
                f"and {given[0]} was given. Leave them out."
            )
        if self.label_separator == "":
            raise InputError("The separator of labels is empty; expected a character (label_separator=).")
        if self.kind is not None and self.kind not in KINDS:
            raise InputError(f"kind is {self.kind!r}; expected one of {', '.join(KINDS)} (kind=, --kind).")
        if self.kind == "multilabel" and self.task is None and self.label_separator is None:
            raise InputError(
                "Several labels a protein need a separator: say what stands between them (label_separator=, "
                "--label-separator)."
            )
        check_seed(self.seed)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, for JSON."""
        return asdict(self)


def check_seed(seed: int) -> None:
    """Refuse a negative seed."""
    if seed < 0:
        raise InputError(f"seed is {seed}; expected 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskData:
    """The labelled rows of a task.

    Attributes
    ----------
    name
        Name of the task or of the data set, or the stem of the labelled file.
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
    label_separator
        What stands between the labels of a row; None where each row has one.
    kind
        What is predicted: one of `heads.targets.KINDS`.
    input
        What a row is: one of `INPUTS`. For ``"residue"`` the label is a text with a letter a residue.
    partners
        For ``"pair"``: (N, 24) uint8 key of each row's second protein.
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
    label_separator: str | None = None
    kind: str = "class"
    input: str = "protein"
    partners: Digests | None = None

    def targets(self, rows: NDArray[np.int64]) -> Any:
        """What is to be predicted of some rows, as `heads.targets.encode` takes it.

        Returns
        -------
        numpy.ndarray or list
            (n,) text for ``"class"``, (n,) float64 for numbers, n lists of texts for ``"multilabel"``.

        Raises
        ------
        InputError
            If a number is asked for and a label is none, naming the row.
        """
        if self.kind == "class":
            return self.labels[rows]
        if self.kind == "multilabel":
            return label_sets(self.labels[rows].tolist(), str(self.label_separator))
        try:
            return self.labels[rows].astype(np.float64)
        except ValueError:
            bad = next(row for row in rows.tolist() if not _is_number(str(self.labels[row])))
            raise InputError(
                f"Column {self.label_column!r} of {self.source} says {str(self.labels[bad])!r} for {self.ids[bad]!r}; "
                f"kind {self.kind!r} predicts numbers. Name a column of numbers (label_column=, --label-column), or "
                "predict classes (kind='class', --kind class)."
            ) from None

    def label_set(self, row: int) -> list[str]:
        """The labels of a row, each once, in the order of the source."""
        text = str(self.labels[row])
        return [text] if self.label_separator is None else label_sets([text], self.label_separator)[0]

    def require_one_label(self, what: str) -> None:
        """Refuse a task whose rows have several labels.

        Raises
        ------
        InputError
            For such a task.
        """
        if self.label_separator is not None:
            raise InputError(
                f"{self.name} has several labels a protein (separated by {self.label_separator!r}), which {what} "
                "cannot do. `embedstore lookup` gives sets of labels; or name a column with one label (label_column=, "
                "--label-column)."
            )

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
            raise InputError(
                f"{self.source} has no labelled row in split {split!r} (split by: {self.split_rule}). It has {there}. "
                "Ask for one that has rows, or fit with a split column (--split-column), more rows or another --seed."
            )
        return rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
