"""``embedstore simulate``: protein families to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    path: Annotated[
        Path, typer.Argument(help="File to write, .csv or .fasta (also .gz), or a folder: a name without a suffix.")
    ],
    sequences: Annotated[int, typer.Option("--sequences", "-n", help="Number of proteins.")] = 10_000,
    families: Annotated[int, typer.Option(help="Number of families.")] = 100,
    seed: Annotated[int, typer.Option(help="Same seed, same proteins.")] = 0,
    layout: Annotated[
        str | None,
        typer.Option(help="csv, fasta, or pfam (folders of CSV shards). [default: by the name]", show_default=False),
    ] = None,
) -> None:
    """Write simulated protein families, labelled and split.

    For trying things out.

    embedstore simulate simulated.csv --sequences 20000 --families 200

    embedstore simulate simulated.fasta.gz

    embedstore simulate random_split      (a folder, in the layout of Pfam's random split)
    """
    from cli.render.output import say
    from embedstore.testing.family_files import write_families

    written = write_families(path, sequences, families, seed=seed, layout=layout)
    say(f"{path}: {written.n_sequences:,} simulated proteins in {written.n_families:,} families (seed {seed}).")
