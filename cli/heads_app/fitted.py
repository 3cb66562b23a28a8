"""Which fitted head is meant, and what is told of its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import print_json, print_rows, say, warn
from embedstore.errors import InputError

if TYPE_CHECKING:
    from heads import Report


def fitted_path(fitted: Path | None, task: str | None, head: str) -> Path:
    """The directory given, or the default name of a task's head."""
    if (fitted is None) == (task is None):
        raise InputError("Name a fitted head (its directory), or --task and --head; one of the two.")
    return fitted if fitted is not None else Path(f"{task}-{head}")


def tell_report(report: Report, *, json_: bool, tsv: bool) -> None:
    """Print metrics with their intervals, and what a reader must know beside them."""
    if json_:
        print_json(report.to_dict())
        return
    say(
        f"{report.head} for {report.task} on {report.space}, {report.split} split: {report.n_rows:,} rows, "
        f"{report.n_classes_in_split:,} of {report.n_classes:,} classes."
    )
    rows = [
        {"metric": name, "value": metric.value, "low": metric.low, "high": metric.high}
        for name, metric in report.metrics.items()
    ]
    print_rows(rows, tsv=tsv)
    if report.n_keys_in_train:
        warn(f"{report.n_keys_in_train:,} sequences of this split stand in the training rows too: the figures flatter.")
    if report.n_unseen or report.n_without_vector:
        say(
            f"counted as wrong: {report.n_unseen:,} rows of classes that training never saw, "
            f"{report.n_without_vector:,} without a vector."
        )
