"""Measured and published results of a published table, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from heads.evaluation.published_methods import SelectedMethods
from heads.published.table import Figure, PublishedRow

_COLUMN = "published"


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

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


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
