"""Which fitted head is meant, and what is told of its fit and of its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import print_facts, print_json, print_rows, say, warn
from embedstore.errors import InputError

if TYPE_CHECKING:
    from heads import FittedHead, Report


def fitted_path(fitted: Path | None, *, task: str | None, dataset: str | None, head: str | None) -> Path:
    """The directory given, or the default name of the head of a task or of a data set."""
    named = [name for name in (task, dataset) if name is not None]
    if len(named) != (fitted is None) or (fitted is not None and head is not None):
        raise InputError("Name a fitted head by its directory, or by --head with --task or --dataset; one of the two.")
    return fitted if fitted is not None else Path(f"{named[0]}-{head or 'linear'}")


def tell_fitted(fitted: FittedHead, saved: Path, *, replaced: bool, json_: bool) -> None:
    """Say what was fitted on how many rows, and where it is."""
    n_rows = fitted.n_rows
    if json_:
        print_facts({"saved": str(saved), "replaced": replaced, **fitted.describe()}, json_=True)
    else:
        say(
            f"{saved}{' (replaced)' if replaced else ''}: {fitted.head_name} on {fitted.space_id}, "
            f"{len(fitted.head.classes_):,} classes; {n_rows['train']:,} training, {n_rows['valid']:,} validation and "
            f"{n_rows['test']:,} test rows ({fitted.split_rule})."
        )
    if n_rows["unseen"]:
        warn(f"{n_rows['unseen']:,} validation and test rows are of classes that training never saw: always wrong.")
    if not n_rows["test"]:
        warn("the split has no test rows: nothing to evaluate on.")
    if n_rows["contradictory"]:
        warn(
            f"sequences with several labels in the training rows: {n_rows['contradictory']:,}; "
            "each of their labels was learnt."
        )


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
    if report.training_changed:
        warn("the training rows are other ones now than those that this head was fitted on: fit it again.")
    if report.n_unseen or report.n_without_vector:
        say(
            f"counted as wrong: {report.n_unseen:,} rows of classes that training never saw, "
            f"{report.n_without_vector:,} without a vector."
        )
