"""``embedstore ls``: data sets and spaces of a store."""

from __future__ import annotations

from typing import Any

from cli.options import Json, StorePath, Tsv


def ls(store: StorePath = None, json: Json = False, tsv: Tsv = False) -> None:
    """List the data sets and the spaces of a store.

    embedstore ls

    embedstore ls --tsv | cut -f2
    """
    from cli.output import print_rows
    from embedstore.store import open_store

    opened = open_store(store)
    rows: list[dict[str, Any]] = []
    for name in opened.datasets():
        facts = opened.dataset(name).describe()
        rows.append(
            {
                "kind": "data set",
                "name": name,
                "records": facts["n_records"],
                "distinct": facts["n_distinct"],
                "vectors": None,
                "dim": None,
                "dtype": None,
                "columns": facts["columns"],
            }
        )
    for name in opened.spaces():
        space = opened.any_space(name)
        rows.append(
            {
                "kind": "space",
                "name": name,
                "records": None,
                "distinct": None,
                "vectors": space.n_rows,
                "dim": space.dim,
                "dtype": space.dtype.name,
                "columns": None,
            }
        )
    print_rows(rows, json_=json, tsv=tsv)
