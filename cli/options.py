"""Options that several commands share, so that they are called the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.completion import complete_dataset, complete_head, complete_space, complete_task

INPUT, STORE, ROWS, OUTPUT = "Input file", "Store and vectors", "Labelled rows", "Output"
"""Panels of the help: options on one subject are listed together."""

StorePath = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="EMBEDSTORE",
        help="The store: a directory, s3://bucket/name or gs://bucket/name. [default: ./embedstore.zarr]",
        show_default=False,
        rich_help_panel=STORE,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON.",
        rich_help_panel=OUTPUT,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Tsv = Annotated[
    bool,
    typer.Option(
        "--tsv",
        help="Print tab-separated values with a header line.",
        rich_help_panel=OUTPUT,
    ),
]
SpaceName = Annotated[
    str | None,
    typer.Option(
        "--space",
        "--model",
        help="Space id, or the model where only one space has it. [default: the only one]",
        show_default=False,
        rich_help_panel=STORE,
        autocompletion=complete_space,
    ),
]
SpacesName = Annotated[
    str | None,
    typer.Option(
        "--space",
        "--model",
        help="Space id, or the model where only one space has it. [default: all spaces]",
        show_default=False,
        rich_help_panel=STORE,
        autocompletion=complete_space,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", help="Directory of the checkpoint, in place of the hub.", show_default=False, rich_help_panel=STORE
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda, cuda:1 …",
        rich_help_panel=STORE,
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the ids, for tables; # numbers the rows.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
PartnerColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the second sequences, for pairs.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
SequenceColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the sequences, for tables.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="auto, fasta, csv, tsv, parquet.",
        rich_help_panel=INPUT,
    ),
]
QuerySplit = Annotated[
    str | None,
    typer.Option(
        "--split", help="Only this split of the file or directory.", show_default=False, rich_help_panel=INPUT
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Only the first N proteins.",
        show_default=False,
        rich_help_panel=INPUT,
    ),
]
SkipInvalid = Annotated[
    bool,
    typer.Option(
        "--skip-invalid",
        help="Leave out, and name, records with illegal characters.",
        rich_help_panel=INPUT,
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        help="A task; see `heads tasks`.", show_default=False, rich_help_panel=ROWS, autocompletion=complete_task
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="In place of a task: any labelled file (CSV, TSV, Parquet, …).", show_default=False, rich_help_panel=ROWS
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the labels.",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
SplitColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the splits. Without one: 80/10/10 at random by sequence.",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
HeadName = Annotated[
    str,
    typer.Option(
        help="A head; see `heads list`.",
        autocompletion=complete_head,
    ),
]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
DatasetName = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="In place of a task: a data set of the store with a column of labels; see `embedstore ls`.",
        show_default=False,
        rich_help_panel=ROWS,
        autocompletion=complete_dataset,
    ),
]
LabelsIdColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the ids in the labelled file.",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
LabelsSequenceColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the sequences in the labelled file.",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
IndexName = Annotated[
    str,
    typer.Option(
        "--index",
        help="auto: a stored index if there is one, else exact search. flat: exact search. Or ivf_pq, hnsw.",
        rich_help_panel=STORE,
    ),
]
Wheres = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="Only stored proteins with name=value: dataset, split, id or any column. Several values of one name: any "
        "of them; several names: all.",
        show_default=False,
        rich_help_panel=STORE,
    ),
]
WhereIds = Annotated[
    Path | None,
    typer.Option(
        help="Only stored proteins whose id is in this file, one per line.", show_default=False, rich_help_panel=STORE
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--target-type",
        "--kind",
        help="What is predicted: class, multilabel, regression, ordinal. [default: the task's; else class]",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(
        help="Separator between the labels of a row that can have several.", show_default=False, rich_help_panel=ROWS
    ),
]
InputKind = Annotated[
    str | None,
    typer.Option(
        "--input",
        help="What a row is: protein, residue, pair. [default: the task's]",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
MaskColumn = Annotated[
    str | None,
    typer.Option(
        help="For residues: column with 0 where one has no label.",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
Pairing = Annotated[
    str | None,
    typer.Option(
        help="For pairs: concatenation, sum, product, difference, several with + between them.",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group-column",
        "--groups",
        help="Column that groups related rows; intervals resample whole groups. none: single rows. "
        "[default: the task's]",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
TopLabels = Annotated[
    int | None,
    typer.Option(
        "--top", help="Only this many labels, those with most training rows.", show_default=False, rich_help_panel=ROWS
    ),
]
SplitBy = Annotated[
    str | None,
    typer.Option(
        help="column, random, or clusters of similar sequences (by MMseqs2 where it is installed). "
        "[default: column if there is one, else random]",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
Identity = Annotated[
    float,
    typer.Option(
        help="For --split-by clusters: least identity within a cluster.",
        rich_help_panel=ROWS,
    ),
]
