"""The section of a comparison's page that sets measured figures beside published ones."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from heads.evaluation.report.cells import cell, metric_name, number, seconds, section


def published_section(document: Mapping[str, Any]) -> str:
    """The published rows in their order, with what is wrong in print; nothing where no table was followed."""
    found = document["published"]
    if found is None:
        return ""
    metric, rows = found["metric"], {row["name"]: row for row in document["rows"]}
    heads = "".join(
        f'<th class="n" scope="col">{escape(title)}</th>'
        for title in (f"{metric_name(metric)}, measured here", *found["columns"], "epochs", "fit")
    )
    body = "".join(_line(line, rows[line["row"]], found["columns"], metric) for line in found["lines"])
    table = (
        f'<div class="scroll"><table><thead><tr><th scope="col">row</th><th scope="col">head</th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
    errata = "".join(f"<li>{escape(text)}</li>" for text in found["errata"])
    notes = dict.fromkeys(
        [
            *(f"{line['published_row']}: {line['note']}." for line in found["lines"] if line["note"]),
            *(f"Left out, {row}: {why}." for row, why in found["left_out"].items()),
            *found["notes"],
            f"Published by: {found['citation']}.",
        ]
    )
    return section(
        f"Beside the published figures: {found['title']}",
        f'<p class="alert mild">{escape(found["caution"])}</p>{table}'
        + (f"<p><b>Wrong in print</b></p><ul>{errata}</ul>" if errata else "")
        + "".join(f'<p class="note">{escape(text)}</p>' for text in notes),
    )


def _line(line: Mapping[str, Any], row: Mapping[str, Any], columns: list[str], metric: str) -> str:
    name = escape(row["name"]) + ('<span class="tag">floor</span>' if line["floor"] else "")
    told = "; ".join(f"{key}={value}" for key, value in row["settings"].get("params", {}).items())
    head = escape(line["head"]) + (f"<small>{escape(told)}</small>" if told else "")
    start = f'<th scope="row">{name}</th><td>{head}</td>'
    published = "".join(f'<td class="n">{_published(line, column, metric)}</td>' for column in columns)
    if row["failure"]:
        return f'<tr class="failed">{start}<td>{escape(row["failure"])}</td>{published}<td></td><td></td></tr>'
    epochs = "–" if line["epochs"] is None else f"{line['epochs']:,}"
    return (
        f'<tr>{start}<td class="n">{cell(row["metrics"].get(metric), metric)}</td>{published}'
        f'<td class="n">{epochs}</td><td class="n">{seconds(row["fit_seconds"])}</td></tr>'
    )


def _published(line: Mapping[str, Any], column: str, metric: str) -> str:
    if column not in line["published"]:
        return "–"
    return f"{number(line['published'][column], metric)}<small>{escape(line['printed'][column])}</small>"
