"""What is declared of a published table: rows, figures, errata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COMPLEMENTS = {("error_rate", "accuracy"), ("accuracy", "error_rate")}
"""Pairs of metrics that add up to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A published figure.

    Attributes
    ----------
    task
        Our name of the task.
    metric, value
        What was printed, by our name of the metric; a percentage as a fraction. Corrected where the print is wrong.
    printed
        As it stands in print.
    of
        Which of the published figures it is, a few words: it heads a column.
    """

    task: str
    metric: str
    value: float
    printed: str
    of: str = ""

    def as_metric(self, metric: str) -> float | None:
        """The value in another metric; None where one cannot be had from the other.

        >>> round(Figure(task="pfam", metric="error_rate", value=0.01414, printed="1.414%").as_metric("accuracy"), 5)
        0.98586
        """
        if metric == self.metric:
            return self.value
        return 1 - self.value if (self.metric, metric) in _COMPLEMENTS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """A row of a published table, and the head that stands for it.

    Attributes
    ----------
    name
        What the row is called in print.
    head
        Name in `heads.HEADS`. One that reads vectors makes a row of each space.
    params
        Settings that are not the head's own defaults.
    figures
        Published ones.
    note
        In what ours is another method than the published one.
    floor
        Whether the row is none of the table's, but a cheap method that should stand beside it.
    variants
        Whether it needs proteins of one length.
    """

    name: str
    head: str
    params: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    note: str = ""
    floor: bool = False
    variants: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Erratum:
    """A published statement that is wrong.

    Attributes
    ----------
    text
        What was printed, and what holds.
    rows, tasks
        Names of the rows, and of the tasks, that it concerns; none: all.
    """

    text: str
    rows: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTable:
    """A published comparison.

    Attributes
    ----------
    name
        In `heads.published.TABLES`.
    title, citation
        For people.
    kinds, inputs
        What it is a comparison of: some of `heads.tasks.targets.KINDS` and of `heads.tasks.data.INPUTS`.
    measured_on
        On which rows the published figures were measured, for each task that has figures.
    rows
        In the published order; the floors last.
    errata
        What is wrong in print.
    notes
        What a reader must know besides.
    """

    name: str
    title: str
    citation: str
    target_types: tuple[str, ...]
    inputs: tuple[str, ...]
    measured_on: Mapping[str, str]
    rows: tuple[PublishedRow, ...]
    errata: tuple[Erratum, ...] = ()
    notes: tuple[str, ...] = ()
