"""``embedstore check``: prove that a model gives the vectors of its model card on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.completion import complete_model
from cli.options import Device, Json, Limit, Weights


def check(
    file: Annotated[
        Path | None,
        typer.Argument(help="Proteins to check with. [default: nine well-known and odd ones]", show_default=False),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="A name from `embedstore models`; a directory or hub id with --family.",
            autocompletion=complete_model,
        ),
    ] = ...,  # type: ignore[assignment]
    family: Annotated[
        str | None, typer.Option(help="How to read a checkpoint that has no name here.", show_default=False)
    ] = None,
    weights: Weights = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16: how the model computes.")] = "auto",
    layer: Annotated[
        int | None,
        typer.Option(help="Take the states after this layer; 0: what enters. [default: the last]", show_default=False),
    ] = None,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """Compare a model with its model card's own code.

    Embeds real proteins alone, in padded batches and in other precisions. Exit code 1 if the vectors differ.

    embedstore check --model prot_t5

    embedstore check --model ./my_checkpoint --family esm proteins.fasta --limit 20
    """
    from itertools import islice

    from cli.render.output import print_facts, print_json, print_rows, say
    from embedstore.models import load_model
    from embedstore.models.parity import check as check_model
    from embedstore.sequences import read_records

    loaded = load_model(model, family=family, weights=weights, device=device, precision=precision, layer=layer)
    sequences = None if file is None else [record.residues for record in islice(read_records(file), limit)]
    report = check_model(loaded, sequences)
    if json:
        print_json(report.to_dict())
    else:
        print_facts({**report.identity, **report.facts}, title=report.model)
        rows: list[dict[str, Any]] = [
            {
                "check": finding.check,
                "found": f"{finding.found:.7g}",
                "expected": f"{finding.bound} {finding.tolerance:.7g}",
                "result": "pass" if finding.ok else "FAIL",
            }
            for finding in report.findings
        ]
        print_rows(rows)
        for note in report.notes:
            say(f"note: {note}")
        for problem in report.problems:
            say(f"problem: {problem}")
        say("checked: the vectors are the model's own." if report.ok else f"{len(report.problems)} problems.")
    if not report.ok:
        raise typer.Exit(1)
