"""``embedstore build``: data sets through a model into a space."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.options import Device, Format, IdColumn, Json, SequenceColumn, SkipInvalid, StorePath, Weights


def build(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Data sets, or files to add first (./NAME where a data set has that name). [default: all data sets]",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A name from `embedstore models`, or a directory with --family.")
    ] = ...,  # type: ignore[assignment]
    family: Annotated[
        str | None, typer.Option(help="How to read a directory: t5, bert, esm.", show_default=False)
    ] = None,
    weights: Weights = None,
    pooling: Annotated[str, typer.Option(help="How residue vectors become one: mean.")] = "mean",
    dtype: Annotated[str, typer.Option(help="How vectors are stored: float16, float32.")] = "float16",
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16: how the model computes.")] = "auto",
    batch_residues: Annotated[
        int | None, typer.Option(help="Padded residues in a batch. [default: the model's]", show_default=False)
    ] = None,
    format_: Format = "auto",
    id_column: IdColumn = None,
    sequence_column: SequenceColumn = None,
    skip_invalid: SkipInvalid = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; embed nothing.")] = False,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Embed every distinct sequence that the model's space lacks.

    embedstore build --model prot_t5

    embedstore build --model esm2_650m proteins.fasta

    embedstore build --model ./my_checkpoint --family t5 --dry-run

    A run that was stopped goes on where it was: run it again.
    """
    from cli.built import input_datasets, tell_built, tell_plan
    from cli.progress import progress_bar
    from embedstore.builder import build as build_vectors
    from embedstore.builder import plan
    from embedstore.models import load_model
    from embedstore.store import open_store

    loaded = load_model(model, family=family, weights=weights, device=device, precision=precision)
    with progress_bar() as progress:
        target = open_store(store, mode="a" if inputs else "r")
        reading = {
            "format": format_,
            "id_column": id_column,
            "sequence_column": sequence_column,
            "skip_invalid": skip_invalid,
        }
        datasets = input_datasets(target, inputs or [], reading, progress)
        options: dict[str, Any] = {"pooling": pooling, "dtype": dtype, "batch_residues": batch_residues}
        if dry_run:
            tell_plan(plan(target, loaded, datasets, **options), json_=json)
            return
        report = build_vectors(target, loaded, datasets, **options, progress=progress)
    tell_built(report, json_=json)
