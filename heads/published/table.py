"""Declaration of a published table: rows, figures, errata, and the baselines that are added to it."""

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
        The value, by our name of the metric; a percentage as a fraction. Corrected where the print is wrong.
    printed
        As printed.
    of
        Which of several published figures it is, in a few words; the heading of a column.
    """

    task: str
    metric: str
    value: float
    printed: str
    of: str = ""

    def as_metric(self, metric: str) -> float | None:
        """The value in another metric; None where it cannot be converted.

        >>> round(Figure(task="pfam", metric="error_rate", value=0.01414, printed="1.414%").as_metric("accuracy"), 5)
        0.98586
        """
        if metric == self.metric:
            return self.value
        return 1 - self.value if (self.metric, metric) in _COMPLEMENTS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """A row of a published table, and the head that reproduces it.

    Attributes
    ----------
    name
        Its printed name.
    head
        Name in `heads.HEADS`. A head that reads vectors is compared on each space.
    params
        Parameters that differ from the head's defaults.
    figures
        Published figures.
    note
        How the head differs from the published method.
    baseline
        Whether it is a simple baseline that the table does not have.
    variants
        Whether it needs proteins of one length.
    """

    name: str
    head: str
    params: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    note: str = ""
    baseline: bool = False
    variants: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Erratum:
    """A published statement that is wrong.

    Attributes
    ----------
    text
        The printed statement, and the correct one.
    rows, tasks
        Names of the rows, and of the tasks, that it concerns; empty: all.
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
        For readers.
    target_types, inputs
        Of the tasks that were compared: some of `heads.tasks.targets.KINDS` and of `heads.tasks.data.INPUTS`.
    measured_on
        On which rows the figures were measured, for each task that has figures.
    rows
        In the published order; baselines last.
    errata
        Errors in print.
    notes
        What else to know.
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


COMPOSITION = PublishedRow(
    name="amino acids and dipeptides",
    head="composition",
    baseline=True,
    note="logistic or ridge regression on the composition",
)

KMER = PublishedRow(
    name="1- to 3-mers", head="kmer", baseline=True, note="tf-idf of k-mers in logistic or ridge regression"
)

ON_VARIANTS = (
    PublishedRow(
        name="one-hot ridge",
        head="one_hot_ridge",
        baseline=True,
        variants=True,
        note="ridge regression on the residue at each position",
    ),
    PublishedRow(
        name="position means + BLOSUM62",
        head="position_means",
        baseline=True,
        variants=True,
        note="position means, BLOSUM62 and residues in boosted trees",
    ),
)
"""For variants of one protein, which are aligned position by position."""
