"""``embedstore verify``: prove that a store is whole."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Json, Seed, SpacesName, StorePath, Weights


def verify(
    deep: Annotated[
        bool, typer.Option("--deep", help="Embed some proteins of each space again and compare the vectors.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Only records and sizes of files; reads no data.")] = False,
    space: SpacesName = None,
    sample: Annotated[int, typer.Option(help="Proteins of each space that --deep embeds.")] = 32,
    seed: Seed = 0,
    weights: Weights = None,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Check that nothing in the store is lost or damaged.

    Reads all of it. Exit code 1 if something is.

    embedstore verify --store pfam.zarr

    embedstore verify --quick

    embedstore verify --deep --space prot_t5
    """
    from cli.render.output import print_facts, print_json, say
    from cli.render.progress import progress_bar
    from embedstore.embedding.deep_verify import verify as verify_store
    from embedstore.store import open_store

    with progress_bar() as progress:
        report = verify_store(
            open_store(store),
            deep=deep,
            quick=quick,
            space=space,
            sample=sample,
            seed=seed,
            weights=weights,
            progress=progress,
        )
    if json:
        print_json(report.to_dict())
    else:
        facts = report.to_dict()
        print_facts({name: value for name, value in facts.items() if name.startswith("n_")})
        for note in report.notes:
            say(f"note: {note}")
        for problem in report.problems:
            say(f"problem: {problem}")
        whole = "sizes are as recorded; no data was read." if quick else "verified: nothing lost, nothing changed."
        if deep and report.ok and not report.n_embedded_again:
            whole = "whole on disk, but no protein was embedded again: the notes say why."
        say(whole if report.ok else f"{len(report.problems)} problems.")
    if not report.ok:
        raise typer.Exit(1)
