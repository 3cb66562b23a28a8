"""Comparison with a published table: its methods, and measured and published results side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedstore.errors import InputError, StoreError
from embedstore.store.store import Store
from heads.catalog import HEADS
from heads.evaluation.methods import HeadMethod, Method, Settings, UnavailableMethod, head_methods, vector_sources
from heads.features.sources import SequenceSource
from heads.published import TABLES
from heads.published.table import Figure, PublishedRow, PublishedTable
from heads.tasks.data import TaskData

_COLUMN = "published"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedResult:
    """A method of the comparison, and what was published of it.

    Attributes
    ----------
    method
        Its name in the comparison.
    published_row, head, baseline, note
        See `heads.published.table.PublishedRow`; the first is empty for a head that the table does not have.
    published
        By column: the published value in the main metric of the comparison.
    printed
        By column: as printed.
    figures
        All published figures for the task.
    epochs
        Most epochs of one of its networks; None for what is not trained in epochs.
    """

    method: str
    published_row: str
    head: str
    baseline: bool
    note: str
    published: Mapping[str, float | None]
    printed: Mapping[str, str]
    figures: tuple[Figure, ...]
    epochs: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedComparison:
    """A published table and the measured results.

    Attributes
    ----------
    table, title, citation
        The table.
    metric
        In which figures are shown.
    columns
        Of published figures, in order.
    results
        In the published order; then heads that the table does not have.
    caution
        On which rows the published figures were measured, and how they were converted.
    errata, notes
        What is wrong in print for these methods, and what else to know.
    left_out
        Published rows that the task cannot have, with the reason.
    """

    table: str
    title: str
    citation: str
    metric: str
    columns: tuple[str, ...]
    results: tuple[PublishedResult, ...]
    caution: str
    errata: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str]


def compare_with_published(
    selected: SelectedMethods,
    *,
    task: str | None,
    metric: str,
    measured_on: str,
    settings: Mapping[str, Mapping[str, Any]],
) -> PublishedComparison:
    """Add the published figures to a comparison.

    Parameters
    ----------
    selected
        The methods that were compared.
    task
        Name of the task in the catalog, for its figures; None: there are none.
    metric
        The comparison's main metric.
    measured_on
        The rows of the comparison, in words.
    settings
        Of each method, by its name.
    """
    table = selected.table
    shown = [row for _, row in selected.methods if row is not None]
    figures = {row.name: [figure for figure in row.figures if figure.task == task] for row in shown}
    results: list[PublishedResult] = []
    columns: dict[str, None] = {}
    for method, published_row in selected.methods:
        row = published_row or PublishedRow(name="", head=method.head)
        every = figures.get(row.name, [])
        in_metric = {_column(figure): figure for figure in every if figure.as_metric(metric) is not None}
        columns |= dict.fromkeys(in_metric)
        results.append(
            PublishedResult(
                method=method.name,
                published_row=row.name,
                head=row.head,
                baseline=row.baseline,
                note=row.note,
                published={column: figure.as_metric(metric) for column, figure in in_metric.items()},
                printed={column: figure.printed for column, figure in in_metric.items()},
                figures=tuple(every),
                epochs=n_epochs(settings.get(method.name, {})),
            )
        )
    names = {row.name for row in shown}
    return PublishedComparison(
        table=table.name,
        title=table.title,
        citation=table.citation,
        metric=metric,
        columns=tuple(columns),
        results=tuple(results),
        caution=_caution(table.title, table.measured_on.get(task or ""), task, metric, measured_on, figures.values()),
        errata=tuple(
            erratum.text
            for erratum in table.errata
            if (not erratum.tasks or task in erratum.tasks) and (not erratum.rows or names & set(erratum.rows))
        ),
        notes=table.notes,
        left_out=selected.left_out,
    )


def n_epochs(settings: Mapping[str, Any]) -> int | None:
    """Epochs that a head was trained for, from its settings: the most of any member.

    >>> n_epochs({"members": [{"curve": [{}, {}]}, {"curve": [{}]}]}), n_epochs({"n_epochs": 7}), n_epochs({})
    (2, 7, None)
    """
    if "n_epochs" in settings:
        return int(settings["n_epochs"])
    for name in ("curve", "history"):
        if name in settings:
            return len(settings[name])
    members = [n_epochs(member) for member in settings.get("members", ()) if isinstance(member, Mapping)]
    return max((n for n in members if n is not None), default=None)


def _column(figure: Figure) -> str:
    return f"{_COLUMN} ({figure.of})" if figure.of else _COLUMN


def _caution(
    title: str,
    published_on: str | None,
    task: str | None,
    metric: str,
    measured_on: str,
    figures: Iterable[Sequence[Figure]],
) -> str:
    every = [figure for row in figures for figure in row]
    if published_on is None or not every:
        labels = "these labels" if task is None else f"task {task!r}"
        return f"{title} has no figures for {labels}. All results were measured on {measured_on}."
    metrics = sorted({figure.metric for figure in every if figure.as_metric(metric) is not None} - {metric})
    converted = "".join(f" Published as {name.replace('_', ' ')}; shown as {metric} (1 less it)." for name in metrics)
    others = [figure.printed for figure in every if figure.as_metric(metric) is None]
    more = f" Published in another metric: {', '.join(others)}." if others else ""
    return (
        f"The published figures were measured on other rows: {published_on}. Here: {measured_on}. The two columns "
        f"cannot be compared method by method.{converted}{more}"
    )
