"""Options that several commands share, so that they are called the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StorePath = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="EMBEDSTORE",
        help="The store: a directory, s3://bucket/name or gs://bucket/name. [default: ./embedstore.zarr]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Tsv = Annotated[bool, typer.Option("--tsv", help="Print tab-separated values with a header line.")]
SpaceName = Annotated[
    str | None,
    typer.Option(
        "--space",
        "--model",
        help="Space id, or the model where only one space has it. [default: the only one]",
        show_default=False,
    ),
]
SpacesName = Annotated[
    str | None,
    typer.Option(
        "--space",
        "--model",
        help="Space id, or the model where only one space has it. [default: all spaces]",
        show_default=False,
    ),
]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Directory of the checkpoint, in place of the hub.", show_default=False)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")]
IdColumn = Annotated[
    str | None, typer.Option(help="Column of the ids, for tables; # numbers the rows.", show_default=False)
]
PartnerColumn = Annotated[
    str | None, typer.Option(help="Column of the second sequences, for pairs.", show_default=False)
]
SequenceColumn = Annotated[str | None, typer.Option(help="Column of the sequences, for tables.", show_default=False)]
Format = Annotated[str, typer.Option("--format", help="auto, fasta, csv, tsv, parquet.")]
QuerySplit = Annotated[
    str | None, typer.Option("--split", help="Only this split of the file or directory.", show_default=False)
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many proteins.", show_default=False)]
SkipInvalid = Annotated[
    bool, typer.Option("--skip-invalid", help="Leave out, and name, records with illegal characters.")
]
TaskName = Annotated[str | None, typer.Option(help="A task; see `heads tasks`.", show_default=False)]
Labels = Annotated[
    Path | None, typer.Option(help="In place of a task: any labelled file (CSV, TSV, Parquet, …).", show_default=False)
]
LabelColumn = Annotated[str | None, typer.Option(help="Column of the labels.", show_default=False)]
SplitColumn = Annotated[
    str | None,
    typer.Option(help="Column of the splits. Without one: 80/10/10 at random by sequence.", show_default=False),
]
HeadName = Annotated[str, typer.Option(help="A head; see `heads list`.")]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]
DatasetName = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="In place of a task: a data set of the store with a column of labels; see `embedstore ls`.",
        show_default=False,
    ),
]
LabelsIdColumn = Annotated[str | None, typer.Option(help="Column of the ids in the labelled file.", show_default=False)]
LabelsSequenceColumn = Annotated[
    str | None, typer.Option(help="Column of the sequences in the labelled file.", show_default=False)
]
KeptIndexName = Annotated[
    str,
    typer.Option(
        "--index", help="auto: a kept index if there is one, else exact search. flat: exact search. Or ivf_pq, hnsw."
    ),
]
Wheres = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="Only stored proteins with name=value: dataset, split, id or any column. Several values of one name: any "
        "of them; several names: all.",
        show_default=False,
    ),
]
WhereIds = Annotated[
    Path | None, typer.Option(help="Only stored proteins whose id stands in this file, one a line.", show_default=False)
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--target-type",
        "--kind",
        help="What is predicted: class, multilabel, regression, ordinal. [default: the task's; else class]",
        show_default=False,
    ),
]
LabelSeparator = Annotated[
    str | None, typer.Option(help="What stands between the labels of a row that can have several.", show_default=False)
]
InputKind = Annotated[
    str | None,
    typer.Option("--input", help="What a row is: protein, residue, pair. [default: the task's]", show_default=False),
]
MaskColumn = Annotated[
    str | None, typer.Option(help="For residues: column with 0 where one has no label.", show_default=False)
]
Pairing = Annotated[
    str | None,
    typer.Option(
        help="For pairs: concatenation, sum, product, difference, several with + between them.", show_default=False
    ),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        "--group-column",
        "--groups",
        help="Column whose equal texts make rows relatives, which intervals draw together; none: rows on their own. "
        "[default: the task's]",
        show_default=False,
    ),
]
TopLabels = Annotated[
    int | None, typer.Option("--top", help="Only so many labels, those with most training rows.", show_default=False)
]
SplitBy = Annotated[
    str | None,
    typer.Option(
        help="column, random, or clusters of similar sequences (by MMseqs2 where it is installed). "
        "[default: column if there is one, else random]",
        show_default=False,
    ),
]
Identity = Annotated[float, typer.Option(help="For --split-by clusters: least identity within a cluster.")]
