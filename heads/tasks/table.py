"""A labelled table as readers find it, and its rows with labels and splits as a task has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError, SequenceError
from embedstore.sequences import digest, normalise
from embedstore.types import DIGEST_BYTES, Digests
from heads.tasks.clusters import Clusters, cluster_sequences
from heads.tasks.data import MASKED, TaskData
from heads.tasks.keys import pair_keys
from heads.tasks.pairing import ORDERED
from heads.tasks.selection import NO_GROUPS, TaskSelection
from heads.tasks.spec import Task
from heads.tasks.splitting import split_by_clusters, split_by_column, split_by_key

HEADER_COLUMN = "description"
"""Where what a FASTA header says after the id is kept."""

SET_COLUMNS = ("set",)
"""What the column of splits is called besides ``split``."""

VALIDATION_COLUMN = "validation"
"""Beside a column of splits: which of the training rows are for validation, as FLIP's files have it."""

_FIELD = re.compile(r"(?:^|(?<=\s))([A-Za-z_][A-Za-z0-9_]*)=")
_TRUE = frozenset({"true", "1", "yes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of proteins with columns of text.

    Attributes
    ----------
    name
        What the rows are called.
    source
        Data set or path, for messages and commands.
    where
        The same as the first word of a message.
    ids
        Id of each row.
    digests
        (N, 24) uint8 key of each row's protein.
    columns
        Names of the columns.
    read
        Gives the text of each row in a column.
    residues
        Gives the sequences of rows by their numbers.
    partner_source
        What the second proteins of pairs belong to.
    n_left_out
        Rows of the source that are no proteins.
    """

    name: str
    source: str
    where: str
    ids: list[str]
    digests: Digests
    columns: tuple[str, ...]
    read: Callable[[str], Sequence[str]]
    residues: Callable[[NDArray[np.int64]], list[bytes]]
    partner_source: str
    n_left_out: int = 0


def with_header_fields(table: Table, wanted: Sequence[str]) -> Table:
    """The table, with the ``key=value`` fields of its FASTA headers as columns where it has no wanted column."""
    if HEADER_COLUMN not in table.columns or any(_column(name, table) is not None for name in wanted):
        return table
    rows = [header_fields(text) for text in table.read(HEADER_COLUMN)]
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: [row.get(name, "") for row in rows] for name in names if name not in table.columns}
    return replace(
        table,
        columns=(*table.columns, *found),
        read=lambda name: found[name] if name in found else table.read(name),
    )


def header_fields(text: str) -> dict[str, str]:
    """The ``key=value`` fields of a FASTA header, keys in lower case; a value reaches to the next key.

    >>> header_fields("SET=train VALIDATION=False TARGET=1.5")
    {'set': 'train', 'validation': 'False', 'target': '1.5'}
    >>> header_fields("Lysozyme OS=Homo sapiens label=Cell membrane")
    {'os': 'Homo sapiens', 'label': 'Cell membrane'}
    """
    found = list(_FIELD.finditer(text))
    ends = [*(one.start() for one in found[1:]), len(text)][: len(found)]
    return {one[1].lower(): text[one.end() : end].strip() for one, end in zip(found, ends, strict=True)}


def labelled(table: Table, task: Task, selection: TaskSelection) -> TaskData:
    """The labelled rows of a table.

    Parameters
    ----------
    table
        The rows.
    task
        What is to be learned of them, where `selection` does not say otherwise.
    selection
        In the words of the caller.

    Raises
    ------
    InputError
        If there is no label, a column that was asked for is missing, or a split is not known.
    """
    wanted = (selection.label_column,) if selection.label_column else task.label_columns
    table = with_header_fields(table, wanted)
    label_column = _first_column(wanted, table)
    separator = selection.label_separator or task.label_separator
    target_type = selection.target_type or task.target_type
    partner_column = selection.partner_column or task.partner_column
    input_ = selection.input or ("pair" if partner_column else task.input)
    if input_ == "residue" and target_type != "class":
        raise InputError(
            f"A task on residues predicts a class each; target_type is {target_type!r} (target_type=, "
            f"--target-type). Leave it out."
        )
    texts = _texts(
        table,
        label_column,
        selection.mask_column or task.mask_column,
        target_type=target_type,
        input_=input_,
        named=selection,
    )
    has_label = _has_label(texts, separator)
    if not has_label.any():
        raise InputError(
            f"{table.source} has no labels: column {label_column!r} is empty in all {len(table.ids):,} rows. "
            "Name another (label_column=, --label-column)."
        )
    partners = _partners(table, partner_column) if input_ == "pair" else None
    parts, rule = _split(table, task, selection, partners)
    splits = {part: rows[has_label[rows]] for part, rows in parts.items()}
    if selection.top is not None:
        splits = most_frequent(texts, splits, selection.top, target_type=target_type, input_=input_)
        rule += f"; the {selection.top:,} labels with most training rows"
    rule += "".join(f", without {name} rows" for name, part in (("validation", "valid"), ("test", "test"))
                    if not len(splits[part]))  # fmt: skip
    group_column = _group_column(table, task, selection)
    return TaskData(
        name=table.name,
        source=table.source,
        label_column=label_column,
        split_rule=rule,
        ids=table.ids,
        digests=table.digests,
        labels=texts,
        splits=splits,
        n_unlabelled=int((~has_label).sum()),
        n_left_out=table.n_left_out,
        n_unassigned=int(has_label.sum()) - sum(int(has_label[rows].sum()) for rows in parts.values()),
        label_separator=separator if target_type == "multilabel" else None,
        target_type=target_type,
        input=input_,
        partners=None if partners is None else _keys(partners),
        partner_source=table.partner_source,
        pairing=selection.pairing or task.pairing or ORDERED,
        group_column=group_column or "",
        groups=None if group_column is None else _group_codes(table.read(group_column)),
        residues=table.residues,
        partner_residues=None if partners is None else lambda rows: [partners[row] for row in rows.tolist()],
    )


def most_frequent(
    labels: NDArray[np.str_], splits: dict[str, NDArray[np.int64]], top: int, *, target_type: str, input_: str
) -> dict[str, NDArray[np.int64]]:
    """The rows of the `top` labels that have most training rows; of equally frequent ones the first by name.

    Raises
    ------
    InputError
        If rows have not one class each, or there are not so many labels.
    """
    if target_type != "class" or input_ == "residue":
        raise InputError("The most frequent labels (top=, --top) are for tasks with one class a row. Leave it out.")
    names, counts = np.unique(labels[splits["train"]], return_counts=True)
    if len(names) < top:
        raise InputError(
            f"top is {top:,}, but the training rows have {len(names):,} labels. Ask for fewer, or for all."
        )
    kept = names[np.argsort(-counts, kind="stable")[:top]]
    return {part: rows[np.isin(labels[rows], kept)] for part, rows in splits.items()}


def _texts(
    table: Table, column: str, mask_column: str | None, *, target_type: str, input_: str, named: TaskSelection
) -> NDArray[np.str_]:
    """The label of each row; of residues with `MASKED` where there is none.

    Several labels, and those of residues, are objects: one long text would make all rows of an array as wide.
    """
    texts = table.read(column)
    if input_ != "residue":
        return np.asarray(texts, dtype=object if target_type == "multilabel" else np.str_)
    if named.mask_column is not None:
        mask_column = _require_column(named.mask_column, table, "mask residues by")
    elif mask_column is not None:
        mask_column = _column(mask_column, table)
    if mask_column is None:
        return np.asarray(texts, dtype=object)
    out = np.empty(len(texts), dtype=object)
    for row, (text, mask) in enumerate(zip(texts, table.read(mask_column), strict=True)):
        if len(mask) != len(text):
            raise InputError(
                f"{table.where}: {table.ids[row]!r} has {len(text):,} labels in column {column!r} and a mask of "
                f"{len(mask):,} in {mask_column!r}; expected one of each a residue. Correct that row."
            )
        out[row] = "".join(MASKED if shown == "0" else label for label, shown in zip(text, mask, strict=True))
    return out


def _has_label(texts: NDArray[np.str_], separator: str | None) -> NDArray[np.bool_]:
    # A row of separators alone has no label either.
    if texts.dtype == object:
        ends = None if separator is None else f"{separator} "
        return np.fromiter((bool(text.strip(ends)) for text in texts), np.bool_, count=len(texts))
    stripped: NDArray[np.str_] = texts if separator is None else np.strings.strip(texts, f"{separator} ")
    there: NDArray[np.bool_] = stripped != ""
    return there


def _split(
    table: Table, task: Task, selection: TaskSelection, partners: list[bytes] | None
) -> tuple[dict[str, NDArray[np.int64]], str]:
    """Rows of each part, and the rule in words."""
    way, seed = selection.split_by, selection.seed
    if way not in ("random", "clusters") and (column := _split_column(table, task, selection)) is not None:
        texts = list(table.read(column))
        flagged = _column(VALIDATION_COLUMN, table)
        if column.lower() in SET_COLUMNS and flagged is not None:
            flags = table.read(flagged)
            texts = ["valid" if flag.lower() in _TRUE and text.lower() == "train" else text
                     for text, flag in zip(texts, flags, strict=True)]  # fmt: skip
        return split_by_column(texts, names=task.splits, column=column), f"column {column}"
    keys = table.digests if partners is None else pair_keys(table.digests, _keys(partners))
    if way == "clusters":
        clusters = _clusters(table, selection.identity, partners)
        return split_by_clusters(clusters.codes, keys, seed=seed), f"80/10/10 by {clusters.rule}, seed {seed}"
    what = "key" if partners is None else "key of the pair"
    return split_by_key(keys, seed=seed), f"random 80/10/10 by {what}, seed {seed}"


def _clusters(table: Table, identity: float, partners: list[bytes] | None) -> Clusters:
    """Clusters of the rows; of pairs those that have their proteins in the same two clusters are in one."""
    n_rows = len(table.ids)
    if partners is None:
        return cluster_sequences(table.digests, lambda: table.residues(np.arange(n_rows)), identity=identity)
    found = cluster_sequences(
        np.concatenate([table.digests, _keys(partners)]),
        lambda: [*table.residues(np.arange(n_rows)), *partners],
        identity=identity,
    )
    both = np.sort(np.stack([found.codes[:n_rows], found.codes[n_rows:]]), axis=0)
    codes = np.unique(both, axis=1, return_inverse=True)[1].reshape(-1)
    return Clusters(codes=codes, rule=f"pairs of {found.rule}")


def _split_column(table: Table, task: Task, selection: TaskSelection) -> str | None:
    """The column to split by; None where no usual one is there, but never for one that was asked for."""
    if selection.split_column is not None:
        return _require_column(selection.split_column, table, "split by")
    there = (_column(name, table) for name in (task.split_column, *SET_COLUMNS))
    usual = next((column for column in there if column is not None), None)
    if usual is None and selection.split_by == "column":
        return _require_column(task.split_column, table, "split by")
    return usual


def _group_column(table: Table, task: Task, selection: TaskSelection) -> str | None:
    """The column of groups; None where rows stand for themselves."""
    if selection.group_column == NO_GROUPS:
        return None
    if selection.group_column is not None:
        return _require_column(selection.group_column, table, "group rows by")
    return None if task.group_column is None else _column(task.group_column, table)


def _group_codes(texts: Sequence[str]) -> NDArray[np.int64]:
    """(N,) int64 from 0, equal for equal texts; -1 for an empty one."""
    names, codes = np.unique(np.asarray(texts, dtype=np.str_), return_inverse=True)
    return codes.astype(np.int64) - int(bool(len(names)) and names[0] == "")


def _keys(sequences: Sequence[bytes]) -> Digests:
    """(n, 24) uint8."""
    return np.frombuffer(b"".join(map(digest, sequences)), np.uint8).reshape(-1, DIGEST_BYTES)


def _partners(table: Table, column: str | None) -> list[bytes]:
    """The second protein of each row."""
    if column is None:
        raise InputError(
            "A task on pairs needs the column of the second sequences (partner_column=, --partner-column)."
        )
    found = []
    for name, text in zip(
        table.ids, table.read(_require_column(column, table, "take second proteins from")), strict=True
    ):
        try:
            residues = normalise(text.encode()).residues
        except SequenceError as error:
            raise InputError(f"{table.where}, {name!r}, column {column!r}: {error}") from error
        if not residues:
            raise InputError(f"{table.where}, {name!r}: column {column!r} has no residues. Leave such pairs out.")
        found.append(residues)
    return found


def _column(name: str, table: Table) -> str | None:
    """The column of that name, or else the one that is called so but for upper and lower case."""
    alike = [column for column in table.columns if column.lower() == name.lower()]
    if name in table.columns:
        return name
    return alike[0] if len(alike) == 1 else None


def _first_column(wanted: Sequence[str], table: Table) -> str:
    for name in wanted:
        if (column := _column(name, table)) is not None:
            return column
    raise InputError(
        f"{table.where} has no labels: there is no column {' or '.join(repr(name) for name in wanted)} among its "
        f"columns ({', '.join(table.columns) or 'none besides id and sequence'}). Name the column with the labels "
        "(label_column=, --label-column)."
    )


def _require_column(name: str, table: Table, what: str) -> str:
    if (column := _column(name, table)) is None:
        raise InputError(
            f"{table.where} has no column {name!r} to {what}; it has {', '.join(table.columns) or 'none'}."
        )
    return column
