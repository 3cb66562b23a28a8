"""``embedstore ls``: data sets, spaces and indexes of a store."""

from __future__ import annotations

from cli.options import Json, StorePath, Tsv


def ls(store: StorePath = None, json: Json = False, tsv: Tsv = False) -> None:
    """List data sets, spaces and indexes, with their sizes.

    And what is missing where.

    embedstore ls

    embedstore ls --tsv | cut -f2
    """
    from cli.render.output import print_rows
    from embedstore.store import list_contents, open_store

    rows = list_contents(open_store(store))
    if not json:
        for row in rows:
            row["state"] = [f"{name} {state}" for name, state in (row["state"] or {}).items()] or None
    print_rows(rows, json_=json, tsv=tsv, spare=["distinct", "layer", "parts", "dtype", "columns"])
