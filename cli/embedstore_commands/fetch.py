"""``embedstore fetch``: a task's published files become a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json, StorePath


def fetch(
    task: Annotated[str, typer.Argument(help="A task; see `heads tasks`.")],
    folder: Annotated[
        Path | None,
        typer.Option(help="Where to keep the files. [default: the user's cache]", show_default=False),
    ] = None,
    only_download: Annotated[bool, typer.Option("--only-download", help="Do not add them to the store.")] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Take files too whose sha256 the catalog does not know.")
    ] = False,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Download and add the published files of a task.

    Their sha256 is checked first.

    embedstore fetch stability

    embedstore fetch pfam --no-verify --folder pfam/

    Nothing is embedded yet; `embedstore build` does that.
    """
    from cli.render.progress import progress_bar
    from cli.render.task import print_fetched
    from embedstore.store import open_store
    from heads.tasks.fetch import fetch as fetch_task

    opened = None if only_download else open_store(store, mode="a")
    with progress_bar() as progress:
        report = fetch_task(task, opened, folder=folder, verify=not no_verify, progress=progress)
    print_fetched(report, json_=json)
