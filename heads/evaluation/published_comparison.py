"""Measured figures beside published ones: what a comparison that follows a published table says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from heads.evaluation.published_methods import Entered
from heads.published.table import Figure, PublishedRow

FIGURES = "published"
"""Heads a column of published figures, with a word on which ones where there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of a published table.

    Attributes
    ----------
    row
        Its name in the comparison.
    published_row, head, floor, note
        What it stands for: see `heads.published.table.PublishedRow`. A head that the table has not stands
        for nothing: an empty name.
    published
        By column: the published value in the comparison's main metric.
    printed
        By column: as it stands in print.
    figures
        All that was printed of it for the task.
    epochs
        Most epochs that one of its networks was trained for; None for what is not trained in epochs.
    """

    row: str
    published_row: str
    head: str
    floor: bool
    note: str
    published: Mapping[str, float | None]
    printed: Mapping[str, str]
    figures: tuple[Figure, ...]
    epochs: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published table beside what was measured.

    Attributes
    ----------
    table, title, citation
        Which table.
    metric
        In what the figures are shown.
    columns
        Of published figures, in order.
    lines
        In the published order; heads that the table has not come last.
    caution
        What the published figures were measured on, and how they were brought to the metric.
    errata, notes
        What is wrong in print for these rows, and what a reader must know besides.
    left_out
        Rows that the task cannot have, with the reason.
    """

    table: str
    title: str
    citation: str
    metric: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    caution: str
    errata: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare_with_published(
    entered: Entered, *, task: str | None, metric: str, here: str, settings: Mapping[str, Mapping[str, Any]]
) -> Published:
    """Set a published table beside a comparison.

    Parameters
    ----------
    entered
        The rows that took part.
    task
        Name of the task in the catalog: the figures are those of this task. None: none are.
    metric
        The comparison's main metric.
    here
        The rows that ours was measured on, in words.
    settings
        Of each row of the comparison, by its name.
    """
    table = entered.table
    shown = [entry.row for entry in entered.entries if entry.row is not None]
    figures = {row.name: [one for one in row.figures if one.task == task] for row in shown}
    lines: list[Line] = []
    columns: dict[str, None] = {}
    for entry in entered.entries:
        row = entry.row or PublishedRow(name="", head=entry.contender.head)
        every = figures.get(row.name, [])
        shown_here = {_column(one): one for one in every if one.as_metric(metric) is not None}
        columns |= dict.fromkeys(shown_here)
        lines.append(
            Line(
                row=entry.contender.name,
                published_row=row.name,
                head=row.head,
                floor=row.floor,
                note=row.note,
                published={column: one.as_metric(metric) for column, one in shown_here.items()},
                printed={column: one.printed for column, one in shown_here.items()},
                figures=tuple(every),
                epochs=epochs_of(settings.get(entry.contender.name, {})),
            )
        )
    return Published(
        table=table.name,
        title=table.title,
        citation=table.citation,
        metric=metric,
        columns=tuple(columns),
        lines=tuple(lines),
        caution=_caution(table.title, table.measured_on.get(task or ""), task, metric, here, figures.values()),
        errata=tuple(
            one.text
            for one in table.errata
            if (not one.tasks or task in one.tasks) and (not one.rows or any(row.name in one.rows for row in shown))
        ),
        notes=table.notes,
        left_out=entered.left_out,
    )


def epochs_of(settings: Mapping[str, Any]) -> int | None:
    """Epochs that a head was trained for, by what it says of itself: the most of any member.

    >>> epochs_of({"members": [{"curve": [{}, {}]}, {"curve": [{}]}]}), epochs_of({"n_epochs": 7}), epochs_of({})
    (2, 7, None)
    """
    if "n_epochs" in settings:
        return int(settings["n_epochs"])
    for name in ("curve", "history"):
        if name in settings:
            return len(settings[name])
    members = settings.get("members", ())
    found = [epochs_of(one) for one in members if isinstance(one, Mapping)]
    return max((one for one in found if one is not None), default=None)


def _column(figure: Figure) -> str:
    return f"{FIGURES} ({figure.of})" if figure.of else FIGURES


def _caution(
    title: str, where: str | None, task: str | None, metric: str, here: str, figures: Iterable[Sequence[Figure]]
) -> str:
    every = [one for row in figures for one in row]
    if where is None or not every:
        named = "these labels" if task is None else f"task {task!r}"
        return f"{title} has no figures on {named}: ours stand alone, measured on {here}."
    others = sorted({one.metric for one in every if one.as_metric(metric) is not None} - {metric})
    converted = "".join(f" Published as {one.replace('_', ' ')}; shown as {metric} (1 less it)." for one in others)
    apart = [one.printed for one in every if one.as_metric(metric) is None]
    more = f" Published in another metric: {', '.join(apart)}." if apart else ""
    return (
        f"The published figures were measured on other rows: {where}. Ours: {here}. The two columns do not compare "
        f"method by method.{converted}{more}"
    )
