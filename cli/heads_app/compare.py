"""``heads compare``: heads and spaces on one split, as a table, one JSON file and one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    DatasetName,
    IdColumn,
    Identity,
    InputKind,
    Json,
    Kind,
    LabelColumn,
    Labels,
    LabelSeparator,
    MaskColumn,
    Pairing,
    PartnerColumn,
    Seed,
    SequenceColumn,
    SplitBy,
    SplitColumn,
    StorePath,
    TaskName,
    TopLabels,
    Tsv,
)


def compare(
    task: TaskName = None,
    heads: Annotated[
        str | None,
        typer.Option(help="Heads, with commas. [default: all that fit and read vectors]", show_default=False),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
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
    labels: Labels = None,
    dataset: DatasetName = None,
    label_column: LabelColumn = None,
    split_column: SplitColumn = None,
    id_column: IdColumn = None,
    sequence_column: SequenceColumn = None,
    kind: Kind = None,
    label_separator: LabelSeparator = None,
    input_: InputKind = None,
    mask_column: MaskColumn = None,
    partner_column: PartnerColumn = None,
    pairing: Pairing = None,
    top: TopLabels = None,
    split_by: SplitBy = None,
    identity: Identity = 0.4,
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
        typer.Option("--out", "-o", help="Page and JSON, as OUT.html and OUT.json. [default: <task>-compare]"),
    ] = None,
    seed: Seed = 0,
    store: StorePath = None,
    json: Json = False,
    tsv: Tsv = False,
) -> None:
    """Compare heads on the same rows: intervals, paired tests, calibration, cost, on one page that opens offline.

    heads compare --task pfam

    heads compare --task pfam --heads linear,knn --model mini --model kmer --seeds 3

    heads compare --task pfam --rows study --small

    heads compare --task beta_lactamase --rows deepprotein --epochs 10
    """
    from cli.heads_app.told import tell_comparison
    from cli.params import parse_head_params
    from cli.progress import progress_bar
    from heads import compare as compare_heads

    with progress_bar() as progress:
        found = compare_heads(
            store,
            task=task,
            labels=labels,
            dataset=dataset,
            label_column=label_column,
            split_column=split_column,
            heads=[name.strip() for name in heads.split(",")] if heads else None,
            spaces=space,
            rows=rows,
            params=parse_head_params(param or []),
            small=small,
            epochs=epochs,
            split=split,
            seeds=seeds,
            seed=seed,
            relatives=relatives,
            id_column=id_column,
            sequence_column=sequence_column,
            kind=kind,
            label_separator=label_separator,
            input=input_,
            mask_column=mask_column,
            partner_column=partner_column,
            pairing=pairing,
            top=top,
            split_by=split_by,
            identity=identity,
            progress=progress,
        )
    stem = out or Path(f"{found.task}-compare")
    saved = [found.save_html(stem.with_name(f"{stem.name}.html")), found.save_json(stem.with_name(f"{stem.name}.json"))]
    tell_comparison(found, saved, json_=json, tsv=tsv)
