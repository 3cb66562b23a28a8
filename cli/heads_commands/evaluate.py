"""``heads evaluate``: a fitted head on a split of its task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DatasetName, GroupColumn, Json, Labels, Seed, SpaceName, StorePath, TaskName, Tsv


def evaluate(
    fitted: Annotated[
        Path | None, typer.Argument(help="A fitted head. [default: TASK-HEAD]", show_default=False)
    ] = None,
    task: TaskName = None,
    dataset: DatasetName = None,
    head: Annotated[
        str | None, typer.Option(help="A head, for --task or --dataset. [default: linear]", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "test",
    labels: Labels = None,
    group_column: GroupColumn = None,
    relatives: Annotated[
        str,
        typer.Option(
            help="How the nearest training protein is found: words (seconds), mmseqs (minutes), auto (mmseqs where "
            "it is installed), none."
        ),
    ] = "words",
    curve: Annotated[
        str | None,
        typer.Option(help="Learning curve: shares of the training rows, as 0.1,0.3,1.", show_default=False),
    ] = None,
    space: SpaceName = None,
    seed: Seed = 0,
    store: StorePath = None,
    json: Json = False,
    tsv: Tsv = False,
) -> None:
    """Measure a fitted head on held-out rows.

    With 95% intervals, leakage, and whether its error guarantees hold.

    heads evaluate pfam-linear

    heads evaluate --task pfam --head knn --split valid --json
    """
    from cli.parsing import parse_numbers
    from cli.render.evaluate import print_report
    from cli.render.fit import fitted_path
    from heads import evaluate as evaluate_head

    path = fitted_path(fitted, task=task, dataset=dataset, head=head)
    report = evaluate_head(
        store,
        path,
        split=split,
        space=space,
        labels=labels,
        group_column=group_column,
        seed=seed,
        relatives=relatives,
        fractions=parse_numbers(curve or "", option="--curve"),
    )
    print_report(report, json_=json, tsv=tsv)
