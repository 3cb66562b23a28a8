"""Shows what a lookup found: a table for people, TSV or JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cli.render.output import print_rows, print_text, say, warn
from embedstore.errors import InputError

if TYPE_CHECKING:
    from heads import Hits

NO_HIT = "no confident hit"


def window_sizes(texts: Sequence[str] | None) -> str | list[int] | None:
    """``auto``, or numbers of residues, as `heads.lookup` takes them."""
    if not texts:
        return None
    if list(texts) == ["auto"]:
        return "auto"
    if not all(text.isdecimal() for text in texts):
        raise InputError(f"--window is {', '.join(texts)}; expected numbers of residues, or auto alone.")
    return [int(text) for text in texts]


def warn_calibration(hits: Hits, *, max_error: float | None, confidence: float) -> None:
    """Say how probabilities were calibrated, and what is guaranteed."""
    calibration, risk = hits.calibration, hits.risk_threshold
    if calibration.calibrator is None:
        warn(f"no probabilities: {calibration.reason} Answers are what more than half of the vote is for.")
        return
    unknown = (
        ""
        if calibration.unknown_share is None
        else f", and {calibration.n_unknown:,} times with their family left out; {calibration.unknown_share:.0%} of "
        "the queries are taken to be of unknown families"
    )
    say(f"probabilities learned on {calibration.n_known:,} labelled proteins ({calibration.source}){unknown}")
    if risk is None:
        return
    if not risk.n_answered:
        warn(
            f"no threshold guarantees an error of at most {max_error:g}; the lowest that these labels can guarantee "
            f"is {risk.lowest_bound:.2g} (--max-error)."
        )
        return
    say(
        f"at most {max_error:g} of the answers wrong, with {confidence:.0%} confidence; on the calibration rows "
        f"{risk.observed_error:.2g} were, and {risk.coverage:.0%} were answered"
    )


def print_hits(hits: Hits, *, neighbours: int | None, json_: bool, tsv: bool) -> None:
    """Print the hits; with ``neighbours`` so many neighbours of each: nested in JSON, a row each in TSV."""
    if json_ or tsv:
        frame = hits.to_frame() if neighbours is None else hits.neighbours_frame(neighbours)
        rows: list[dict[Any, Any]] = hits.to_dicts(neighbours or 0) if json_ else frame.to_dict("records")
        print_rows(rows, json_=json_, tsv=tsv)
        return
    rows = [_told(row) for row in hits.to_dicts()]
    print_rows(rows, spare=["neighbour", "vote", "score"])
    if neighbours is not None:
        shown = hits.neighbours_frame(neighbours)[["id", "rank", "neighbour_id", "neighbour_label", "neighbour_score"]]
        print_text("")
        print_rows(shown.to_dict("records"), title="neighbours")
    for name, neighbour, alignment in zip(hits.ids, hits.nearest_ids, hits.alignments or [], strict=False):
        print_text(
            f"\n{name} and {neighbour}: identity {alignment.identity:.0%}, {alignment.coverage:.0%} of the query, "
            f"score {alignment.score:,}\n{alignment.text()}"
        )


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """A hit for a table: one column says what the answer is, or that there is none."""
    row = {name: value for name, value in row.items() if name not in ("answered", "alignment")}
    return row | {"label": row["label"] or NO_HIT}
