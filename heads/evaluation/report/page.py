"""The page of a comparison: tables and charts in one file, without scripts and without the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from heads.evaluation.report.cells import (
    PERCENT,
    cell,
    memory,
    metric_name,
    seconds,
    section,
    swatch,
    with_interval,
)
from heads.evaluation.report.charts import Mark, bars, by_bins, cost, reliability
from heads.evaluation.report.published import published_section

_IN_TABLE = {
    "class": ("accuracy", "macro_f1", "mcc", "auroc", "ece"),
    "multilabel": ("micro_f1", "macro_f1", "fmax", "micro_auprc"),
    "regression": ("spearman", "pearson", "rmse"),
    "ordinal": ("quadratic_kappa", "accuracy", "mae_levels"),
}
_MOST_CONFUSIONS = 12
_MOST_FIGURES = 8


def render(document: Mapping[str, Any]) -> str:
    """HTML of what `heads.api.compare.Comparison.to_dict` gives."""
    rows = [row for row in document["rows"] if not row["failure"]]
    title = f"{document['task']}: {len(rows)} rows compared"
    sections = [
        _head(document, rows),
        _leakage(document),
        published_section(document),
        _table(document, rows),
        _bar_section(document, rows),
        _identity_section(document, rows),
        _partner_section(document, rows),
        _cost_section(document, rows),
        _reliability_section(document, rows),
        _confusion_section(document, rows),
        _all_figures(document, rows),
        _what_was_run(document, rows),
    ]
    css = files("heads.evaluation.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in sections if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    about, best = document["about"], rows[0]
    main = document["main_metric"]
    found = best["metrics"][main]
    facts = [
        (best["name"], f"best by {metric_name(main)}"),
        (with_interval(found, main), f"its {metric_name(main)}, 95% interval"),
        (f"{about['n_rows'][document['split']]:,}", f"rows of the {document['split']} split"),
        (f"{about['n_rows']['train']:,}", "training rows"),
    ]
    items = "".join(f"<li><b>{escape(value)}</b><span>{escape(what)}</span></li>" for value, what in facts)
    return (
        f"<h1>{escape(document['task'])}, {escape(document['split'])} split</h1>"
        f'<p class="lead">{escape(_target_type(document))}; split: {escape(about["split_rule"])}. All '
        f"rows were fitted on "
        f"the same training rows and judged on the same {escape(document['split'])} rows.</p>{_trial(about)}"
        f'{_pending(document)}<ul class="facts">{items}</ul>'
    )


def _trial(about: Mapping[str, Any]) -> str:
    """What has to be said where networks are not as large, or not trained as long, as they are by default."""
    cut = [
        *(["of the catalog's small settings"] if about["small"] else []),
        *([f"trained for {about['epochs']} epochs at most"] if about["epochs"] else []),
    ]
    if not cut:
        return ""
    return (
        f'<p class="alert mild"><b>A quick trial.</b> Networks are {" and ".join(cut)}: no measure of the methods.</p>'
    )


def _pending(document: Mapping[str, Any]) -> str:
    """What has to be said where rows were not reached."""
    names = document["pending"]
    if not names:
        return ""
    return (
        f'<p class="alert"><b>Not finished.</b> {len(names)} more were to be compared: {escape(", ".join(names))}. The '
        "best row, and the tests against it, are those among the rows so far.</p>"
    )


def _target_type(document: Mapping[str, Any]) -> str:
    what = {
        "class": "One class",
        "multilabel": "Any number of labels",
        "regression": "A number",
        "ordinal": "A level of an ordered scale",
    }[document["target_type"]]
    of = {"protein": "a protein", "residue": "for each residue", "pair": "for each pair of proteins"}[document["input"]]
    return f"{what} {of}"


def _leakage(document: Mapping[str, Any]) -> str:
    audit = document["audit"]
    split, parts = document["split"], []
    if document["seen"]:
        parts.append(f'<p class="alert"><b>Not held out.</b> {escape(document["seen"])}</p>')
    if audit["n_exact"]:
        parts.append(
            f'<p class="alert"><b>{audit["n_exact"]:,} sequences</b> of the {escape(split)} split '
            f"({audit['n_exact_rows']:,} rows) stand in the training rows too. The figures flatter.</p>"
        )
    else:
        parts.append(f"<p>No sequence of the {escape(split)} split stands in the training rows.</p>")
    share = audit["near_share"]
    if share is not None:
        mild = ' class="alert mild"' if share["value"] > 0.1 else ""
        parts.append(
            f"<p{mild}>Near duplicates (identity of {audit['identity']:.0%} or more to a training protein): "
            f"<b>{share['value']:.1%}</b> [{share['low']:.1%}, {share['high']:.1%}] of {audit['n_sampled']:,} rows "
            f"looked at.</p>"
        )
    parts.append(f'<p class="note">Relatives: {escape(audit["method"])}.</p>')
    return section("Leakage", "".join(parts))


def _table(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    main = document["main_metric"]
    wanted = dict.fromkeys([main, *_IN_TABLE[document["target_type"]]])
    shown = [name for name in wanted if any(name in row["metrics"] for row in rows)]
    lower = set(document["lower_is_better"])
    heads = "".join(
        f'<th class="n" scope="col">{escape(metric_name(name))} {"↓" if name in lower else "↑"}</th>' for name in shown
    )
    body = []
    for number, row in enumerate(rows):
        cells = "".join(f'<td class="n">{cell(row["metrics"].get(name), name)}</td>' for name in shown)
        tag = '<span class="tag">best</span>' if number == 0 else ""
        body.append(
            f'<tr{" class=best" if not number else ""}><th scope="row">{swatch(number)}{escape(row["name"])}{tag}</th>'
            f'{cells}<td class="n">{_test(row, main)}</td><td class="n">{seconds(row["fit_seconds"])}</td>'
            f'<td class="n">{seconds(row["predict_seconds"])}</td><td class="n">{memory(row["peak_bytes"])}</td></tr>'
        )
    body += [
        f'<tr class="failed"><th scope="row">{escape(row["name"])}</th>'
        f'<td colspan="{len(shown) + 4}">{escape(row["failure"])}</td></tr>'
        for row in document["rows"]
        if row["failure"]
    ]
    drawn = document["about"]["drawn"]
    note = (
        f"Brackets: 95% bootstrap intervals over {escape(drawn)} ({document['about']['n_resamples']:,} resamples, the "
        "same for every row). Difference: the best row less this one, on the same rows; p from McNemar's exact test "
        "for accuracy of single rows and from the paired bootstrap elsewhere, corrected for the number of rows (Holm). "
        "The best row is best on these very rows, so its lead flatters a little."
    )
    table = (
        f'<div class="scroll"><table><thead><tr><th scope="col">row</th>{heads}<th class="n" scope="col">best less this'
        '</th><th class="n" scope="col">fit</th><th class="n" scope="col">predict</th><th class="n" scope="col">peak '
        f"memory</th></tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )
    return section("Results", f'{table}<p class="note">{note}</p>')


def _test(row: Mapping[str, Any], main: str) -> str:
    paired = row["against_best"]
    if paired is None:
        return "–"
    p_value = "p &lt; 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
    return f"{cell(paired['difference'], main)}<small>{p_value}</small>"


def _left_out(n_rows: int) -> str:
    """Says that a chart has not all of so many rows."""
    return f" The best {_MOST_FIGURES} of {n_rows} rows." if n_rows > _MOST_FIGURES else ""


def _bar_section(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    metric = "error_rate" if document["main_metric"] in ("accuracy", "error_rate") else document["main_metric"]
    marks = _marks(rows, metric)
    lower = metric in document["lower_is_better"]
    chart = bars(marks, label=f"{metric_name(metric)} of each row", percent=metric in PERCENT)
    less = "Shorter is better" if lower else "Longer is better"
    title = metric_name(metric)[:1].upper() + metric_name(metric)[1:]
    return section(title, f'<p class="note">{less}; whiskers are 95% intervals.</p><div class="chart">{chart}</div>')


def _identity_section(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [(place, row) for place, row in enumerate(rows) if row["by_identity"]][:_MOST_FIGURES]
    if not shown:
        return ""
    bins = [(one["start"], one["n"]) for one in shown[0][1]["by_identity"]]
    names = ["none found" if start is None else f"{100 * start:.0f}–{100 * start + 10:.0f}%" for start, _ in bins]
    series = []
    for place, row in shown:
        found = {one["start"]: one for one in row["by_identity"]}
        series.append([_bin_mark(found.get(start), row["name"], place) for start, _ in bins])
    numbers = document["target_type"] == "regression"
    what = {"regression": "Mean absolute error", "multilabel": "Share with exactly the right labels"}
    title = f"{what.get(document['target_type'], 'Accuracy')} by identity to the nearest training protein"
    chart = by_bins(names, [n for _, n in bins], series, label=title, percent=not numbers)
    n_rows = sum(bool(row["by_identity"]) for row in rows)
    note = f"Identity: {escape(document['audit']['method'])}.{_left_out(n_rows)}"
    return section(title, f'{_legend(shown)}<div class="chart">{chart}</div><p class="note">{note}</p>')


def _partner_section(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    classes = rows[0]["by_partners"]
    if not classes:
        return ""
    main = document["main_metric"]
    heads = "".join(
        f'<th class="n" scope="col">{_seen(one)}<small>{one["n"]:,} pairs ({one["share"]:.1%})</small></th>'
        for one in classes
    )
    body = "".join(
        f'<tr><th scope="row">{swatch(place)}{escape(row["name"])}</th>'
        + "".join(f'<td class="n">{cell(one, main)}</td>' for one in row["by_partners"])
        + "</tr>"
        for place, row in enumerate(rows)
    )
    note = (
        "How many of the two proteins of a pair stand in training pairs: as the same sequence, and where relatives "
        "were looked for, as a near duplicate too. A head that knows both proteins need know nothing of pairs."
    )
    table = (
        f'<div class="scroll"><table><thead><tr><th scope="col">row</th>{heads}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )
    title = metric_name(main)[:1].upper() + metric_name(main)[1:]
    return section(f"{title} by proteins trained on", f'{table}<p class="note">{note}</p>')


def _seen(one: Mapping[str, Any]) -> str:
    return one["seen"] if one["identity"] == 1 else f"{one['seen']}, {one['identity']:.0%} identity"


def _bin_mark(found: Mapping[str, Any] | None, name: str, colour: int) -> Mark | None:
    if found is None or found["value"] is None:
        return None
    return Mark(name=name, colour=colour, value=found["value"], low=found["low"], high=found["high"])


def _cost_section(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    main = document["main_metric"]
    timed = [row for row in rows if row["fit_seconds"] is not None and row["predict_seconds"] is not None]
    if not timed:
        return ""
    marks = [mark for mark, row in zip(_marks(rows, main), rows, strict=True) if row in timed]
    spent = [row["fit_seconds"] + row["predict_seconds"] for row in timed]
    chart = cost(marks, spent, label=f"{metric_name(main)} against seconds", percent=main in PERCENT)
    note = "Vectors were made before; what that cost is not in these seconds."
    return section(f"Cost against {metric_name(main)}", f'<div class="chart">{chart}</div><p class="note">{note}</p>')


def _reliability_section(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    figures: list[str] = []
    for place, row in enumerate(rows):
        if not row["reliability"] or len(figures) == _MOST_FIGURES:
            continue
        error = row["metrics"].get("ece")
        plot = reliability(row["reliability"], colour=place, label=f"Reliability of {row['name']}")
        told = "" if error is None else f"<small>ECE {with_interval(error, 'ece')}</small>"
        figures.append(f"<figure>{plot}<figcaption>{swatch(place)}{escape(row['name'])}{told}</figcaption></figure>")
    if not figures:
        return ""
    what = "every label" if document["target_type"] == "multilabel" else "the answer"
    note = (
        f"Probability of {what} (across) against the share that is right (up), with 95% intervals; larger points hold "
        f"more answers; the dashed line is perfect.{_left_out(sum(bool(row['reliability']) for row in rows))}"
    )
    return section(
        "Reliability of the probabilities", f'<p class="note">{note}</p><div class="small">{"".join(figures)}</div>'
    )


def _confusion_section(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    shown = [row for row in rows if row["worst_pairs"]]
    if not shown:
        return ""
    several = document["target_type"] == "multilabel"
    heads = ("label missed", "label given instead") if several else ("true class", "taken for")
    parts = []
    for number, row in enumerate(shown):
        lines = "".join(
            f"<tr><td>{escape(str(one['true']))}</td><td>{escape(str(one['predicted']))}</td>"
            f'<td class="n">{one["n"]:,}</td><td class="n">{one["share"]:.1%}</td></tr>'
            for one in row["worst_pairs"][:_MOST_CONFUSIONS]
        )
        table = (
            f'<div class="scroll"><table><thead><tr><th scope="col">{heads[0]}</th><th scope="col">{heads[1]}</th>'
            f'<th class="n" scope="col">rows</th><th class="n" scope="col">of its rows</th></tr></thead>'
            f"<tbody>{lines}</tbody></table></div>"
        )
        opened = " open" if number == 0 else ""
        parts.append(f"<details{opened}><summary>{escape(row['name'])}</summary>{table}</details>")
    return section("Worst confusions", "".join(parts))


def _all_figures(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    heads = "".join(f'<th class="n" scope="col">{escape(row["name"])}</th>' for row in rows)
    lines = "".join(
        f'<tr><th scope="row">{escape(metric_name(name))}</th>'
        + "".join(f'<td class="n">{cell(row["metrics"].get(name), name)}</td>' for row in rows)
        + "</tr>"
        for name in names
    )
    table = (
        f'<div class="scroll"><table><thead><tr><th scope="col">metric</th>{heads}</tr></thead><tbody>{lines}</tbody>'
        "</table></div>"
    )
    return section("All figures", f"<details><summary>Every metric of every row</summary>{table}</details>")


def _what_was_run(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    about = document["about"]
    facts = {
        "date": about["date"],
        "store": about["store"] or "none",
        "data set": f"{about['data_set']}, labels in column {about['label_column']}",
        "rows": ", ".join(f"{n:,} {name}" for name, n in about["n_rows"].items()),
        "training rows, SHA-256": about["train_sha256"],
        "spaces": "; ".join(source["id"] for source in about["sources"]),
        "seeds": ", ".join(map(str, about["seeds"])),
        "bootstrap": f"{about['n_resamples']:,} resamples of {about['drawn']}",
        "versions": ", ".join(f"{name} {found}" for name, found in about["versions"].items() if found),
        "machine": ", ".join(about["machine"].values()),
    }
    wrong = [
        f"{row['name']}: {row['n_unseen']:,} of unseen classes, {row['n_without_vector']:,} without a vector"
        for row in rows
        if row["n_unseen"] or row["n_without_vector"]
    ]
    if wrong:
        facts["counted as wrong"] = "; ".join(wrong)
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return section("What was run", f"<dl>{items}</dl>")


def _marks(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Mark]:
    return [
        Mark(
            name=row["name"],
            colour=place,
            value=row["metrics"][metric]["value"],
            low=row["metrics"][metric]["low"],
            high=row["metrics"][metric]["high"],
        )
        for place, row in enumerate(rows)
        if row["metrics"].get(metric, {}).get("value") is not None
    ]


def _legend(shown: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    items = "".join(f"<li>{swatch(place)}{escape(row['name'])}</li>" for place, row in shown)
    return f'<ul class="legend">{items}</ul>'
