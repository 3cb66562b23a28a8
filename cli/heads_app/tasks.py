"""``heads tasks``: the task catalog."""

from __future__ import annotations

from cli.options import Json, Tsv


def tasks(json: Json = False, tsv: Tsv = False) -> None:
    """List the tasks by name.

    heads tasks --json
    """
    from cli.output import print_rows
    from heads.tasks.catalog import TASKS

    rows = [
        {
            "name": task.name,
            "predicts": task.kind,
            "data set": task.dataset,
            "metric": task.main_metric,
            "licence": task.licence,
            "source": task.source_url,
            "summary": task.summary,
        }
        for task in TASKS.values()
    ]
    print_rows(rows, json_=json, tsv=tsv, spare=["source"])
