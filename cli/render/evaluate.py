"""What is told of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.render.output import print_json, print_rows, say, warn
from cli.render.published import print_published

if TYPE_CHECKING:
    from heads import Comparison, Report
    from heads.evaluation.pair_classes import PartnerClass


def print_report(report: Report, *, json_: bool, tsv: bool) -> None:
    """Print metrics with their intervals, and what a reader must know beside them."""
    if json_:
        print_json(report.to_dict())
        return
    of = f" of {report.n_classes_in_split:,} classes ({report.n_classes:,} trained on)" if report.n_classes else ""
    say(
        f"{report.head} for {report.task} on {report.space}, {report.split} split: {report.n_rows:,} rows{of}; "
        f"intervals over {report.resampling_unit}."
    )
    rows = [
        {"metric": name, "value": metric.value, "low": metric.low, "high": metric.high}
        for name, metric in report.metrics.items()
    ]
    print_rows(rows, tsv=tsv)
    if not tsv:
        _print_tables(report)
    _warn_seen(report.split)
    if not all(one.holds for one in report.guarantees):
        warn(
            "a guarantee does not hold here: these rows differ more from the training rows than the validation rows do,"
            " or too much was selected on too few validation rows."
        )
    _print_leakage(report)
    if report.training_changed:
        warn("the training rows are other ones now than those that this head was fitted on: fit it again.")
    if report.n_unseen or report.n_without_vector:
        say(
            f"counted as wrong: {report.n_unseen:,} rows of classes that training never saw, "
            f"{report.n_without_vector:,} without a vector."
        )


def print_comparison(comparison: Comparison, saved: list[Path], *, json_: bool, tsv: bool) -> None:
    """Print a row each, the best first, and where the page is."""
    if json_:
        print_json(comparison.to_dict())
    elif comparison.published is not None:
        print_published(comparison, comparison.published, tsv=tsv)
    elif tsv:
        print_rows(comparison.to_frame().to_dict("records"), tsv=True)
    else:
        print_rows(
            [
                {
                    "method": result.name,
                    comparison.main_metric: result.metrics[comparison.main_metric].interval.value,
                    "low": result.metrics[comparison.main_metric].interval.low,
                    "high": result.metrics[comparison.main_metric].interval.high,
                    "p (Holm)": result.p_holm,
                    "fit s": result.fit_seconds,
                    "predict s": result.predict_seconds,
                }
                for result in comparison.results
                if not result.failure
            ]
        )
        if comparison.results[0].by_partners:
            title = f"\n{comparison.results[0].name} by proteins trained on"
            print_rows(_partner_rows(comparison.results[0].by_partners, comparison.main_metric), title=title)
    _warn_seen(comparison.split)
    for result in comparison.results:
        if result.failure:
            warn(f"{result.name} failed: {result.failure}")
    if comparison.leakage.n_exact:
        warn(
            f"{comparison.leakage.n_exact:,} sequences of this split are also in the training rows: the metrics are "
            "too optimistic."
        )
    say(f"written: {', '.join(map(str, saved))}")


def _print_tables(report: Report) -> None:
    if report.by_identity:
        name = "mean absolute error" if report.target_type == "regression" else "right"
        print_rows(
            [
                {
                    "identity": "no match" if one.start is None else f"{one.start:.1f} to {one.stop:.1f}",
                    "rows": one.n,
                    name: one.value,
                    "low": one.low,
                    "high": one.high,
                }
                for one in report.by_identity
            ],
            title=f"\nby identity to the nearest training protein ({report.leakage.method})",
        )
    if report.by_partners:
        print_rows(_partner_rows(report.by_partners, report.main_metric), title="\nby proteins trained on")
    if report.guarantees:
        _print_guarantees(report)
    if report.curve:
        print_rows(
            [
                {"rows": one.n_rows, report.main_metric: one.value, "low": one.low, "high": one.high}
                for one in report.curve
            ],
            title="\nby number of training rows",
        )


def _print_guarantees(report: Report) -> None:
    what = "in the interval" if report.target_type == "regression" else "wrong"
    print_rows(
        [
            {
                "guaranteed": f"{'at least' if report.target_type == 'regression' else 'at most'} {one.guaranteed:.0%}",
                "half width" if report.target_type == "regression" else "from probability": one.threshold,
                "answered": one.answered,
                what: one.observed.value,
                "low": one.observed.low,
                "high": one.observed.high,
                "holds": "yes" if one.holds else "no",
            }
            for one in report.guarantees
        ],
        title=f"\nguaranteed by the validation rows, and {what} here",
    )


def _partner_rows(classes: Sequence[PartnerClass], metric: str) -> list[dict[str, Any]]:
    return [
        {
            "proteins in training": one.seen,
            "as": "the same sequence" if one.identity == 1 else f"identity of {one.identity:.0%} or more",
            "pairs": one.n,
            "share": one.share,
            metric: one.value,
            "low": one.low,
            "high": one.high,
        }
        for one in classes
    ]


def _warn_seen(split: str) -> None:
    from heads.evaluation.scoring import SPLIT_WARNINGS

    if split in SPLIT_WARNINGS:
        warn(SPLIT_WARNINGS[split])


def _print_leakage(report: Report) -> None:
    leakage = report.leakage
    if leakage.n_exact:
        warn(
            f"{leakage.n_exact:,} sequences of this split are also in the training rows: the metrics are too "
            "optimistic."
        )
    if leakage.near_share is not None:
        say(
            f"near duplicates of training proteins (identity of {leakage.identity:.0%} or more): {leakage.n_near:,} of "
            f"{leakage.n_sampled:,} rows looked at ({leakage.near_share.value:.1%}; {leakage.method})."
        )
