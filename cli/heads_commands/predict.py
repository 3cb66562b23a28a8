"""``heads predict``: labels, numbers or letters for any proteins."""

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
    max_error: Annotated[
        float | None,
        typer.Option(
            help="Answer only where at most this share of the answers is wrong: 0.05, say.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Write to this file as it goes: .tsv, .csv, .json, .parquet, or .fasta for residues.",
            show_default=False,
        ),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Of residues: the probability of each letter, in .parquet.")
    ] = False,
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
    """Predict proteins with a fitted head.

    Proteins that the store lacks are embedded on the way.

    heads predict pfam-linear unknown.fasta --max-error 0.05

    heads predict pfam-linear proteome.fasta --out labels.parquet
    """
    from cli.queries import given_model, open_queries
    from cli.render.finetune import place_encoder
    from cli.render.predict import print_predictions
    from cli.render.progress import progress_bar
    from embedstore.exchange.atomic_files import require_place
    from heads import load, predict_batches
    from heads.api.predict import space_of

    if out is not None:
        require_place(out, other_than=proteins)
    loaded = load(fitted)
    place_encoder(loaded, weights=weights, device=device)
    space = space_of(loaded, store)
    model = None if space is None else given_model(space, weights=weights, device=device)
    options = {"split": split, "format": format_, "skip_invalid": skip_invalid}
    with (
        open_queries(proteins, limit=limit, id_column=id_column, sequence_column=sequence_column, **options) as records,
        progress_bar() as progress,
    ):
        batches = predict_batches(store, loaded, records, top=top, max_error=max_error, model=model, progress=progress)
        print_predictions(batches, out=out, probabilities=probabilities, json_=json, tsv=tsv)
