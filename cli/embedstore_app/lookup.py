"""``embedstore lookup``: nearest family of unknown proteins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    DatasetName,
    Device,
    Format,
    IdColumn,
    IndexName,
    Json,
    LabelColumn,
    Labels,
    LabelsIdColumn,
    LabelsSequenceColumn,
    Limit,
    QuerySplit,
    SequenceColumn,
    SkipInvalid,
    SpaceName,
    StorePath,
    TaskName,
    Tsv,
    Weights,
)


def lookup(
    queries: Annotated[Path, typer.Argument(help="Proteins: FASTA, CSV, TSV or Parquet.")],
    task: TaskName = None,
    labels: Labels = None,
    dataset: DatasetName = None,
    label_column: LabelColumn = None,
    labels_id_column: LabelsIdColumn = None,
    labels_sequence_column: LabelsSequenceColumn = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours that vote.")] = 10,
    reference: Annotated[str, typer.Option(help="Whose labels count: train, or all rows of the task.")] = "train",
    index: IndexName = "flat",
    space: SpaceName = None,
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
    """Find the nearest family of each protein, with the score and the neighbour that says so.

    embedstore lookup unknown.fasta --task pfam

    embedstore lookup unknown.fasta --dataset families

    embedstore lookup unknown.fasta --labels mine.csv --tsv > families.tsv

    The score is a cosine similarity and the vote a share of it among the neighbours; neither is a probability.
    """
    from cli.output import print_rows
    from cli.progress import progress_bar
    from cli.reading import given_model, read_all
    from embedstore.store import open_store
    from heads import lookup as look_up

    opened = open_store(store)
    records = read_all(
        queries,
        split=split,
        limit=limit,
        format=format_,
        id_column=id_column,
        sequence_column=sequence_column,
        skip_invalid=skip_invalid,
    )
    with progress_bar() as progress:
        hits = look_up(
            records,
            store=opened,
            task=task,
            labels=labels,
            dataset=dataset,
            label_column=label_column,
            labels_id_column=labels_id_column,
            labels_sequence_column=labels_sequence_column,
            space=space,
            k=k,
            reference=reference,
            index=index,
            model=given_model(opened.space(space), weights=weights, device=device),
            progress=progress,
        )
    print_rows(hits.to_frame().to_dict("records"), json_=json, tsv=tsv)
