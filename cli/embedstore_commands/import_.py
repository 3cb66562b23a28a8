"""``embedstore import``: vectors that another tool made become a space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json, StorePath


def import_(
    path: Annotated[
        Path, typer.Argument(help="HDF5 (UniProt, bio_embeddings, biotrainer), a folder of .pt (fair-esm), npz or npy.")
    ],
    dataset: Annotated[str, typer.Option(help="The data set whose ids the vectors have.")],
    fasta: Annotated[
        Path | None,
        typer.Option(
            help="The sequences, where they are not in the store: added as that data set.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="What made the vectors, by your word.", show_default=False)
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(help="How residue vectors became one (mean, bos …), by your word.", show_default=False),
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Layer of the model, by your word.", show_default=False)] = None,
    format_: Annotated[
        str,
        typer.Option("--format", help="auto, uniprot-h5, bio-embeddings-h5, biotrainer-h5, esm-pt, npz, npy."),
    ] = "auto",
    ids: Annotated[Path | None, typer.Option(help="The ids of an .npy: .txt or .tsv.", show_default=False)] = None,
    match: Annotated[
        str, typer.Option(help="exact; or accession: the id sp|P69905|HBA_HUMAN of the data set is also P69905.")
    ] = "exact",
    into: Annotated[
        str | None,
        typer.Option(help="An imported space whose vectors were made in exactly the same way.", show_default=False),
    ] = None,
    on_conflict: Annotated[
        str, typer.Option(help="error; or first: keep the first of a sequence's vectors, name the others.")
    ] = "error",
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Import vectors that another tool made.

    They are stored under the sequences that their ids name.

    embedstore import per-protein.h5 --dataset swissprot --fasta sprot.fasta.gz --match accession --model prot_t5

    embedstore import esm_output/ --dataset mine --layer 33 --model esm2_650m

    What cannot be stored is named with the reason. A run that was stopped goes on where it was: run it again.
    """
    from cli.render.exchange import print_import
    from cli.render.progress import progress_bar
    from embedstore.exchange import import_vectors
    from embedstore.store import open_store

    with progress_bar() as progress:
        report = import_vectors(
            open_store(store, mode="a" if fasta else "r"),
            path,
            dataset=dataset,
            fasta=fasta,
            model=model,
            pooling=pooling,
            layer=layer,
            format=format_,
            ids=ids,
            match=match,
            into=into,
            on_conflict=on_conflict,
            progress=progress,
        )
    print_import(report, json_=json)
