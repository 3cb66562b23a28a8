"""Which labelled rows a function works on, named alike in Python, on the command line and in a saved head."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from embedstore.errors import InputError
from heads.tasks.data import INPUTS
from heads.tasks.pairing import parse_pairing
from heads.tasks.targets import KINDS

SPLIT_WAYS = ("column", "random", "clusters")
"""By what rows are split: a column of the source, their key, or clusters of similar sequences."""

NO_GROUPS = "none"
"""In place of a column of groups: every row for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSelection:
    """Which labelled rows a function works on: a task, a labelled file or a data set, with its columns and split.

    Functions of `heads` take it as ``task=``; ``task="pfam"``, ``labels="mine.csv"`` and ``dataset="mine"`` are short
    for a selection with the defaults. The fields are called as the options of the command line.

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
    skip_invalid
        Whether rows of the labelled file that are no proteins (of pairs: with one that is none) are left out, and
        named, in place of an error.
    seed
        Of the random split, where there is no split column.
    label_separator
        What stands between the labels of a row that can have several; None for what the task says, else for one label.
    target_type
        What is predicted: one of `heads.tasks.targets.KINDS`; None for what the task says, else one class, or
        several where there is a separator.
    input
        What a row is: one of `INPUTS`; None for what the task says, else a pair where there is a partner column, else a
        protein.
    mask_column, partner_column, pairing
        As of a `Task`, in place of what it says.
    group_column
        Column whose equal texts make rows relatives of each other, which intervals draw together; `NO_GROUPS` for rows
        on their own; None for what the task says, if the data set has it.
    top
        Only the rows of so many labels, those with most training rows; None for all.
    split_by
        One of `SPLIT_WAYS`; None for the column if there is one, else at random.
    identity
        For clusters: least identity, from 0 to 1, at which sequences go into one cluster.

    Examples
    --------
    >>> from heads.tasks import TaskSelection
    >>> TaskSelection(dataset="families", label_column="family", split_by="clusters").identity
    0.4
    """

    task: str | None = None
    labels: str | None = None
    dataset: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    id_column: str | None = None
    sequence_column: str | None = None
    skip_invalid: bool = False
    seed: int = 0
    label_separator: str | None = None
    target_type: str | None = None
    input: str | None = None
    mask_column: str | None = None
    partner_column: str | None = None
    pairing: str | None = None
    group_column: str | None = None
    top: int | None = None
    split_by: str | None = None
    identity: float = 0.4

    @classmethod
    def of(
        cls,
        task: str | TaskSelection | None = None,
        *,
        labels: str | PathLike[str] | None = None,
        dataset: str | None = None,
        seed: int = 0,
    ) -> TaskSelection:
        """The selection that a caller means by a name, a labelled file, a data set, or by a selection itself.

        Raises
        ------
        InputError
            If not exactly one of them is given.
        """
        if not isinstance(task, TaskSelection):
            return cls(task=task, labels=None if labels is None else str(labels), dataset=dataset, seed=seed)
        if labels is not None or dataset is not None:
            raise InputError(
                "A TaskSelection was given (task=) and labels or a data set beside it (labels=, dataset=). Name them "
                "in the TaskSelection."
            )
        return replace(task, seed=seed)

    def __post_init__(self) -> None:
        if self.labels is not None:
            # Absolute, so that a saved head finds the file from any folder.
            object.__setattr__(self, "labels", str(Path(self.labels).absolute()))
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
        if self.labels is None and self.skip_invalid:
            raise InputError(
                "Rows that are no proteins can be left out of a labelled file (labels=, --labels), and "
                f"{given[0]} was given, whose rows are proteins. Leave skip_invalid out (--skip-invalid)."
            )
        if self.label_separator == "":
            raise InputError("The separator of labels is empty; expected a character (label_separator=).")
        if self.target_type is not None and self.target_type not in KINDS:
            raise InputError(
                f"target_type is {self.target_type!r}; expected one of {', '.join(KINDS)} (target_type=, "
                f"--target-type)."
            )
        if self.target_type == "multilabel" and self.task is None and self.label_separator is None:
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
