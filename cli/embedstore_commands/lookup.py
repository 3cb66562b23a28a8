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
    label_separator: Annotated[
        str | None,
        typer.Option(help="What stands between the labels of a protein with several: '|'.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours that vote.")] = 10,
    max_error: Annotated[
        float | None,
        typer.Option(
            help="Abstain so that at most this share of the answers is wrong, such as 0.01. "
            "[default: answer from a probability of 0.5 on]",
            show_default=False,
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Probability that --max-error holds.")] = 0.95,
    unknown_share: Annotated[float, typer.Option(help="Assumed share of proteins of a family without labels.")] = 0.1,
    exclude_self: Annotated[
        bool, typer.Option("--exclude-self", help="Exclude each query itself from its neighbours.")
    ] = False,
    neighbours: Annotated[
        int | None,
        typer.Option(
            "--neighbours", "--evidence", min=1, help="Also show so many neighbours of each hit.", show_default=False
        ),
    ] = None,
    align: Annotated[bool, typer.Option("--align", help="Also align each protein with its nearest neighbour.")] = False,
    window: Annotated[
        list[str] | None,
        typer.Option(
            help="Search windows of so many residues and say where each family lies; several times for several "
            "lengths, or auto.",
            show_default=False,
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(help="Residues from one window to the next. [default: a quarter of it]", show_default=False),
    ] = None,
    reference: Annotated[
        str, typer.Option(help="Which labelled proteins are searched: train, or all rows of the task.")
    ] = "train",
    index: IndexName = "auto",
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
    """Find the nearest family of each protein, with a probability.

    Each answer comes with the probability that it is right and the nearest labelled protein.

    embedstore lookup unknown.fasta --task pfam

    embedstore lookup unknown.fasta --task pfam --max-error 0.01

    embedstore lookup unknown.fasta --dataset families --neighbours 3 --align

    embedstore lookup unknown.fasta --task pfam --window auto

    embedstore lookup unknown.fasta --labels mine.csv --tsv > families.tsv

    The probability is calibrated on validation proteins, looked up with and without their family in the reference.
    Below the threshold the answer is "no confident hit", with the nearest family as the candidate.
    """
    from cli.queries import given_model, read_queries
    from cli.render.lookup import print_hits, warn_calibration, window_sizes
    from cli.render.progress import progress_bar
    from embedstore.store import open_store
    from heads import TaskSelection
    from heads import lookup as look_up

    opened = open_store(store)
    records = read_queries(
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
            opened,
            records,
            task=TaskSelection(
                task=task,
                labels=None if labels is None else str(labels),
                dataset=dataset,
                label_column=label_column,
                label_separator=label_separator,
                id_column=labels_id_column,
                sequence_column=labels_sequence_column,
                skip_invalid=skip_invalid and labels is not None,
            ),
            space=space,
            k=k,
            reference=reference,
            index=index,
            max_error=max_error,
            confidence=confidence,
            unknown_share=unknown_share,
            exclude_self=exclude_self,
            align=align,
            window=window_sizes(window),
            step=step,
            model=given_model(opened.space(space), weights=weights, device=device),
            progress=progress,
        )
    warn_calibration(hits, max_error=max_error, confidence=confidence)
    print_hits(hits, neighbours=neighbours, json_=json, tsv=tsv)
