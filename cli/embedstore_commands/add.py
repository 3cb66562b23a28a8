"""``embedstore add``: files become a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Format, IdColumn, Json, PartnerColumn, SequenceColumn, SkipInvalid, StorePath


def add(
    name: Annotated[str, typer.Argument(help="Name of the data set.")],
    paths: Annotated[
        list[Path], typer.Argument(help="FASTA, CSV, TSV, Parquet (.gz and .zst too), or a directory of splits.")
    ],
    append: Annotated[bool, typer.Option("--append", help="Add to a data set that holds other files.")] = False,
    format_: Format = "auto",
    id_column: IdColumn = None,
    sequence_column: SequenceColumn = None,
    partner_column: PartnerColumn = None,
    skip_invalid: SkipInvalid = False,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Add a data set: its sequences, ids, labels and splits.

    embedstore add pfam random_split/

    embedstore add mine proteins.fasta.gz

    embedstore add ppi pairs.csv --partner-column sequence_2

    Nothing is embedded yet; `embedstore build` does that.
    """
    from cli.render.add import print_added
    from cli.render.progress import progress_bar
    from embedstore.store import open_store
    from embedstore.store.pairs import add_pairs

    target = open_store(store, mode="a")
    with progress_bar() as progress:
        options: dict[str, Any] = {
            "existing": "append" if append else "error",
            "format": format_,
            "id_column": id_column,
            "sequence_column": sequence_column,
            "skip_invalid": skip_invalid,
            "progress": progress,
        }
        if partner_column is None:
            report = target.add(name, paths, **options)
        else:
            report, partners = add_pairs(target, name, paths, partner_column=partner_column, **options)
            print_added(partners, json_=False)
    print_added(report, json_=json)
