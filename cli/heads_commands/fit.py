"""``heads fit``: a head on the stored vectors of a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import HeadName, Json, Seed, SpaceName, StorePath
from cli.task_options import TaskOptions, with_task_options


@with_task_options
def fit(
    options: TaskOptions,
    head: HeadName = "linear",
    param: Annotated[
        list[str] | None, typer.Option("--param", help="A setting of the head, as name=value.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Directory to save to. [default: TASK-HEAD]", show_default=False),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            "--tune",
            "--search",
            help="Try so many settings of the head on the validation rows, and fit it with the best.",
            show_default=False,
        ),
    ] = None,
    space: SpaceName = None,
    seed: Seed = 0,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Fit a head on labelled proteins, and save it.

    On the training rows of a task, a data set or a labelled file; hyper-parameters are selected on validation rows.

    heads fit --task pfam --head linear

    heads fit --dataset families --label-column family --head linear

    heads fit --labels mine.csv --label-column family --head knn --param k=5

    heads fit --task scl --head mlp --tune 20

    heads fit --labels variants.csv --label-column score --target-type regression --split-by clusters
    """
    from cli.parsing import parse_params
    from cli.render.fit import print_fit
    from embedstore.exchange.atomic_files import require_place
    from heads import fit as fit_head
    from heads.api.load import is_fitted_head, require_free

    if out is not None:
        require_place(out, makes_folders=True)
        require_free(out)
    fitted = fit_head(
        store,
        head=head,
        space=space,
        params=parse_params(param or []),
        tune=tune,
        seed=seed,
        task=options.selection(seed),
    )
    target = out or Path(fitted.default_name)
    replaced = is_fitted_head(target)
    print_fit(fitted, fitted.save(target), replaced=replaced, json_=json)
