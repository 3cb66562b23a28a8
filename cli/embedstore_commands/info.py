"""``embedstore info``: all that is known of a space or a data set."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Json, SpaceName, StorePath


def info(
    space: SpaceName = None,
    dataset: Annotated[str | None, typer.Option(help="A data set instead of a space.", show_default=False)] = None,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Show how a space was made, or where a data set came from.

    embedstore info

    embedstore info --dataset pfam --json
    """
    from cli.render.output import print_facts
    from embedstore.store import open_store, provenance

    opened = open_store(store)
    described = opened.dataset(dataset).describe() if dataset else provenance(opened, opened.any_space(space))
    print_facts(described, json_=json)
