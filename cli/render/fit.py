"""Which fitted head is meant, and what is told of its fit."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.render.output import print_facts, print_rows, say, warn
from embedstore.errors import InputError

if TYPE_CHECKING:
    from heads import FittedHead


def fitted_path(fitted: Path | None, *, task: str | None, dataset: str | None, head: str | None) -> Path:
    """The directory given, or the default name of the head of a task or of a data set."""
    named = [name for name in (task, dataset) if name is not None]
    if len(named) != (fitted is None) or (fitted is not None and head is not None):
        raise InputError("Name a fitted head by its directory, or by --head with --task or --dataset; one of the two.")
    return fitted if fitted is not None else Path(f"{named[0]}-{head or 'linear'}")


def print_fit(fitted: FittedHead, saved: Path, *, replaced: bool, json_: bool) -> None:
    """Say what was fitted on how many rows, and where it is."""
    n_rows = fitted.n_rows
    if json_:
        print_facts({"saved": str(saved), "replaced": replaced, **fitted.describe()}, json_=True)
    else:
        say(
            f"{saved}{' (replaced)' if replaced else ''}: {fitted.head_name} on {fitted.space_id}, "
            f"{_n_classes(fitted)}{n_rows['train']:,} training, {n_rows['valid']:,} validation and "
            f"{n_rows['test']:,} test rows ({fitted.split_rule})."
        )
        left_out = {
            "without a label": n_rows.get("unlabelled", 0),
            "without a protein": n_rows.get("left_out", 0),
            "in no part of the split": n_rows.get("unassigned", 0),
            "without a vector": n_rows.get("without_vector", 0),
        }
        if any(left_out.values()):
            say(f"rows left out: {', '.join(f'{n:,} {why}' for why, n in left_out.items() if n)}.")
    if fitted.search is not None and not json_:
        _print_tuning(fitted.search)
    if n_rows["unseen"]:
        warn(f"{n_rows['unseen']:,} validation and test rows are of classes that training never saw: always wrong.")
    if not n_rows["test"]:
        warn("the split has no test rows: nothing to evaluate on.")
    if n_rows["contradictory"]:
        warn(
            f"sequences with several labels in the training rows: {n_rows['contradictory']:,}; "
            "each of their labels was learnt."
        )


def _n_classes(fitted: FittedHead) -> str:
    """How many classes there are to choose from, or nothing for numbers."""
    n_classes = len(fitted.head.classes_)
    return f"{n_classes:,} classes; " if n_classes else ""


def _print_tuning(search: Mapping[str, Any]) -> None:
    """Print the trials of a search, best first."""
    rows = [
        {
            search["metric"]: "" if trial["valid_loss"] is None else trial["valid_loss"],
            "state": trial["state"],
            "seconds": trial["seconds"],
            "settings": _settings(trial["params"]),
        }
        for trial in sorted(search["trials"], key=_by_loss)
    ]
    print_rows(rows)
    say(f"searched {len(rows)} settings on rows that they were not fitted on; best: {_settings(search['best'])}.")


def _settings(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items()) or "the defaults"


def _by_loss(trial: Mapping[str, Any]) -> float:
    loss = trial["valid_loss"]
    return inf if loss is None else float(loss)
