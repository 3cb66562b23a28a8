"""``heads tasks``: the task catalog."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Json, Tsv


def tasks(
    name: Annotated[str | None, typer.Argument(help="Show this task in full.", show_default=False)] = None,
    json: Json = False,
    tsv: Tsv = False,
) -> None:
    """List the tasks by name, or show one in full.

    heads tasks

    heads tasks ppi_affinity
    """
    from cli.render.output import print_facts, print_rows
    from cli.render.task import task_facts, task_row
    from heads.tasks.catalog import TASKS

    if name is not None:
        print_facts(task_facts(TASKS[name]), json_=json, title=name)
        return
    rows = [task_row(task) for task in TASKS.values()]
    print_rows(rows, json_=json, tsv=tsv, spare=["source", "data set", "licence", "metric"])
