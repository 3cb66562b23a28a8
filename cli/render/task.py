"""What is told of a task of the catalog, and of its download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.render.add import print_added
from cli.render.output import print_json, say, warn

if TYPE_CHECKING:
    from heads.tasks.fetch import FetchReport
    from heads.tasks.spec import Task


def task_row(task: Task) -> dict[str, Any]:
    """A line of the list."""
    return {
        "name": task.name,
        "field": task.field,
        "predicts": task.target_type,
        "of": task.input,
        "metric": task.main_metric,
        "data set": task.dataset,
        "fetch": "yes" if task.files else "no",
        "licence": task.licence,
        "source": task.source_url,
        "summary": task.summary,
    }


def task_facts(task: Task) -> dict[str, Any]:
    """All that the catalog says of a task."""
    unknown = sum(file.sha256 is None for file in task.files)
    return {
        **{name: value for name, value in task_row(task).items() if name not in ("name", "fetch")},
        "label columns": list(task.label_columns),
        "separator": task.label_separator,
        "split": f"column {task.split_column}, else 80/10/10 by key",
        "partner": task.partner_column,
        "pairing": task.pairing,
        "mask": task.mask_column,
        "groups": task.group_column,
        "citation": task.citation,
        "note": task.note or None,
        "layout": task.layout,
        "files": f"{len(task.files):,}, {unknown:,} of them without a known sha256" if task.files else None,
    }


def print_fetched(report: FetchReport, *, json_: bool) -> None:
    """Say what was downloaded, which checksums nobody could compare, and what was added."""
    if json_:
        from dataclasses import asdict

        print_json(asdict(report))
        return
    unverified = [file for file in report.files if not file.verified]
    for file in unverified:
        say(f"{file.name}: sha256 {file.sha256}")
    if unverified:
        warn(
            f"{len(unverified):,} of {len(report.files):,} files had no known sha256 to compare with; "
            "the ones above are held to from now on."
        )
    say(f"{report.task}: {len(report.files):,} files; {report.source}")
    for added in report.added:
        print_added(added, json_=False)
