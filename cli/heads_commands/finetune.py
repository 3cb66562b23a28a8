"""``heads finetune``: a model's encoder and a head, trained end to end, and kept as a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.completion import complete_model
from cli.options import Device, Json, Seed, StorePath, Weights
from cli.task_options import TaskOptions, with_task_options


@with_task_options
def finetune(
    options: TaskOptions,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="As of `embedstore build`. [default: mini]",
            show_default=False,
            autocompletion=complete_model,
        ),
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="How to read a checkpoint that has no name here.", show_default=False)
    ] = None,
    weights: Weights = None,
    method: Annotated[
        str | None, typer.Option(help="frozen, lora, last_n, full. [default: lora]", show_default=False)
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Settings of a study: protbert_study, deepprotein.", show_default=False)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs. [default: 10]", show_default=False)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Proteins a step. [default: 32]", show_default=False)] = None,
    batch_residues: Annotated[
        int | None, typer.Option(help="Padded residues in one pass of a step.", show_default=False)
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Of the adapters. [default: 8]", show_default=False)] = None,
    targets: Annotated[
        str | None,
        typer.Option(help="Layers that adapters go on: query,value. [default: the family's]", show_default=False),
    ] = None,
    dora: Annotated[bool, typer.Option("--dora", help="Adapters that learn sizes and directions apart.")] = False,
    n_last: Annotated[
        int | None, typer.Option(help="Layers that learn under last_n. [default: 1]", show_default=False)
    ] = None,
    max_residues: Annotated[
        int | None, typer.Option(help="Longest training protein. [default: the model's]", show_default=False)
    ] = None,
    long: Annotated[
        str | None, typer.Option(help="Longer ones: error, skip, crop. [default: error]", show_default=False)
    ] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="Draw as many rows of each class.")] = False,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time.")
    ] = False,
    precision: Annotated[
        str | None, typer.Option(help="auto, mixed, float32, bfloat16, float16. [default: auto]", show_default=False)
    ] = None,
    device: Device = "auto",
    param: Annotated[
        list[str] | None,
        typer.Option("--param", help="Any other setting, as name=value: encoder_rate=1e-4.", show_default=False),
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Write adapters as full weights.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the model. [default: TASK-MODEL-METHOD]", show_default=False),
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget an unfinished training.")] = False,
    seed: Seed = 0,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Train a model and a head on a task, end to end.

    The result is a model for `embedstore build` and for `heads predict`.

    heads finetune --task scop2 --model mini

    heads finetune --task stability --model esm2_8m --method full --epochs 5

    heads finetune --task pfam --preset protbert_study

    A training that was stopped goes on where it was: run it again. Several GPUs: `accelerate launch --no_python heads
    finetune ...`; curves: `tensorboard --logdir OUT.training`.
    """
    from cli.parsing import parse_params
    from cli.render.finetune import chosen_settings, default_out, print_finetuned
    from cli.render.progress import progress_bar
    from embedstore.exchange.atomic_files import require_place
    from heads import finetune as finetune_model

    settings = chosen_settings(
        parse_params(param or []),
        model=model,
        family=family,
        weights=None if weights is None else str(weights.absolute()),
        method=method,
        preset=preset,
        epochs=epochs,
        batch_size=batch_size,
        batch_residues=batch_residues,
        rank=rank,
        targets=None if targets is None else tuple(targets.split(",")),
        dora=dora or None,
        n_last=n_last,
        max_residues=max_residues,
        long=long,
        balanced=balanced or None,
        gradient_checkpointing=gradient_checkpointing or None,
        precision=precision,
        device=device,
        merge=merge or None,
    )
    target = out or default_out(settings, options)
    require_place(target, makes_folders=True)
    with progress_bar() as progress:
        fitted = finetune_model(
            store,
            out=target,
            restart=restart,
            seed=seed,
            progress=progress,
            task=options.selection(seed),
            params=settings,
        )
    print_finetuned(fitted, target, json_=json)
