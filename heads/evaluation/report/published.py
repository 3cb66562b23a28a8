"""The section of a comparison's page with measured and published results side by side."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from heads.evaluation.report.cells import cell, metric_name, number, seconds, section, table


def published_section(document: Mapping[str, Any]) -> str:
    """The methods in their published order, with errata; empty without a published table."""
    published = document["published"]
    if published is None:
        return ""
    metric, measured = published["metric"], {result["name"]: result for result in document["results"]}
    headings = [
        escape(title) for title in (f"{metric_name(metric)}, measured here", *published["columns"], "epochs", "fit")
    ]
    rows = [_row(line, measured[line["method"]], published["columns"], metric) for line in published["results"]]
    errata = "".join(f"<li>{escape(text)}</li>" for text in published["errata"])
    notes = dict.fromkeys(
        [
            *(f"{line['published_row']}: {line['note']}." for line in published["results"] if line["note"]),
            *(f"Left out, {row}: {reason}." for row, reason in published["left_out"].items()),
            *published["notes"],
            f"Published by: {published['citation']}.",
        ]
    )
    return section(
        f"Published results: {published['title']}",
        f'<p class="alert mild">{escape(published["caution"])}</p>{table(["method", "head"], headings, rows)}'
        + (f"<p><b>Errors in print</b></p><ul>{errata}</ul>" if errata else "")
        + "".join(f'<p class="note">{escape(text)}</p>' for text in notes),
    )


def _row(line: Mapping[str, Any], result: Mapping[str, Any], columns: list[str], metric: str) -> str:
    name = escape(result["name"]) + ('<span class="tag">baseline</span>' if line["baseline"] else "")
    params = "; ".join(f"{key}={value}" for key, value in result["settings"].get("params", {}).items())
    head = escape(line["head"]) + (f"<small>{escape(params)}</small>" if params else "")
    start = f'<th scope="row">{name}</th><td>{head}</td>'
    published = "".join(f'<td class="n">{_published(line, column, metric)}</td>' for column in columns)
    if result["failure"]:
        return f'<tr class="failed">{start}<td>{escape(result["failure"])}</td>{published}<td></td><td></td></tr>'
    epochs = "–" if line["epochs"] is None else f"{line['epochs']:,}"
    return (
        f'<tr>{start}<td class="n">{cell(result["metrics"].get(metric), metric)}</td>{published}'
        f'<td class="n">{epochs}</td><td class="n">{seconds(result["fit_seconds"])}</td></tr>'
    )


def _published(line: Mapping[str, Any], column: str, metric: str) -> str:
    if column not in line["published"]:
        return "–"
    return f"{number(line['published'][column], metric)}<small>{escape(line['printed'][column])}</small>"
