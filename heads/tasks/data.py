"""The labelled rows of a task, as its reader finds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.types import Digests
from heads.tasks.keys import pair_keys
from heads.tasks.targets import label_sets

INPUTS = ("protein", "residue", "pair")
"""What a row of a task is: a protein, each residue of one, or two proteins."""

MASKED = " "
"""Stands in a text of labels for a residue that has none."""


@dataclass(frozen=True, kw_only=True, eq=False)
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
    n_unlabelled, n_unassigned, n_left_out
        Rows left out because they have no label, stand in no split, or are no proteins.
    label_separator
        What stands between the labels of a row; None where each row has one.
    target_type
        What is predicted: one of `heads.tasks.targets.KINDS`.
    input
        What a row is: one of `INPUTS`. For ``"residue"`` the label is a text with a letter a residue.
        A residue without a label has `MASKED` in it.
    partners
        For ``"pair"``: (N, 24) uint8 key of each row's second protein.
    partner_source
        For ``"pair"``: what the second proteins belong to, for messages: a data set, or the file.
    pairing
        For ``"pair"``: how the two vectors are combined.
    group_column
        Column whose equal texts make rows relatives of each other; empty where there is none.
    groups
        (N,) int64: rows of one number are relatives, which intervals draw together; -1 for a row that has none. None
        without such a column.
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
    target_type: str = "class"
    input: str = "protein"
    partners: Digests | None = None
    partner_source: str = ""
    pairing: str = ""
    group_column: str = ""
    groups: NDArray[np.int64] | None = None
    residues: Callable[[NDArray[np.int64]], list[bytes]]
    partner_residues: Callable[[NDArray[np.int64]], list[bytes]] | None = None
    n_left_out: int = 0

    @cached_property
    def keys(self) -> Digests:
        """What tells a row from others, (N, 24) uint8: the protein's key, or one of both proteins of a pair."""
        return self.digests if self.partners is None else pair_keys(self.digests, self.partners)

    @property
    def n_unseen(self) -> int:
        """Validation and test rows whose class no training row has; 0 for what is not one class a row."""
        if self.target_type != "class" or self.input == "residue":
            return 0
        others = np.concatenate([self.splits["valid"], self.splits["test"]])
        return int((~np.isin(self.labels[others], self.labels[self.splits["train"]])).sum())

    def require_trained_classes(self, split: str) -> None:
        """Refuse a split of which no row has a class that training saw: whatever predicts, all of them are wrong.

        Raises
        ------
        InputError
            For such a split.
        """
        if self.target_type != "class" or self.input == "residue":
            return
        labels = self.labels[self.rows(split)]
        if not np.isin(labels, self.labels[self.splits["train"]]).any():
            raise InputError(
                f"None of the {len(labels):,} {split} rows of {self.source} has a class that a training row has "
                f"(first: {str(labels[0])!r}). Split so that classes are on both sides (--split-by random)."
            )

    def targets(self, rows: NDArray[np.int64]) -> Any:
        """What is to be predicted of some rows, as `heads.tasks.targets.encode` takes it.

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
        if self.target_type == "class":
            return self.labels[rows]
        if self.target_type == "multilabel":
            return label_sets(self.labels[rows].tolist(), str(self.label_separator))
        try:
            values: NDArray[np.float64] = self.labels[rows].astype(np.float64)
        except ValueError:
            raise self._no_number(next(row for row in rows.tolist() if not is_number(str(self.labels[row])))) from None
        if not np.isfinite(values).all():
            raise self._no_number(int(rows[np.argmin(np.isfinite(values))]))
        return values

    def _no_number(self, row: int) -> InputError:
        return InputError(
            f"Column {self.label_column!r} of {self.source} says {str(self.labels[row])!r} for {self.ids[row]!r}; "
            f"target_type {self.target_type!r} predicts numbers. Leave such rows empty, name a column of "
            f"numbers (label_column=, "
            "--label-column), or predict classes (target_type='class', --target-type class)."
        )

    def require_partners(self) -> Digests:
        """Keys of the second proteins of a task on pairs."""
        if self.partners is None:
            raise TypeError(f"{self.name} is a task on {self.input}s, which have no partners.")
        return self.partners

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


def is_number(text: str) -> bool:
    """Whether a label is written as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def spread_letters(texts: Sequence[str], blank: str) -> NDArray[np.str_]:
    """The letters of all texts as one array, (sum of lengths,) of one letter each; `blank` becomes no letter.

    >>> spread_letters(["HC", "-E"], "-")
    array(['H', 'C', '', 'E'], dtype='<U1')
    """
    # As UTF-32 a letter is four bytes, which is how numpy holds a text of length one; no letter is zero.
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32).copy()
    codes[codes == ord(blank)] = 0
    return codes.view("<U1")
