"""Which rows of a published table take part in a comparison, as contenders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedstore.errors import InputError, StoreError
from embedstore.store.store import Store
from heads.catalog import HEADS
from heads.evaluation.methods import (
    HeadMethod,
    Method,
    Settings,
    UnavailableMethod,
    methods_of,
    vector_sources,
)
from heads.features.sources import SequenceSource
from heads.published import TABLES
from heads.published.table import PublishedRow, PublishedTable
from heads.tasks.data import TaskData


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row of a comparison that follows a published table.

    Attributes
    ----------
    contender
        What is fitted and judged.
    row
        The published row that it stands for; None for a head that the table has not.
    """

    contender: Method
    row: PublishedRow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """What takes part.

    Attributes
    ----------
    table
        The published table.
    entries
        In its order; what it has not comes last.
    left_out
        Rows that cannot take part, by name, with the reason.
    """

    table: PublishedTable
    entries: tuple[Entry, ...]
    left_out: Mapping[str, str]


def select_methods(
    name: str,
    store: Store | None,
    data: TaskData,
    heads: Sequence[str] | None,
    spaces: Sequence[str] | None,
    given: Settings,
) -> Entered:
    """The rows of a published table that a task can have.

    Parameters
    ----------
    name
        Of the table.
    store, data
        The task, and where its vectors are; without a store only rows that read sequences can be fitted.
    heads
        Heads that take part, of the table or not; None for the whole table.
    spaces
        Of heads that read vectors; None for all that fit.
    given
        Settings of the heads; those of a table's row stand between a small trial's and the caller's.

    Raises
    ------
    UnknownNameError
        For a table, a head or a space that is not there.
    InputError
        If the table is of other tasks, no row of it takes part, or settings are given for a head that does not.
    """
    table: PublishedTable = TABLES.load(name)
    _require_task(table, data)
    for head in heads or ():
        HEADS[head]  # an unknown one is an error
    asked = [row for row in table.rows if heads is None or row.head in heads]
    left_out = {row.name: why for row in asked if (why := _why_not(row, data))}
    taken = [row for row in asked if row.name not in left_out]
    if not taken:
        reasons = "; ".join(f"{row}: {why}" for row, why in left_out.items())
        reasons = reasons or f"its heads are {', '.join(dict.fromkeys(row.head for row in table.rows))}"
        raise InputError(f"No row of table {name!r} (rows=, --rows) takes part in {data.name}: {reasons}.")
    others = [head for head in dict.fromkeys(heads or ()) if head not in {row.head for row in table.rows}]
    given.require([*(row.head for row in taken), *others])
    entries = [entry for row in taken for entry in _entries(row, store, data, spaces, given)]
    if others:
        entries += [Entry(contender=one, row=None) for one in methods_of(store, data, others, spaces, given)]
    return Entered(table=table, entries=tuple(entries), left_out=left_out)


def _entries(
    row: PublishedRow, store: Store | None, data: TaskData, spaces: Sequence[str] | None, given: Settings
) -> list[Entry]:
    params = given.of(row.head, row.params)
    if HEADS[row.head].reads != "vectors":
        contender = HeadMethod(row.head, SequenceSource(), params, name=row.name)
        return [Entry(contender=contender, row=row)]
    try:
        sources = vector_sources(store, data, spaces)
    except (InputError, StoreError) as error:
        if spaces:
            raise
        # Only this row needs a space: the others go on.
        return [Entry(contender=UnavailableMethod(row.name, row.head, str(error)), row=row)]
    return [
        Entry(contender=HeadMethod(row.head, source, params, name=f"{row.name} · {label}"), row=row)
        for source, label in sources
    ]


def _require_task(table: PublishedTable, data: TaskData) -> None:
    if data.target_type in table.target_types and data.input in table.inputs:
        return
    figures = ", ".join(table.measured_on)
    raise InputError(
        f"Table {table.name!r} (rows=, --rows) compares methods that predict {' or '.join(table.target_types)} of a "
        f"{' or '.join(table.inputs)}, and {data.name} is {data.target_type} of a {data.input}. Name "
        f"another task (it has "
        f"figures for {figures}), another table ({', '.join(TABLES)}), or heads alone (heads=, --heads)."
    )


def _why_not(row: PublishedRow, data: TaskData) -> str:
    spec = HEADS[row.head]
    if data.input not in spec.inputs:
        return f"{row.head} takes no {data.input} as a row"
    if data.target_type not in spec.target_types:
        return f"{row.head} does not predict {data.target_type}"
    if row.variants and len({len(residues) for residues in data.residues(data.rows("all"))}) > 1:
        return f"{row.head} needs proteins of one length"
    return ""
