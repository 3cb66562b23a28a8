"""``heads fit``: a head on the stored vectors of a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import HeadName, Json, LabelColumn, Labels, Seed, SpaceName, SplitColumn, StorePath, TaskName


def fit(
    task: TaskName = None,
    labels: Labels = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    head: HeadName = "linear",
    param: Annotated[
        list[str] | None, typer.Option("--param", help="A setting of the head, as name=value.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Directory to save to. [default: <task>-<head>]", show_default=False),
    ] = None,
    space: SpaceName = None,
    seed: Seed = 0,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Fit a head on the training rows of a task, and save it.

    heads fit --task pfam --head linear

    heads fit --labels mine.csv --label-column family --head knn --param k=5
    """
    from cli.output import print_facts, say
    from cli.params import parse_params
    from heads import fit as fit_head

    fitted = fit_head(
        store,
        task=task,
        labels=labels,
        label_column=label_column,
        split_column=split_column,
        head=head,
        space=space,
        params=parse_params(param or []),
        seed=seed,
    )
    saved = fitted.save(out or fitted.default_name)
    facts = {"saved": str(saved), **fitted.describe()}
    if json:
        print_facts(facts, json_=True)
    else:
        n_rows = fitted.n_rows
        say(
            f"{saved}: {head} on {fitted.space_id}, {len(fitted.head.classes_):,} classes from {n_rows['train']:,} "
            f"training and {n_rows['valid']:,} validation rows ({fitted.split_rule})."
        )
