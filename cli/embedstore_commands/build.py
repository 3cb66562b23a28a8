"""``embedstore build``: data sets through a model into a space."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.completion import complete_model
from cli.options import Format, IdColumn, Json, SequenceColumn, SkipInvalid, StorePath, Weights


def build(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Data sets, or files to add first (./NAME where a data set has that name). [default: all data sets]",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="A name from `embedstore models`; a directory or hub id with --family.",
            autocompletion=complete_model,
        ),
    ] = "mini",
    family: Annotated[
        str | None,
        typer.Option(
            help="How to read a checkpoint that has no name here: t5, bert, esm …; an unknown one lists all.",
            show_default=False,
        ),
    ] = None,
    weights: Weights = None,
    pooling: Annotated[
        list[str] | None,
        typer.Option(
            help="How residue vectors become one: mean, max, first (CLS). Repeat it for several from one pass. "
            "[default: mean]",
            show_default=False,
        ),
    ] = None,
    residues: Annotated[bool, typer.Option("--residues", help="Keep every residue's vector too.")] = False,
    layer: Annotated[
        int | None,
        typer.Option(
            help="Take the states after this layer; -2 is the last but one. [default: last]", show_default=False
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="How vectors are stored: float16, float32.")] = "float16",
    long: Annotated[
        str, typer.Option(help="Proteins too long for one pass: window, truncate, skip, error.")
    ] = "window",
    max_residues: Annotated[
        int | None,
        typer.Option(help="Longest protein or window in one pass. [default: the model's]", show_default=False),
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(help="Residues that windows share. [default: 256]", show_default=False)
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1; several (cuda:0,cuda:1) or all: a process each.")
    ] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16: how the model computes.")] = "auto",
    batch_residues: Annotated[
        int | None, typer.Option(help="Padded residues in a batch. [default: the model's]", show_default=False)
    ] = None,
    format_: Format = "auto",
    id_column: IdColumn = None,
    sequence_column: SequenceColumn = None,
    skip_invalid: SkipInvalid = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Time a sample and say what would be done, how long and how big; keep nothing."),
    ] = False,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Embed every distinct sequence that the model's space lacks.

    embedstore build proteins.fasta

    embedstore build --model prot_t5

    embedstore build --model esm2_650m proteins.fasta

    embedstore build --model esm2_650m --pooling mean --pooling max --residues

    embedstore build --model prot_t5 --device cuda:0,cuda:1

    embedstore build --model ./my_checkpoint --family t5 --dry-run

    A run that was stopped goes on where it was: run it again.
    """
    from cli.render.build import SAMPLE_SECONDS, input_datasets, print_build, print_plan, worker_devices
    from cli.render.progress import progress_bar
    from embedstore.embedding.api import build as build_vectors
    from embedstore.embedding.api import plan
    from embedstore.models import load_model
    from embedstore.store import open_store

    target = open_store(store, mode="a" if inputs else "r")
    devices = worker_devices(device)
    loaded = load_model(model, family=family, weights=weights, device=devices[0], precision=precision, layer=layer)
    with progress_bar() as progress:
        open_queries = {
            "format": format_,
            "id_column": id_column,
            "sequence_column": sequence_column,
            "skip_invalid": skip_invalid,
        }
        datasets = input_datasets(target, inputs or [], open_queries, progress)
        options: dict[str, Any] = {
            "pooling": pooling or ([] if residues else ["mean"]),
            "residues": residues,
            "dtype": dtype,
            "long": long,
            "max_residues": max_residues,
            "overlap": overlap,
            "batch_residues": batch_residues,
        }
        options["devices"] = devices if len(devices) > 1 else None
        if dry_run:
            print_plan(plan(target, loaded, datasets, **options, sample_seconds=SAMPLE_SECONDS), json_=json)
            return
        report = build_vectors(target, loaded, datasets, **options, progress=progress)
    print_build(target, report, json_=json)
