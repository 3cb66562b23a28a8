"""What a task is: the declared row, and the labelled rows that its reader finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.types import Digests
from heads.rows.pairs import pair_digests, parse_pairing
from heads.rows.residues import spread_letters
from heads.targets import KINDS, label_sets

INPUTS = ("protein", "residue", "pair")
"""What a row of a task is: a protein, each residue of one, or two proteins."""


NOT_STATED = "not stated"
"""Licence of data whose publishers give none."""

MASKED = " "
"""Stands in a text of labels for a residue that has none."""

SPLIT_WAYS = ("column", "random", "clusters")
"""By what rows are split: a column of the source, their key, or clusters of similar sequences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file that can be downloaded.

    Attributes
    ----------
    url
        Where it is.
    name
        What it is called here; its folder and stem say the split, as in `embedstore.sequences.source_files`.
    sha256
        Of its bytes, 64 hexadecimal characters; None where nobody of this project has seen the file.
    members
        Of a zip archive: the files in it that are wanted, by their own names without folders.
    """

    url: str
    name: str
    sha256: str | None = None
    members: tuple[str, ...] = ()


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
    mask_column
        For residues: column with a ``0`` for each residue that has no label. Not every data set has it.
    partner_column
        For pairs: column with the sequence of the second protein.
    pairing
        For pairs: how the two vectors are combined; see `heads.rows.pairs.PAIRINGS`.
    split_column
        Column that says which rows are for training. A data set without it is split at random by key.
    splits
        What the column's texts mean, besides the usual names: ``{"holdout": "test"}``.
    main_metric
        The metric to compare heads by.
    licence, citation, source_url
        Of the data; ``"not stated"`` where its publishers give no licence.
    layout
        What the published files look like, and how to add them.
    files
        Where to download it; none where no file is known that could be read here.
    tidy
        ``"module:function"`` that makes of the downloaded files what can be added, in the order of `files` and their
        members; empty where they can be added as they are.
    add_options
        What `embedstore.store.Store.add` is told of the files besides.
    field
        What the task is about, to sort a list by.
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
    mask_column: str | None = None
    partner_column: str | None = None
    pairing: str | None = None
    split_column: str = "split"
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    main_metric: str = "accuracy"
    licence: str = NOT_STATED
    citation: str = ""
    source_url: str = ""
    layout: str = ""
    files: tuple[RemoteFile, ...] = ()
    tidy: str = ""
    add_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    field: str = "other"
    summary: str = ""

    @property
    def add_command(self) -> str:
        """The command that adds its files, in their published layout."""
        columns = dict(self.add_options) | ({"partner_column": self.partner_column} if self.partner_column else {})
        options = "".join(f" --{name.replace('_', '-')} {value!r}" for name, value in columns.items())
        return f"embedstore add {self.dataset} PATH{options}"


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
    input
        What a row is: one of `INPUTS`; None for what the task says, else a pair where there is a partner column, else a
        protein.
    mask_column, partner_column, pairing
        As of a `Task`, in place of what it says.
    top
        Only the rows of so many labels, those with most training rows; None for all.
    split_by
        One of `SPLIT_WAYS`; None for the column if there is one, else at random.
    identity
        For clusters: least identity, from 0 to 1, at which sequences go into one cluster.
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
    input: str | None = None
    mask_column: str | None = None
    partner_column: str | None = None
    pairing: str | None = None
    top: int | None = None
    split_by: str | None = None
    identity: float = 0.4

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
        self._check_rows()
        check_seed(self.seed)

    def _check_rows(self) -> None:
        for name, value, known in (("input", self.input, INPUTS), ("split_by", self.split_by, SPLIT_WAYS)):
            if value is not None and value not in known:
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{name} is {value!r}; expected one of {', '.join(known)} ({name}=, {option}).")
        if self.pairing is not None:
            parse_pairing(self.pairing)
        if self.top is not None and self.top < 2:
            raise InputError(f"top is {self.top}; expected 2 or more labels (top=, --top).")
        if not 0 < self.identity <= 1:
            raise InputError(
                f"identity is {self.identity}; expected more than 0 and at most 1 (identity=, --identity)."
            )
        if self.split_column is not None and self.split_by not in (None, "column"):
            raise InputError(
                f"A split column was named ({self.split_column!r}), and the rows are to be split by {self.split_by} "
                "(split_by=, --split-by). Leave one of the two out."
            )

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
        A residue without a label has `MASKED` in it.
    partners
        For ``"pair"``: (N, 24) uint8 key of each row's second protein.
    partner_source
        For ``"pair"``: what the second proteins belong to, for messages: a data set, or the file.
    pairing
        For ``"pair"``: how the two vectors are combined.
    residues
        The sequences of rows with these numbers, read when they are asked for.
    partner_residues
        For ``"pair"``: those of the second proteins.
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
    partner_source: str = ""
    pairing: str = ""
    residues: Callable[[NDArray[np.int64]], list[bytes]]
    partner_residues: Callable[[NDArray[np.int64]], list[bytes]] | None = None

    @property
    def keys(self) -> Digests:
        """What tells a row from others, (N, 24) uint8: the protein's key, or one of both proteins of a pair."""
        return self.digests if self.partners is None else pair_digests(self.digests, self.partners)

    @property
    def n_unseen(self) -> int:
        """Validation and test rows whose class no training row has; 0 for what is not one class a row."""
        if self.kind != "class" or self.input == "residue":
            return 0
        others = np.concatenate([self.splits["valid"], self.splits["test"]])
        return int((~np.isin(self.labels[others], self.labels[self.splits["train"]])).sum())

    def targets(self, rows: NDArray[np.int64]) -> Any:
        """What is to be predicted of some rows, as `heads.targets.encode` takes it.

        Returns
        -------
        numpy.ndarray or list
            (n,) text for ``"class"``, (n,) float64 for numbers, n lists of texts for ``"multilabel"``; for residues
            one letter each, (sum of lengths,), empty where a residue has no label.

        Raises
        ------
        InputError
            If a number is asked for and a label is none or NaN, naming the row.
        """
        if self.input == "residue":
            return spread_letters(self.labels[rows].tolist(), MASKED)
        if self.kind == "class":
            return self.labels[rows]
        if self.kind == "multilabel":
            return label_sets(self.labels[rows].tolist(), str(self.label_separator))
        try:
            values: NDArray[np.float64] = self.labels[rows].astype(np.float64)
        except ValueError:
            raise self._no_number(next(row for row in rows.tolist() if not _is_number(str(self.labels[row])))) from None
        if not np.isfinite(values).all():
            raise self._no_number(int(rows[np.argmin(np.isfinite(values))]))
        return values

    def _no_number(self, row: int) -> InputError:
        return InputError(
            f"Column {self.label_column!r} of {self.source} says {str(self.labels[row])!r} for {self.ids[row]!r}; "
            f"kind {self.kind!r} predicts numbers. Leave such rows empty, name a column of numbers (label_column=, "
            "--label-column), or predict classes (kind='class', --kind class)."
        )

    def label_set(self, row: int) -> list[str]:
        """The labels of a row, each once, in the order of the source."""
        text = str(self.labels[row])
        return [text] if self.label_separator is None else label_sets([text], self.label_separator)[0]

    def require_proteins(self, what: str) -> None:
        """Refuse a task whose rows are residues or pairs.

        Raises
        ------
        InputError
            For such a task.
        """
        if self.input != "protein":
            raise InputError(
                f"{self.name} is a task on {self.input}s; {what} is for whole proteins. Use a head that takes such "
                "rows: `heads list` shows which do."
            )

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
