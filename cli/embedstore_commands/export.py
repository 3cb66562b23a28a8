"""``embedstore export``: vectors to a file that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json, Limit, SpaceName, StorePath


def export(
    out: Annotated[Path, typer.Argument(help="The file: .h5, .npy (with a .tsv), .npz, .parquet or .h5ad.")],
    space: SpaceName = None,
    dataset: Annotated[
        str | None, typer.Option(help="Whose vectors. [default: the only data set]", show_default=False)
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split of the data set.", show_default=False)] = None,
    limit: Limit = None,
    residues: Annotated[bool, typer.Option("--residues", help="A matrix a protein, of a space of residues.")] = False,
    format_: Annotated[
        str, typer.Option("--format", help="auto (by the name), h5, npy, npz, parquet, anndata.")
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Write the vectors of a data set to a file.

    The vectors are written bit for bit as they are stored.

    embedstore export vectors.h5 --dataset pfam --split test

    embedstore export pfam.h5ad --space prot_t5

    embedstore export residues.h5 --residues

    The file appears when it is whole. Proteins without a vector are named.
    """
    from cli.render.exchange import print_export
    from cli.render.progress import progress_bar
    from embedstore.exchange import export_vectors
    from embedstore.store import open_store

    with progress_bar() as progress:
        report = export_vectors(
            open_store(store),
            out,
            space=space,
            dataset=dataset,
            split=split,
            limit=limit,
            residues=residues,
            format=format_,
            overwrite=force,
            progress=progress,
        )
    print_export(report, json_=json)
