"""``heads compare``: heads and spaces on one split, as a table, one JSON file and one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json, Seed, StorePath, Tsv
from cli.task_options import TaskOptions, with_task_options


@with_task_options
def compare(
    options: TaskOptions,
    heads: Annotated[
        str | None,
        typer.Option(help="Heads, with commas. [default: all that fit and read vectors]", show_default=False),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            "--rows",
            help="A published table, its figures beside what is measured here: study, deepprotein.",
            show_default=False,
        ),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "--space",
            "--model",
            help="A space id or model; several times for several. [default: all]",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="test or valid.")] = "test",
    param: Annotated[
        list[str] | None,
        typer.Option("--param", help="A setting of a head, as head.name=value.", show_default=False),
    ] = None,
    small: Annotated[
        bool, typer.Option("--small", help="Small networks and few epochs where nothing else is said: a quick trial.")
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(help="Most epochs of heads trained on sequences. [default: each head's]", show_default=False),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fits of each row.")] = 1,
    relatives: Annotated[
        str, typer.Option(help="How the nearest training protein is found: words, mmseqs, auto, none.")
    ] = "words",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Page and JSON, as OUT.html and OUT.json, written anew after each row. "
            "[default: TASK-compare, with a number if that exists]",
        ),
    ] = None,
    seed: Seed = 0,
    store: StorePath = None,
    json: Json = False,
    tsv: Tsv = False,
) -> None:
    """Compare heads on the same rows, on one page.

    With intervals, paired tests, calibration and cost; the page opens offline.

    heads compare --task pfam

    heads compare --task pfam --heads linear,knn --model mini --model kmer --seeds 3

    heads compare --task pfam --table study --small

    heads compare --task beta_lactamase --table deepprotein --epochs 10
    """
    from cli.parsing import parse_head_params
    from cli.render.evaluate import print_comparison
    from cli.render.pages import Pages
    from cli.render.progress import progress_bar
    from heads import compare as compare_heads

    pages = Pages(out)
    with progress_bar() as progress:
        comparison = compare_heads(
            store,
            heads=[name.strip() for name in heads.split(",")] if heads else None,
            spaces=space,
            table=table,
            params=parse_head_params(param or []),
            small=small,
            epochs=epochs,
            split=split,
            seeds=seeds,
            seed=seed,
            relatives=relatives,
            on_result=pages.save_so_far,
            progress=progress,
            task=options.selection(seed),
        )
    print_comparison(comparison, pages.save(comparison), json_=json, tsv=tsv)
