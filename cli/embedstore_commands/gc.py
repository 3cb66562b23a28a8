"""``embedstore gc``: frees the space of what no reader sees any more."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import DryRun, Json, StorePath


def gc(
    older_than: Annotated[
        str | None,
        typer.Option(
            help="Leave alone what changed in this time: 30m, 1h, 2d. [default: 1h; 24h on object stores]",
            show_default=False,
        ),
    ] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Drop sequences and vectors that no data set names, too.")
    ] = False,
    dry_run: DryRun = False,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Free the space of what no reader sees any more.

    Removes what killed writers left, what `compact` replaced and what `rm` removed. Builds may run meanwhile.

    embedstore gc --dry-run

    embedstore gc --older-than 2d

    embedstore gc --unused
    """
    from cli.render.output import print_json, say
    from cli.render.progress import progress_bar
    from embedstore.store import gc as collect
    from embedstore.store import open_store

    with progress_bar() as progress:
        report = collect(open_store(store), older_than=older_than, unused=unused, dry_run=dry_run, progress=progress)
    if json:
        print_json(report.to_dict())
        return
    verb = "would be" if dry_run else "were"
    for place, n_rows in report.dropped.items():
        say(f"{place}: {n_rows:,} rows that no data set names {verb} dropped")
    for removed in report.removed:
        say(f"{removed.place}: {removed.why}; {removed.n_bytes:,} bytes")
    for note in report.notes:
        say(f"note: {note}")
    say(f"{report.n_bytes:,} bytes in {len(report.removed):,} places {verb} removed.")
