"""``embedstore verify``: prove that a store is whole."""

from __future__ import annotations

import typer

from cli.options import Json, StorePath


def verify(store: StorePath = None, json: Json = False) -> None:
    """Read the whole store and prove that nothing is lost or changed. Exit code 1 if something is.

    embedstore verify --store pfam.zarr
    """
    from cli.output import print_facts, print_json, say
    from cli.progress import progress_bar
    from embedstore.store import open_store
    from embedstore.store import verify as verify_store

    with progress_bar() as progress:
        report = verify_store(open_store(store), progress)
    if json:
        print_json(report.to_dict())
    else:
        facts = report.to_dict()
        print_facts({name: facts[name] for name in ("n_parts", "n_files", "n_bytes", "n_sequences", "n_vectors")})
        for note in report.notes:
            say(f"note: {note}")
        for problem in report.problems:
            say(f"problem: {problem}")
        say("verified: nothing lost, nothing changed." if report.ok else f"{len(report.problems)} problems.")
    if not report.ok:
        raise typer.Exit(1)
