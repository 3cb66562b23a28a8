"""``embedstore rm``: removes a data set or a space."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import DryRun, Json, StorePath


def rm(
    name: Annotated[str, typer.Argument(help="A data set, or a space by its id or its model.")],
    kind: Annotated[
        str | None, typer.Option(help="dataset or space, where both have the name.", show_default=False)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    store: StorePath = None,
    json: Json = False,
) -> None:
    """Remove a data set or a space.

    Sequences stay, and the vectors of a data set too: `embedstore gc --unused` removes them.

    embedstore rm pfam --dry-run

    embedstore rm esm2_8m --yes
    """
    import sys

    from cli.render.output import print_json, say
    from embedstore.errors import InputError
    from embedstore.store import open_store, remove
    from embedstore.store.maintenance.remove import parse_kind

    opened, owner = open_store(store), parse_kind(kind)
    planned = remove(opened, name, kind=owner, dry_run=True)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise InputError(f"Nobody is there to confirm that {planned.name!r} goes. Say so: --yes.")
    what = {"dataset": "Data set", "space": "Space"}[planned.kind]
    rows = {"dataset": "records", "space": "proteins"}[planned.kind]
    say(f"{what} {planned.name}: {planned.n_rows:,} {rows}, {planned.n_bytes:,} bytes in {planned.n_parts:,} parts.")
    for sentence in planned.stays:
        say(sentence)
    if not (dry_run or yes or typer.confirm("Remove it?", err=True)):
        raise InputError("Nothing was removed.")
    report = planned if dry_run else remove(opened, planned.name, kind=planned.kind)
    if json:
        print_json(report.to_dict())
    elif not dry_run:
        left = f" {report.n_parts_left:,} parts' files are left for `embedstore gc`." if report.n_parts_left else ""
        say(f"Removed.{left}")
