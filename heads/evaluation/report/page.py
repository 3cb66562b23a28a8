"""The page of a comparison: tables and charts in one file, without scripts and without the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from heads.evaluation.report.cells import (
    PERCENT,
    cell,
    heading,
    memory,
    metric_name,
    seconds,
    section,
    swatch,
    table,
    with_interval,
)
from heads.evaluation.report.charts import Mark, bars, by_bins, cost, reliability
from heads.evaluation.report.published import published_section

_TABLE_METRICS = {
    "class": ("accuracy", "macro_f1", "mcc", "auroc", "ece"),
    "multilabel": ("micro_f1", "macro_f1", "fmax", "micro_auprc"),
    "regression": ("spearman", "pearson", "rmse"),
    "ordinal": ("quadratic_kappa", "accuracy", "mae_levels"),
}
_TARGETS = {
    "class": "One class",
    "multilabel": "Any number of labels",
    "regression": "A number",
    "ordinal": "A level of an ordered scale",
}
_INPUTS = {"protein": "a protein", "residue": "for each residue", "pair": "for each pair of proteins"}
_MAX_CONFUSIONS = 12
_MAX_SHOWN = 8

Document = Mapping[str, Any]
Results = Sequence[Mapping[str, Any]]


def render(document: Document) -> str:
    """HTML of `heads.evaluation.comparison_result.Comparison.to_dict`."""
    results = [result for result in document["results"] if not result["failure"]]
    sections = [
        _head(document, results),
        _leakage(document),
        published_section(document),
        _metrics_table(document, results),
        _main_metric(document, results),
        _identity(document, results),
        _partners(document, results),
        _cost(document, results),
        _reliability(document, results),
        _confusions(document, results),
        _all_metrics(results),
        _about(document, results),
    ]
    title = f"{document['task']}: {len(results)} methods compared"
    css = files("heads.evaluation.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in sections if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(document: Document, results: Results) -> str:
    about, best, main, split = document["about"], results[0], document["main_metric"], document["split"]
    facts = [
        (best["name"], f"best by {metric_name(main)}"),
        (with_interval(best["metrics"][main], main), f"its {metric_name(main)}, 95% interval"),
        (f"{about['n_rows'][split]:,}", f"rows of the {split} split"),
        (f"{about['n_rows']['train']:,}", "training rows"),
    ]
    items = "".join(f"<li><b>{escape(value)}</b><span>{escape(what)}</span></li>" for value, what in facts)
    predicted = f"{_TARGETS[document['target_type']]} {_INPUTS[document['input']]}"
    return (
        f"<h1>{escape(document['task'])}, {escape(split)} split</h1>"
        f'<p class="lead">{escape(predicted)}; split: {escape(about["split_rule"])}. All methods were fitted on the '
        f"same training rows and scored on the same {escape(split)} rows.</p>{_warnings(document)}"
        f'<ul class="facts">{items}</ul>'
    )


def _warnings(document: Document) -> str:
    """Warnings for a quick trial, and for methods that were not reached."""
    about, pending = document["about"], document["pending"]
    limits = [
        *(["of the catalog's small settings"] if about["small"] else []),
        *([f"trained for {about['epochs']} epochs at most"] if about["epochs"] else []),
    ]
    warnings = ""
    if limits:
        warnings += (
            f'<p class="alert mild"><b>A quick trial.</b> Networks are {" and ".join(limits)}: the results do not show '
            "what the methods can do.</p>"
        )
    if pending:
        warnings += (
            f'<p class="alert"><b>Not finished.</b> {len(pending)} more methods were to be compared: '
            f"{escape(', '.join(pending))}. The best method, and the tests against it, are those so far.</p>"
        )
    return warnings


def _leakage(document: Document) -> str:
    leakage, split = document["leakage"], escape(document["split"])
    parts = []
    if document["seen"]:
        parts.append(f'<p class="alert"><b>Not held out.</b> {escape(document["seen"])}</p>')
    if leakage["n_exact"]:
        parts.append(
            f'<p class="alert"><b>{leakage["n_exact"]:,} sequences</b> of the {split} split '
            f"({leakage['n_exact_rows']:,} rows) are also in the training rows. The metrics are too optimistic.</p>"
        )
    else:
        parts.append(f"<p>No sequence of the {split} split is in the training rows.</p>")
    share = leakage["near_share"]
    if share is not None:
        mild = ' class="alert mild"' if share["value"] > 0.1 else ""
        parts.append(
            f"<p{mild}>Near duplicates ({leakage['identity']:.0%} identity or more to a training protein): "
            f"<b>{share['value']:.1%}</b> [{share['low']:.1%}, {share['high']:.1%}] of a sample of "
            f"{leakage['n_sampled']:,} rows.</p>"
        )
    parts.append(f'<p class="note">Nearest training proteins: {escape(leakage["method"])}.</p>')
    return section("Leakage", "".join(parts))


def _metrics_table(document: Document, results: Results) -> str:
    main = document["main_metric"]
    wanted = dict.fromkeys([main, *_TABLE_METRICS[document["target_type"]]])
    shown = [name for name in wanted if any(name in result["metrics"] for result in results)]
    arrows = {name: "↓" if name in document["lower_is_better"] else "↑" for name in shown}
    headings = [f"{escape(metric_name(name))} {arrows[name]}" for name in shown]
    rows = []
    for index, result in enumerate(results):
        tag = '<span class="tag">best</span>' if index == 0 else ""
        cells = [
            *(cell(result["metrics"].get(name), name) for name in shown),
            _difference(result, main),
            seconds(result["fit_seconds"]),
            seconds(result["predict_seconds"]),
            memory(result["peak_bytes"]),
        ]
        rows.append(
            f'<tr{"" if index else " class=best"}><th scope="row">{swatch(index)}{escape(result["name"])}{tag}</th>'
            f"{_numbers(cells)}</tr>"
        )
    rows += [
        f'<tr class="failed"><th scope="row">{escape(result["name"])}</th>'
        f'<td colspan="{len(shown) + 4}">{escape(result["failure"])}</td></tr>'
        for result in document["results"]
        if result["failure"]
    ]
    about = document["about"]
    note = (
        f"Brackets: 95% bootstrap intervals over {escape(about['resampling_unit'])} ({about['n_resamples']:,} "
        "resamples, the same for every method). Difference: the best method less this one, on the same rows; p-values "
        "by McNemar's exact test for accuracy of single rows and by the paired bootstrap elsewhere, corrected for the "
        "number of methods (Holm). The best method was selected on these rows, so its lead is a little too large."
    )
    headings += ["best less this", "fit", "predict", "peak memory"]
    return section("Results", f'{table(["method"], headings, rows)}<p class="note">{note}</p>')


def _difference(result: Mapping[str, Any], main: str) -> str:
    paired = result["against_best"]
    if paired is None:
        return "–"
    p_value = "p &lt; 0.001" if result["p_holm"] < 0.001 else f"p = {result['p_holm']:.3f}"
    return f"{cell(paired['difference'], main)}<small>{p_value}</small>"


def _main_metric(document: Document, results: Results) -> str:
    metric = "error_rate" if document["main_metric"] in ("accuracy", "error_rate") else document["main_metric"]
    chart = bars(_marks(results, metric), label=f"{metric_name(metric)} of each method", percent=metric in PERCENT)
    better = "Shorter is better" if metric in document["lower_is_better"] else "Longer is better"
    return section(
        heading(metric), f'<p class="note">{better}; whiskers are 95% intervals.</p><div class="chart">{chart}</div>'
    )


def _identity(document: Document, results: Results) -> str:
    available = [(index, result) for index, result in enumerate(results) if result["by_identity"]]
    shown = available[:_MAX_SHOWN]
    if not shown:
        return ""
    bins = [(item["start"], item["n"]) for item in shown[0][1]["by_identity"]]
    names = ["no match" if start is None else f"{100 * start:.0f}–{100 * start + 10:.0f}%" for start, _ in bins]
    series = []
    for index, result in shown:
        by_start = {item["start"]: item for item in result["by_identity"]}
        series.append([_mark(result["name"], index, by_start.get(start)) for start, _ in bins])
    measures = {"regression": "Mean absolute error", "multilabel": "Exact match of the label set"}
    title = f"{measures.get(document['target_type'], 'Accuracy')} by identity to the nearest training protein"
    percent = document["target_type"] != "regression"
    chart = by_bins(names, [n for _, n in bins], series, label=title, percent=percent)
    legend = "".join(f"<li>{swatch(index)}{escape(result['name'])}</li>" for index, result in shown)
    note = f"Identity: {escape(document['leakage']['method'])}.{_shown_note(len(available))}"
    return section(title, f'<ul class="legend">{legend}</ul><div class="chart">{chart}</div><p class="note">{note}</p>')


def _partners(document: Document, results: Results) -> str:
    classes = results[0]["by_partners"]
    if not classes:
        return ""
    main = document["main_metric"]
    headings = [
        item["seen"]
        + ("" if item["identity"] == 1 else f", {item['identity']:.0%} identity")
        + f"<small>{item['n']:,} pairs ({item['share']:.1%})</small>"
        for item in classes
    ]
    rows = [
        f'<tr><th scope="row">{swatch(index)}{escape(result["name"])}</th>'
        f"{_numbers(cell(item, main) for item in result['by_partners'])}</tr>"
        for index, result in enumerate(results)
    ]
    note = (
        "How many of the two proteins of a pair are in training pairs: as the same sequence, and where nearest "
        "training proteins were searched for, as a near duplicate too. A head can score well on pairs of known "
        "proteins without learning about interactions."
    )
    content = f'{table(["method"], headings, rows)}<p class="note">{note}</p>'
    return section(f"{heading(main)} by proteins in training", content)


def _cost(document: Document, results: Results) -> str:
    main = document["main_metric"]
    timed = [result for result in results if None not in (result["fit_seconds"], result["predict_seconds"])]
    if not timed:
        return ""
    marks = [mark for mark, result in zip(_marks(results, main), results, strict=True) if result in timed]
    total = [result["fit_seconds"] + result["predict_seconds"] for result in timed]
    chart = cost(marks, total, label=f"{metric_name(main)} against seconds", percent=main in PERCENT)
    note = "The time to compute the vectors is not included."
    return section(f"Cost against {metric_name(main)}", f'<div class="chart">{chart}</div><p class="note">{note}</p>')


def _reliability(document: Document, results: Results) -> str:
    available = [(index, result) for index, result in enumerate(results) if result["reliability"]]
    if not available:
        return ""
    figures = []
    for index, result in available[:_MAX_SHOWN]:
        error = result["metrics"].get("ece")
        plot = reliability(result["reliability"], colour=index, label=f"Reliability of {result['name']}")
        caption = "" if error is None else f"<small>ECE {with_interval(error, 'ece')}</small>"
        figures.append(
            f"<figure>{plot}<figcaption>{swatch(index)}{escape(result['name'])}{caption}</figcaption></figure>"
        )
    what = "every label" if document["target_type"] == "multilabel" else "the answer"
    note = (
        f"Probability of {what} (x) against the share of correct answers (y), with 95% intervals; larger points hold "
        f"more answers; the dashed line is perfect calibration.{_shown_note(len(available))}"
    )
    return section(
        "Reliability of the probabilities", f'<p class="note">{note}</p><div class="small">{"".join(figures)}</div>'
    )


def _confusions(document: Document, results: Results) -> str:
    shown = [result for result in results if result["worst_pairs"]]
    is_multilabel = document["target_type"] == "multilabel"
    headings = ["label missed", "label predicted instead"] if is_multilabel else ["true class", "predicted class"]
    parts = []
    for index, result in enumerate(shown):
        rows = [
            f"<tr><td>{escape(str(pair['true']))}</td><td>{escape(str(pair['predicted']))}</td>"
            f'<td class="n">{pair["n"]:,}</td><td class="n">{pair["share"]:.1%}</td></tr>'
            for pair in result["worst_pairs"][:_MAX_CONFUSIONS]
        ]
        content = table(headings, ["rows", "of its rows"], rows)
        parts.append(
            f"<details{'' if index else ' open'}><summary>{escape(result['name'])}</summary>{content}</details>"
        )
    return section("Most frequent confusions", "".join(parts)) if parts else ""


def _all_metrics(results: Results) -> str:
    names = dict.fromkeys(name for result in results for name in result["metrics"])
    rows = [
        f'<tr><th scope="row">{escape(metric_name(name))}</th>'
        f"{_numbers(cell(result['metrics'].get(name), name) for result in results)}</tr>"
        for name in names
    ]
    content = table(["metric"], [escape(result["name"]) for result in results], rows)
    return section("All metrics", f"<details><summary>Every metric of every method</summary>{content}</details>")


def _about(document: Document, results: Results) -> str:
    about = document["about"]
    facts = {
        "date": about["date"],
        "store": about["store"] or "none",
        "data set": f"{about['data_set']}, labels in column {about['label_column']}",
        "rows": ", ".join(f"{n:,} {name}" for name, n in about["n_rows"].items()),
        "training rows, SHA-256": about["train_sha256"],
        "spaces": "; ".join(source["id"] for source in about["sources"]),
        "seeds": ", ".join(map(str, about["seeds"])),
        "bootstrap": f"{about['n_resamples']:,} resamples of {about['resampling_unit']}",
        "versions": ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version),
        "machine": ", ".join(about["machine"].values()),
    }
    errors = [
        f"{result['name']}: {result['n_unseen']:,} of classes not in training, {result['n_without_vector']:,} without "
        "a vector"
        for result in results
        if result["n_unseen"] or result["n_without_vector"]
    ]
    if errors:
        facts["counted as errors"] = "; ".join(errors)
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return section("About this comparison", f"<dl>{items}</dl>")


def _numbers(cells: Iterable[str]) -> str:
    return "".join(f'<td class="n">{content}</td>' for content in cells)


def _shown_note(n_results: int) -> str:
    """A note for a chart that does not show all methods."""
    return f" The best {_MAX_SHOWN} of {n_results} methods." if n_results > _MAX_SHOWN else ""


def _marks(results: Results, metric: str) -> list[Mark]:
    marks = (_mark(result["name"], index, result["metrics"].get(metric)) for index, result in enumerate(results))
    return [mark for mark in marks if mark is not None]


def _mark(name: str, colour: int, estimate: Mapping[str, Any] | None) -> Mark | None:
    if estimate is None or estimate["value"] is None:
        return None
    return Mark(name=name, colour=colour, value=estimate["value"], low=estimate["low"], high=estimate["high"])
