"""A row of the task catalog: what a task is, where its files are, and under which licence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

NOT_STATED = "not stated"
"""Licence of data whose publishers give none."""


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
    target_type
        What is predicted: one of `heads.tasks.targets.KINDS`.
    input
        What of: one of `INPUTS`.
    label_separator
        What stands between the labels of a row; for ``"multilabel"`` alone.
    mask_column
        For residues: column with a ``0`` for each residue that has no label. Not every data set has it.
    partner_column
        For pairs: column with the sequence of the second protein.
    pairing
        For pairs: how the two vectors are combined; see `heads.tasks.pairing.PAIRINGS`.
    split_column
        Column that says which rows are for training. A data set without it is split at random by key.
    splits
        What the column's texts mean, besides the usual names: ``{"holdout": "test"}``.
    group_column
        Column whose equal texts make rows relatives of each other, which intervals draw together: a family, where the
        label is a superfamily. Not every data set has it.
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
    note
        What a reader of figures has to know of the published split.
    field
        What the task is about, to sort a list by.
    summary
        One line for a list.
    """

    name: str
    target: str
    dataset: str
    label_columns: tuple[str, ...]
    target_type: str = "class"
    input: str = "protein"
    label_separator: str | None = None
    mask_column: str | None = None
    partner_column: str | None = None
    pairing: str | None = None
    split_column: str = "split"
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    group_column: str | None = None
    main_metric: str = "accuracy"
    licence: str = NOT_STATED
    citation: str = ""
    source_url: str = ""
    layout: str = ""
    files: tuple[RemoteFile, ...] = ()
    tidy: str = ""
    add_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""
    field: str = "other"
    summary: str = ""

    @property
    def add_command(self) -> str:
        """The command that adds its files, in their published layout."""
        columns = dict(self.add_options) | ({"partner_column": self.partner_column} if self.partner_column else {})
        options = "".join(f" --{name.replace('_', '-')} {value!r}" for name, value in columns.items())
        return f"embedstore add {self.dataset} PATH{options}"
