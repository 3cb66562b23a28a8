"""Labelled rows from a data set of the store, or from any labelled file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import numpy as np

from embedstore.errors import SequenceError, UnknownNameError
from embedstore.sequences import Rejected, digest, normalise, read_records
from embedstore.store.datasets import Dataset
from embedstore.store.pairs import partner_dataset
from embedstore.store.store import Store
from embedstore.types import DIGEST_BYTES, Record
from heads.tasks.catalog import TASKS
from heads.tasks.data import TaskData
from heads.tasks.selection import TaskSelection
from heads.tasks.spec import Task
from heads.tasks.table import Table, labelled

_logger = logging.getLogger(__name__)

LABEL_COLUMNS = ("label", "family_accession", "family", "target")
"""Columns of a labelled file or of any data set that can hold the label; the first that is there is used."""


def read_task(selection: TaskSelection, store: Store | None) -> TaskData:
    """The rows that a selection means; those of a file need no store."""
    if selection.labels is not None:
        return read_file(selection)
    if store is None:
        raise TypeError("A task or a data set needs a store.")
    if selection.dataset is not None:
        dataset = store.dataset(selection.dataset)
        return labelled(_dataset_table(dataset, store, selection.dataset), _own(selection), selection)
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
            f"(it has {', '.join(store.datasets()) or 'none'}). Add it: `{task.add_command}`."
        )
    return labelled(_dataset_table(store.dataset(task.dataset), store, task.name), task, selection)


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
    reader = read_records(
        path,
        id_column=selection.id_column,
        sequence_column=selection.sequence_column,
        skip_invalid=selection.skip_invalid,
    )
    records = list(reader)
    rejected = list(reader.report.rejected)
    if selection.skip_invalid and selection.partner_column is not None:
        records, odd = _with_partners(records, selection.partner_column)
        rejected += odd
    for sentence in reader.report.warnings:
        _logger.warning("%s", sentence)
    for one in rejected:
        _logger.warning("%s: left out %r (%s).", one.where, one.id, one.reason)
    table = Table(
        name=path.name.split(".")[0],
        source=str(path),
        where=str(path),
        ids=[record.id for record in records],
        digests=np.frombuffer(b"".join(digest(record.residues) for record in records), np.uint8).reshape(
            -1, DIGEST_BYTES
        ),
        columns=tuple(dict.fromkeys(name for record in records for name in record.columns)),
        read=lambda name: [record.columns.get(name, "") for record in records],
        residues=lambda rows: [records[row].residues for row in rows.tolist()],
        partner_source=str(path),
        n_left_out=len(rejected),
    )
    return labelled(table, _own(selection), selection)


def _with_partners(records: list[Record], column: str) -> tuple[list[Record], list[Rejected]]:
    """The records whose second sequence is a protein too, and the others with the reason."""
    kept, rejected = [], []
    for record in records:
        text = next((value for name, value in record.columns.items() if name.lower() == column.lower()), "")
        try:
            reason = "" if normalise(text.encode()).residues else "it has no residues"
        except SequenceError as error:
            reason = str(error)
        if reason:
            rejected.append(Rejected(id=record.id, where=f"column {column!r}", reason=reason))
        else:
            kept.append(record)
    return kept, rejected


def _own(selection: TaskSelection) -> Task:
    """What is learned of labels that no row of the catalog describes."""
    return Task(
        name=selection.dataset or str(selection.labels),
        target="heads.tasks.readers:read_dataset",
        dataset=selection.dataset or "",
        label_columns=LABEL_COLUMNS,
        target_type="class" if selection.label_separator is None else "multilabel",
        mask_column="mask",
    )


def _dataset_table(dataset: Dataset, store: Store, name: str) -> Table:
    digests = dataset.digests
    return Table(
        name=name,
        source=dataset.name,
        where=f"Data set {dataset.name!r}",
        ids=dataset.ids(),
        digests=digests,
        columns=tuple(dataset.columns),
        read=dataset.column,
        residues=lambda rows: store.sequences.take(digests[rows]),
        partner_source=partner_dataset(dataset.name),
    )
