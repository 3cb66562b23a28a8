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
    if not all(guarantee.holds for guarantee in report.guarantees):
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
                    "identity": "no match" if bin_.start is None else f"{bin_.start:.1f} to {bin_.stop:.1f}",
                    "rows": bin_.n,
                    name: bin_.value,
                    "low": bin_.low,
                    "high": bin_.high,
                }
                for bin_ in report.by_identity
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
                {"rows": point.n_rows, report.main_metric: point.value, "low": point.low, "high": point.high}
                for point in report.curve
            ],
            title="\nby number of training rows",
        )


def _print_guarantees(report: Report) -> None:
    what, bound = ("in the interval", "at least") if report.target_type == "regression" else ("wrong", "at most")
    print_rows(
        [
            {
                "guaranteed": f"{bound} {guarantee.guaranteed:.0%}",
                "half width" if report.target_type == "regression" else "from probability": guarantee.threshold,
                "answered": guarantee.answered,
                what: guarantee.observed.value,
                "low": guarantee.observed.low,
                "high": guarantee.observed.high,
                "holds": "yes" if guarantee.holds else "no",
            }
            for guarantee in report.guarantees
        ],
        title=f"\nguaranteed by the validation rows, and {what} here",
    )


def _partner_rows(classes: Sequence[PartnerClass], metric: str) -> list[dict[str, Any]]:
    return [
        {
            "proteins in training": pair_class.seen,
            "as": "the same sequence" if pair_class.identity == 1 else f"identity of {pair_class.identity:.0%} or more",
            "pairs": pair_class.n,
            "share": pair_class.share,
            metric: pair_class.value,
            "low": pair_class.low,
            "high": pair_class.high,
        }
        for pair_class in classes
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
