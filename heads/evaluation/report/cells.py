"""Numbers and names as text, and the elements of a page that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from heads.evaluation.report.charts import N_COLOURS

PERCENT = frozenset(
    {
        "accuracy", "error_rate", "balanced_accuracy", "accuracy_per_protein", "top3_accuracy", "top5_accuracy",
        "subset_accuracy", "q3", "q8",
    }
)  # fmt: skip
_NAMES = {
    "mcc": "MCC", "ece": "ECE", "auroc": "AUROC", "auprc": "AUPRC", "macro_auroc": "macro AUROC",
    "macro_auprc": "macro AUPRC", "micro_auprc": "micro AUPRC", "macro_f1": "macro F1", "micro_f1": "micro F1",
    "fmax": "Fmax", "rmse": "RMSE", "mae": "MAE", "r2": "R²", "spearman": "Spearman's ρ", "pearson": "Pearson's r",
    "mae_levels": "MAE in levels", "quadratic_kappa": "quadratic κ", "q3": "Q3", "q8": "Q8", "brier": "Brier score",
    "log_loss": "log-loss", "jaccard": "Jaccard index",
}  # fmt: skip


def swatch(place: int) -> str:
    """The colour of a method."""
    return f'<span class="swatch" style="background:var(--c{place % N_COLOURS})"></span>'


def section(title: str, content: str) -> str:
    """A section of the page; the content is HTML."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def table(labels: Sequence[str], headings: Sequence[str], rows: Sequence[str]) -> str:
    """A table of rows of HTML: columns of text under `labels`, then columns of numbers under `headings`."""
    head = "".join(f'<th scope="col">{label}</th>' for label in labels)
    head += "".join(f'<th class="n" scope="col">{text}</th>' for text in headings)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def cell(estimate: Mapping[str, Any] | None, name: str) -> str:
    """A metric with its interval, for a table."""
    if estimate is None or estimate["value"] is None:
        return "–"
    if estimate["low"] is None:
        return number(estimate["value"], name)
    return f"{number(estimate['value'], name)}<small>{_interval(estimate, name)}</small>"


def with_interval(estimate: Mapping[str, Any], name: str) -> str:
    """A metric with its interval, for a sentence."""
    value = number(estimate["value"], name)
    return value if estimate["low"] is None else f"{value} {_interval(estimate, name)}"


def _interval(estimate: Mapping[str, Any], name: str) -> str:
    return f"[{number(estimate['low'], name)}, {number(estimate['high'], name)}]"


def number(value: float | None, name: str) -> str:
    """A value of a metric: a percentage, or three decimals."""
    if value is None:
        return "–"
    return f"{100 * value:.2f}%" if name in PERCENT else f"{value:.3f}"


def metric_name(metric: str) -> str:
    """A metric as it is written in text."""
    return _NAMES.get(metric, metric.replace("_", " "))


def heading(metric: str) -> str:
    """A metric as it is written at the start of a heading."""
    name = metric_name(metric)
    return name[:1].upper() + name[1:]


def seconds(value: float | None) -> str:
    """A time."""
    if value is None:
        return "–"
    return f"{value:,.0f} s" if value >= 10 else f"{value:.2g} s"


def memory(value: int | None) -> str:
    """An amount of memory."""
    return "–" if value is None else f"{value / 2**30:.2f} GiB"
