"""``embedstore index``: builds, updates, lists and removes the indexes of spaces."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Json, Seed, SpaceName, StorePath

index = typer.Typer(no_args_is_help=True, help="Build, update, list and remove indexes for fast search.")

Memory = Annotated[
    str | None,
    typer.Option(help="For the rows of a segment, such as 4GB. [default: half of what is free]", show_default=False),
]
IndexType = Annotated[str | None, typer.Option(help="ivf_pq or hnsw, where a space has both.", show_default=False)]
Kind = Annotated[str | None, typer.Option("--kind", hidden=True, help="Old name of --index-type.")]


@index.command()
def build(
    index_type: Annotated[str, typer.Option(help="auto, ivf_pq, hnsw, or flat for none.")] = "auto",
    recall: Annotated[float, typer.Option(help="Share of the ten nearest to find, as a lower 95% bound.")] = 0.99,
    memory: Memory = None,
    seed: Seed = 0,
    space: SpaceName = None,
    store: StorePath = None,
    json: Json = False,
    kind: Kind = None,
) -> None:
    """Build an index of a space, and measure how much of the truth it finds.

    embedstore index build

    embedstore index build --index-type hnsw --recall 0.95
    """
    from cli.parsing import parse_bytes
    from cli.render.progress import progress_bar
    from embedstore.indexes.manage import build_index
    from embedstore.store import open_store

    room = parse_bytes(memory) if memory else None
    with progress_bar() as progress:
        report = build_index(
            open_store(store),
            space=space,
            index_type=kind or index_type,
            recall=recall,
            memory=room,
            seed=seed,
            progress=progress,
        )
    _print(report.to_dict(), json)


@index.command()
def update(
    index_type: IndexType = None,
    memory: Memory = None,
    seed: Seed = 0,
    space: SpaceName = None,
    store: StorePath = None,
    json: Json = False,
    kind: Kind = None,
) -> None:
    """Add what came since the index was built; until then it is searched exactly.

    embedstore index update
    """
    from cli.parsing import parse_bytes
    from cli.render.progress import progress_bar
    from embedstore.indexes.manage import update_index
    from embedstore.store import open_store

    room = parse_bytes(memory) if memory else None
    with progress_bar() as progress:
        report = update_index(
            open_store(store), space=space, index_type=kind or index_type, memory=room, seed=seed, progress=progress
        )
    _print(report.to_dict(), json)


@index.command()
def ls(store: StorePath = None, json: Json = False) -> None:
    """List the indexes of all spaces.

    embedstore index ls
    """
    from cli.render.output import print_rows
    from embedstore.store import open_store
    from embedstore.store.listing import describe_indexes

    opened = open_store(store)
    rows = [about for name in opened.spaces() for about in describe_indexes(opened, opened.any_space(name))]
    if not json:
        shown = ("name", "n_rows", "n_uncovered", "n_segments", "n_bytes", "recall", "build_seconds", "created")
        rows = [{name: about[name] for name in shown} for about in rows]
        for about in rows:
            about["recall"] = about["recall"] and about["recall"]["value"]
    print_rows(rows, json_=json, spare=["created", "n_segments"])


@index.command()
def rm(
    index_type: Annotated[str | None, typer.Argument(help="ivf_pq or hnsw; all without.", show_default=False)] = None,
    space: SpaceName = None,
    store: StorePath = None,
) -> None:
    """Remove an index of a space. Vectors stay, and can be indexed again.

    embedstore index rm hnsw
    """
    from cli.render.output import say
    from embedstore.indexes.manage import remove_index
    from embedstore.store import open_store

    say(f"Removed: {', '.join(remove_index(open_store(store), index_type, space=space))}. Searches are exact now.")


def _print(facts: dict[str, object], json: bool) -> None:
    from cli.render.output import print_facts, say

    notes = facts["notes"]
    assert isinstance(notes, list)  # noqa: S101 - for mypy
    print_facts(facts if json else {name: value for name, value in facts.items() if name != "notes"}, json_=json)
    for note in [] if json else notes:
        say(f"note: {note}")
