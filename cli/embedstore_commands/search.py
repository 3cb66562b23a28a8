"""``embedstore search``: nearest neighbours of proteins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import (
    Device,
    Format,
    IdColumn,
    IndexName,
    Json,
    Limit,
    QuerySplit,
    SequenceColumn,
    SkipInvalid,
    SpaceName,
    StorePath,
    Tsv,
    Weights,
    WhereIds,
    Wheres,
)


def search(
    queries: Annotated[Path, typer.Argument(help="Proteins: FASTA, CSV, TSV or Parquet.")],
    k: Annotated[int, typer.Option("-k", help="Neighbours a query.")] = 10,
    index: IndexName = "auto",
    where: Wheres = None,
    where_ids: WhereIds = None,
    exclude_self: Annotated[
        bool, typer.Option("--exclude-self", help="Leave out the stored protein with the query's own sequence.")
    ] = False,
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
    """Find the nearest stored proteins of each query.

    By cosine similarity of their vectors.

    embedstore search unknown.fasta -k 5

    embedstore search unknown.fasta --tsv > neighbours.tsv

    embedstore search unknown.fasta --where dataset=pfam --where split=train
    """
    from cli.parsing import parse_where
    from cli.queries import given_model, read_queries
    from cli.render.output import print_rows
    from cli.render.progress import progress_bar
    from embedstore.indexes.query import search_records
    from embedstore.store import open_store

    opened = open_store(store)
    searched = opened.space(space)
    with progress_bar() as progress:
        records = read_queries(
            queries,
            split=split,
            limit=limit,
            format=format_,
            id_column=id_column,
            sequence_column=sequence_column,
            skip_invalid=skip_invalid,
        )
        model = given_model(searched, weights=weights, device=device)
        hits = search_records(
            opened,
            searched,
            records,
            k=k,
            index=index,
            where=parse_where(where or [], where_ids),
            exclude_self=exclude_self,
            model=model,
            progress=progress,
        )
    # A data set may hold one id more than once.
    rows = [{**hit.to_dict(), "ids": list(dict.fromkeys(hit.ids))} for hit in hits]
    print_rows(rows, json_=json, tsv=tsv, spare=["key"])
