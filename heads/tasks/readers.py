"""Labelled rows from a data set of the store, or from any labelled file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from embedstore.errors import InputError, UnknownNameError
from embedstore.sequences import digest, read_records
from embedstore.store.datasets import Dataset
from embedstore.store.store import Store
from embedstore.types import DIGEST_BYTES, Digests
from heads.splits import split_by_column, split_by_key
from heads.tasks.base import Task, TaskData, TaskSelection
from heads.tasks.catalog import TASKS

LABEL_COLUMNS = ("label", "family_accession", "family")
"""Columns of a labelled file or of any data set that can hold the label; the first that is there is used."""

SPLIT_COLUMN = "split"
"""Column of either that says which rows are for training."""


def read_task(selection: TaskSelection, store: Store) -> TaskData:
    """The rows that a selection means."""
    if selection.labels is not None:
        return read_file(selection)
    if selection.dataset is not None:
        return _dataset_rows(
            store.dataset(selection.dataset),
            selection,
            name=selection.dataset,
            label_columns=LABEL_COLUMNS,
            split_column=SPLIT_COLUMN,
            split_names={},
            separator=selection.label_separator,
            kind=_kind(selection),
        )
    name = cast(str, selection.task)
    return cast(TaskData, TASKS.load(name)(TASKS[name], selection, store))


def read_dataset(task: Task, selection: TaskSelection, store: Store) -> TaskData:
    """The rows of a task whose data set is in the store.

    Raises
    ------
    UnknownNameError
        If the store has no such data set.
    InputError
        If it has no label, or a split that is not known.
    """
    if task.dataset not in store.datasets():
        raise UnknownNameError(
            f"Task {task.name!r} needs the data set {task.dataset!r}, which the store at {store.path} does not have "
            f"(it has {', '.join(store.datasets()) or 'none'}). Add it: `embedstore add {task.dataset} PATH`."
        )
    return _dataset_rows(
        store.dataset(task.dataset),
        selection,
        name=task.name,
        label_columns=task.label_columns,
        split_column=task.split_column,
        split_names=task.splits,
        separator=selection.label_separator or task.label_separator,
        kind=selection.kind or task.kind,
        input_=task.input,
    )


def read_file(selection: TaskSelection) -> TaskData:
    """The rows of any labelled file: FASTA, CSV, TSV, Parquet or a directory of splits.

    Raises
    ------
    MissingFileError, FileFormatError, SequenceError
        As `embedstore.sequences.read_records` does.
    InputError
        If it has no label column.
    """
    path = Path(cast(str, selection.labels))
    ids, digests, rows = [], [], []
    for record in read_records(path, id_column=selection.id_column, sequence_column=selection.sequence_column):
        ids.append(record.id)
        digests.append(digest(record.residues))
        rows.append(record.columns)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    wanted = (selection.label_column,) if selection.label_column else LABEL_COLUMNS
    label = _first_column(wanted, columns, where=str(path))
    split = _split_column(selection.split_column, SPLIT_COLUMN, columns, where=str(path))
    return _labelled(
        name=path.name.split(".")[0],
        source=str(path),
        label_column=label,
        split_column=split,
        split_names={},
        seed=selection.seed,
        ids=ids,
        digests=np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES),
        labels=[row.get(label, "") for row in rows],
        splits=[row.get(split, "") for row in rows] if split else None,
        separator=selection.label_separator,
        kind=_kind(selection),
    )


def _kind(selection: TaskSelection) -> str:
    return selection.kind or ("class" if selection.label_separator is None else "multilabel")


def _dataset_rows(
    dataset: Dataset,
    selection: TaskSelection,
    *,
    name: str,
    label_columns: Sequence[str],
    split_column: str,
    split_names: Mapping[str, str],
    separator: str | None,
    kind: str,
    input_: str = "protein",
) -> TaskData:
    where = f"Data set {dataset.name!r}"
    wanted = (selection.label_column,) if selection.label_column else label_columns
    label = _first_column(wanted, dataset.columns, where=where)
    split = _split_column(selection.split_column, split_column, dataset.columns, where=where)
    return _labelled(
        name=name,
        source=dataset.name,
        label_column=label,
        split_column=split,
        split_names=split_names,
        seed=selection.seed,
        ids=dataset.ids(),
        digests=dataset.digests,
        labels=dataset.column(label),
        splits=dataset.column(split) if split else None,
        separator=separator,
        kind=kind,
        input_=input_,
    )


def _first_column(wanted: Sequence[str], columns: Sequence[str], *, where: str) -> str:
    for name in wanted:
        if name in columns:
            return name
    raise InputError(
        f"{where} has no labels: there is no column {' or '.join(repr(name) for name in wanted)} among its columns "
        f"({', '.join(columns) or 'none besides id and sequence'}). Name the column with the labels "
        "(label_column=, --label-column)."
    )


def _split_column(named: str | None, usual: str, columns: Sequence[str], *, where: str) -> str | None:
    """The column to split by; None where the usual one is not there, but never for one that was asked for."""
    if named is None:
        return usual if usual in columns else None
    if named not in columns:
        raise InputError(f"{where} has no column {named!r} to split by; it has {', '.join(columns) or 'none'}.")
    return named


def _labelled(
    *,
    name: str,
    source: str,
    label_column: str,
    split_column: str | None,
    split_names: Mapping[str, str],
    seed: int,
    ids: list[str],
    digests: Digests,
    labels: Sequence[str],
    splits: Sequence[str] | None,
    separator: str | None,
    kind: str,
    input_: str = "protein",
) -> TaskData:
    texts = np.asarray(labels, dtype=np.str_)
    # A row of separators alone has no label either.
    has_label = (texts if separator is None else np.strings.strip(texts, f"{separator} ")) != ""
    if not has_label.any():
        raise InputError(
            f"{source} has no labels: column {label_column!r} is empty in all {len(ids):,} rows. "
            "Name another (label_column=, --label-column)."
        )
    if split_column is None or splits is None:
        parts, rule = split_by_key(digests, seed=seed), f"random 80/10/10 by key, seed {seed}"
    else:
        parts = split_by_column(splits, names=split_names, column=split_column)
        rule = f"column {split_column}"
    labelled = {part: rows[has_label[rows]] for part, rows in parts.items()}
    if not len(labelled["valid"]):
        rule += ", without validation rows"
    return TaskData(
        name=name,
        source=source,
        label_column=label_column,
        split_rule=rule,
        ids=ids,
        digests=digests,
        labels=texts,
        splits=labelled,
        n_unlabelled=int((~has_label).sum()),
        n_unassigned=len(ids) - sum(len(rows) for rows in parts.values()),
        label_separator=separator if kind == "multilabel" else None,
        kind=kind,
        input=input_,
    )
