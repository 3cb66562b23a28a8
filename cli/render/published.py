"""What is told of a comparison that follows a published table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli.render.output import print_rows, print_text

if TYPE_CHECKING:
    from heads import Comparison
    from heads.evaluation.published_comparison import PublishedComparison


def print_published(comparison: Comparison, published: PublishedComparison, *, tsv: bool) -> None:
    """Print the published rows in their order, ours beside what was printed, then what a reader must know."""
    rows = [_row(comparison, published, place) for place in range(len(published.results))]
    if tsv:
        print_rows(rows, tsv=True)
        return
    print_rows(rows, title=f"{published.title}, measured here and published", spare=("predict s", "p (Holm)", "head"))
    notes = {line.published_row: line.note for line in published.results if line.note}
    params = {row.name: row.settings["params"] for row in comparison.results if row.settings.get("params")}
    paragraphs = [
        published.caution,
        *(
            f"Settings, {row}: {', '.join(f'{name}={value}' for name, value in settings.items())}."
            for row, settings in params.items()
        ),
        *(f"Erratum: {text}" for text in published.errata),
        *(f"{row}: {note}." for row, note in notes.items()),
        *(f"Left out, {row}: {why}." for row, why in published.left_out.items()),
        *published.notes,
        f"Published by: {published.citation}.",
    ]
    print_text("\n" + "\n".join(paragraphs))


def _row(comparison: Comparison, published: PublishedComparison, place: int) -> dict[str, Any]:
    line = published.results[place]
    row = next(row for row in comparison.results if row.name == line.method)
    measured = row.metrics.get(comparison.main_metric)
    interval = None if measured is None else measured.interval
    cells: dict[str, Any] = {
        "method": f"{row.name} (baseline)" if line.baseline else row.name,
        "head": line.head,
        comparison.main_metric: None if interval is None else interval.value,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
    }
    for column in published.columns:
        cells[column] = line.published.get(column)
    return cells | {
        "epochs": line.epochs,
        "p (Holm)": row.p_holm,
        "fit s": row.fit_seconds,
        "predict s": row.predict_seconds,
    }
