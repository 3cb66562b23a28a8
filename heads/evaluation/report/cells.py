"""Numbers and names in words, and the pieces of a page that hold them."""

from __future__ import annotations

from collections.abc import Mapping
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
    """The colour of a row."""
    return f'<span class="swatch" style="background:var(--c{place % N_COLOURS})"></span>'


def section(title: str, content: str) -> str:
    """A part of the page under a heading; the content is HTML."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def cell(found: Mapping[str, Any] | None, name: str) -> str:
    """A metric with its interval, for a table."""
    if found is None or found["value"] is None:
        return "–"
    told = number(found["value"], name)
    if found["low"] is None:
        return told
    return f"{told}<small>[{number(found['low'], name)}, {number(found['high'], name)}]</small>"


def with_interval(found: Mapping[str, Any], name: str) -> str:
    """A metric with its interval, for a sentence."""
    if found["low"] is None:
        return number(found["value"], name)
    return f"{number(found['value'], name)} [{number(found['low'], name)}, {number(found['high'], name)}]"


def number(value: float | None, name: str) -> str:
    """A value of a metric: a percentage, or three decimals."""
    if value is None:
        return "–"
    return f"{100 * value:.2f}%" if name in PERCENT else f"{value:.3f}"


def metric_name(metric: str) -> str:
    """A metric as people write it."""
    return _NAMES.get(metric, metric.replace("_", " "))


def seconds(value: float | None) -> str:
    """A time."""
    if value is None:
        return "–"
    return f"{value:,.0f} s" if value >= 10 else f"{value:.2g} s"


def memory(value: int | None) -> str:
    """An amount of memory."""
    return "–" if value is None else f"{value / 2**30:.2f} GiB"
