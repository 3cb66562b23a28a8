"""What a person is told after a data set was added."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from cli.render.output import print_json, say, warn

if TYPE_CHECKING:
    from embedstore.store import AddReport

SHOWN = 10
FOLDED = {
    "n_gaps": "gaps (removed)",
    "n_stops": "final stops (removed)",
    "n_white_space": "blanks (removed)",
    "n_lower_case": "lower-case letters (folded to upper case)",
}


def print_added(report: AddReport, *, json_: bool) -> None:
    """Print what was added, and name what was left out."""
    for sentence in report.warnings:
        warn(sentence)
    for name, reason in report.rejected[:SHOWN]:
        warn(f"left out {name!r}: {reason}")
    if len(report.rejected) > SHOWN:
        warn(f"left out {len(report.rejected) - SHOWN:,} more; `embedstore info --dataset {report.dataset}` names all.")
    folded = ", ".join(f"{count:,} {FOLDED[target_type]}" for target_type, count in report.normalised.items() if count)
    if folded:
        say(f"{report.dataset}: normalised {folded}.")
    if json_:
        print_json(asdict(report))
    elif report.already_there:
        restored = f"{report.n_new:,} lost sequences stored again" if report.n_new else "nothing to add"
        say(f"{report.dataset}: these files are there already; {restored}.")
    else:
        say(
            f"{report.dataset}: {report.n_records:,} records, {report.n_distinct:,} distinct sequences "
            f"({report.n_new:,} new to the store), {report.n_residues:,} residues, {len(report.rejected):,} left out."
        )
