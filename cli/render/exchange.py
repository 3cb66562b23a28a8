"""What a person is told after an import or an export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.render.add import SHOWN
from cli.render.output import print_json, say, warn

if TYPE_CHECKING:
    from embedstore.exchange import ExportReport, ImportReport


def print_import(report: ImportReport, *, json_: bool) -> None:
    """Print the ledger, and name what was left out."""
    for sentence in report.warnings:
        warn(sentence)
    _name("left out", report.left_out)
    if report.n_without:
        warn(f"{report.n_without:,} sequences of {report.dataset} have no vector in the space: recorded as skipped.")
    if json_:
        print_json(report.to_dict())
        return
    say(
        f"{report.space}: {report.n_read:,} entries of {report.source} ({report.format}) = {report.n_stored:,} stored "
        f"+ {report.n_present:,} there already + {report.n_repeated:,} repeated + {report.n_left_out:,} left out "
        f"({report.seconds:.1f} s)."
    )


def print_export(report: ExportReport, *, json_: bool) -> None:
    """Print what was written, and name what was not."""
    _name("no vector for", report.missing)
    for sentence in report.messages:
        say(sentence)
    if json_:
        print_json(report.to_dict())
        return
    say(
        f"{' and '.join(report.files)}: {report.n_written:,} proteins of {report.dataset} from {report.space}, "
        f"{report.n_bytes:,} bytes; {report.n_missing:,} without a vector."
    )


def _name(what: str, named: Sequence[tuple[str, str]]) -> None:
    for name, reason in named[:SHOWN]:
        warn(f"{what} {name!r}: {reason}")
    if len(named) > SHOWN:
        warn(f"{what} {len(named) - SHOWN:,} more; --json names all.")
