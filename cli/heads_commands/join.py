"""``heads join``: fitted heads as one ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json, Seed, StorePath


def join(
    fitted: Annotated[list[Path], typer.Argument(help="Two or more fitted heads of one space and task.")],
    method: Annotated[
        str | None, typer.Option(help="blend or stack. [default: the better of the two]", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Directory to save to. [default: TASK-ensemble]", show_default=False),
    ] = None,
    seed: Seed = 0,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Join fitted heads into one ensemble, and save it.

    Its weights are selected on the validation rows of their task.

    heads join pfam-linear pfam-knn
    """
    from cli.render.fit import print_fit
    from heads import join
    from heads.api.load import is_fitted_head

    joined = join(store, fitted, method=method, seed=seed)
    target = out or Path(joined.default_name)
    replaced = is_fitted_head(target)
    print_fit(joined, joined.save(target), replaced=replaced, json_=json)
