"""``embedstore ls``: data sets and spaces of a store."""

from __future__ import annotations

from cli.options import Json, StorePath, Tsv


def ls(store: StorePath = None, json: Json = False, tsv: Tsv = False) -> None:
    """List the data sets and the spaces of a store.

    embedstore ls

    embedstore ls --tsv | cut -f2
    """
    from cli.output import print_rows
    from embedstore.store import open_store

    opened = open_store(store)
    rows = []
    for name in opened.datasets():
        dataset = opened.dataset(name)
        rows.append({"kind": "data set", "name": name, "rows": dataset.n_rows, "columns": ", ".join(dataset.columns)})
    for name in opened.spaces():
        space = opened.space(name)
        rows.append(
            {"kind": "space", "name": name, "rows": space.n_rows, "columns": f"{space.dim} x {space.dtype.name}"}
        )
    print_rows(rows, json_=json, tsv=tsv)
