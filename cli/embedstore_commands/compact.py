"""``embedstore compact``: small parts become large ones."""

from __future__ import annotations

from cli.options import Json, SpacesName, StorePath


def compact(space: SpacesName = None, store: StorePath = None, json: Json = False) -> None:
    """Merge small parts into large ones and drop second copies.

    Readers see the same before, meanwhile and after.

    embedstore compact

    embedstore compact --space prot_t5

    The disk space of the parts that were merged is freed by `embedstore gc`, an hour later by default.
    """
    from cli.render.output import print_json, say
    from cli.render.progress import progress_bar
    from embedstore.store import compact as compact_store
    from embedstore.store import open_store

    with progress_bar() as progress:
        report = compact_store(open_store(store), space, progress=progress)
    if json:
        print_json(report.to_dict())
        return
    for merge in report.merged:
        copies = f", {merge.n_copies:,} second copies dropped" if merge.n_copies else ""
        say(f"{merge.place}: {merge.n_parts:,} parts merged, {merge.n_rows:,} rows, {merge.n_bytes:,} bytes{copies}")
    for note in report.notes:
        say(f"note: {note}")
    if report.merged:
        say(f"{report.n_parts_before:,} parts became {report.n_parts_after:,}. `embedstore gc` frees the space.")
    else:
        say(f"Nothing to merge in {report.n_parts_before:,} parts.")
