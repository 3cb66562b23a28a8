"""The methods of a published table that a task can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedstore.errors import InputError, StoreError
from embedstore.store.store import Store
from heads.catalog import HEADS
from heads.evaluation.methods import HeadMethod, Method, Settings, UnavailableMethod, head_methods, vector_sources
from heads.features.sources import SequenceSource
from heads.published import TABLES
from heads.published.table import PublishedRow, PublishedTable
from heads.tasks.data import TaskData


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedMethods:
    """The methods of a comparison with a published table.

    Attributes
    ----------
    table
        The published table.
    methods
        Each with its published row, in the order of the table; then heads that the table does not have, with None.
    left_out
        Published rows that the task cannot have, with the reason.
    """

    table: PublishedTable
    methods: tuple[tuple[Method, PublishedRow | None], ...]
    left_out: Mapping[str, str]


def select_methods(
    name: str,
    store: Store | None,
    data: TaskData,
    heads: Sequence[str] | None,
    spaces: Sequence[str] | None,
    settings: Settings,
) -> SelectedMethods:
    """The methods of a published table that a task can have.

    Parameters
    ----------
    name
        Of the table.
    store, data
        The task, and where its vectors are; without a store only methods that read sequences can be fitted.
    heads
        Heads to compare, of the table or not; None for the whole table.
    spaces
        Of heads that read vectors; None for all that fit.
    settings
        Parameters of the heads; those of the table override a quick trial's, and the caller's override both.

    Raises
    ------
    UnknownNameError
        For an unknown table, head or space.
    InputError
        If the table is of other tasks, none of its methods can be compared, or parameters are given for a head that is
        not.
    """
    table: PublishedTable = TABLES.load(name)
    _check_task(table, data)
    for head in heads or ():
        HEADS[head]  # an unknown one is an error
    requested = [row for row in table.rows if heads is None or row.head in heads]
    left_out = {row.name: reason for row in requested if (reason := _reason_to_leave_out(row, data))}
    rows = [row for row in requested if row.name not in left_out]
    if not rows:
        reasons = "; ".join(f"{row}: {reason}" for row, reason in left_out.items())
        reasons = reasons or f"its heads are {', '.join(dict.fromkeys(row.head for row in table.rows))}"
        raise InputError(f"No row of table {name!r} (table=, --table) can be compared on {data.name}: {reasons}.")
    others = [head for head in dict.fromkeys(heads or ()) if head not in {row.head for row in table.rows}]
    settings.check([*(row.head for row in rows), *others])
    methods: list[tuple[Method, PublishedRow | None]] = [
        (method, row) for row in rows for method in _row_methods(row, store, data, spaces, settings)
    ]
    if others:
        methods += [(method, None) for method in head_methods(store, data, others, spaces, settings)]
    return SelectedMethods(table=table, methods=tuple(methods), left_out=left_out)


def _row_methods(
    row: PublishedRow, store: Store | None, data: TaskData, spaces: Sequence[str] | None, settings: Settings
) -> list[Method]:
    params = settings.params_of(row.head, row.params)
    if HEADS[row.head].reads != "vectors":
        return [HeadMethod(row.head, SequenceSource(), params, name=row.name)]
    try:
        sources = vector_sources(store, data, spaces)
    except (InputError, StoreError) as error:
        if spaces:
            raise
        # Other methods need no space and can go on.
        return [UnavailableMethod(row.name, row.head, str(error))]
    return [HeadMethod(row.head, source, params, name=f"{row.name} · {label}") for source, label in sources]


def _check_task(table: PublishedTable, data: TaskData) -> None:
    if data.target_type in table.target_types and data.input in table.inputs:
        return
    raise InputError(
        f"Table {table.name!r} (table=, --table) compares methods that predict {' or '.join(table.target_types)} of a "
        f"{' or '.join(table.inputs)}, and {data.name} is {data.target_type} of a {data.input}. Name another task (it "
        f"has figures for {', '.join(table.measured_on)}), another table ({', '.join(TABLES)}), or heads alone "
        "(heads=, --heads)."
    )


def _reason_to_leave_out(row: PublishedRow, data: TaskData) -> str:
    spec = HEADS[row.head]
    if data.input not in spec.inputs:
        return f"{row.head} takes no {data.input} as a row"
    if data.target_type not in spec.target_types:
        return f"{row.head} does not predict {data.target_type}"
    if row.variants and len({len(residues) for residues in data.residues(data.rows("all"))}) > 1:
        return f"{row.head} needs proteins of one length"
    return ""
