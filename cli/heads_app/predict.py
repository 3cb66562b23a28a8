"""``heads predict``: labels for any proteins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    Device,
    Format,
    IdColumn,
    Json,
    Limit,
    QuerySplit,
    SequenceColumn,
    SkipInvalid,
    StorePath,
    Tsv,
    Weights,
)


def predict(
    fitted: Annotated[Path, typer.Argument(help="A fitted head.")],
    proteins: Annotated[Path, typer.Argument(help="FASTA, CSV, TSV or Parquet.")],
    top: Annotated[int, typer.Option(help="Labels a protein.")] = 1,
    weights: Weights = None,
    device: Device = "auto",
    split: QuerySplit = None,
    limit: Limit = None,
    format_: Format = "auto",
    id_column: IdColumn = None,
    sequence_column: SequenceColumn = None,
    skip_invalid: SkipInvalid = False,
    store: StorePath = None,
    json: Json = False,
    tsv: Tsv = False,
) -> None:
    """Label proteins with a fitted head; what the store lacks is embedded on the way.

    heads predict pfam-linear unknown.fasta

    heads predict pfam-linear unknown.fasta --top 3 --tsv > labels.tsv
    """
    from cli.heads_app.tuned import place_encoder
    from cli.output import print_rows
    from cli.progress import progress_bar
    from cli.reading import given_model, read_all
    from heads import load
    from heads import predict as predict_labels
    from heads.prediction import space_of

    loaded = load(fitted)
    records = read_all(
        proteins,
        split=split,
        limit=limit,
        format=format_,
        id_column=id_column,
        sequence_column=sequence_column,
        skip_invalid=skip_invalid,
    )
    model = None
    if not place_encoder(loaded, weights=weights, device=device):
        model = given_model(space_of(loaded, store), weights=weights, device=device)
    with progress_bar() as progress:
        predictions = predict_labels(loaded, records, store=store, top=top, model=model, progress=progress)
    print_rows(predictions.to_frame().to_dict("records"), json_=json, tsv=tsv)
