"""Results on stdout: a table for people, TSV or JSON for programs. Messages on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, TextIO

import typer

from embedstore.errors import InputError

Rows = Sequence[Mapping[Any, Any]]
Cells = dict[str, list[str]]

_PIPED_WIDTH = 160
_GAP = 2
_NARROWEST = 8
_LISTED = 3


def print_rows(
    rows: Rows, *, json_: bool = False, tsv: bool = False, title: str | None = None, spare: Sequence[str] = ()
) -> None:
    """Print rows that share their keys, in the format asked for.

    ``spare`` names columns that a table does without, the last first, where it would be too wide.
    """
    if json_ and tsv:
        raise InputError("Both --json and --tsv were given; choose one.")
    if json_:
        print_json(list(rows))
    elif tsv:
        _print_tsv(rows)
    else:
        _print_table(rows, title, spare)


def print_json(document: Any) -> None:
    """Print a JSON document."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_text(text: str) -> None:
    """Print lines that people read; what would steer a terminal is replaced."""
    typer.echo("\n".join(map(_printable, text.split("\n"))))


def print_facts(facts: Mapping[str, Any], *, json_: bool = False, title: str | None = None) -> None:
    """Print names and values, one a line."""
    if json_:
        print_json(dict(facts))
        return
    if title:
        typer.echo(styled(title, sys.stdout, bold=True))
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        items = [_cell(item) for item in value] if isinstance(value, list) else [_cell(value)]
        typer.echo(f"  {name:<{width}}  {items[0] if items else '-'}")
        for item in items[1:]:
            typer.echo(f"  {'':<{width}}  {item}")


def say(message: str) -> None:
    """Print a message on stderr, where programs that read stdout do not see it."""
    typer.echo(message, err=True)


def warn(message: str) -> None:
    """Print a warning on stderr."""
    typer.echo(f"{styled('warning:', sys.stderr, fg='yellow')} {message}", err=True)


def styled(text: str, stream: TextIO, **style: Any) -> str:
    """The text with colour, where the stream is a terminal and ``NO_COLOR`` is not set (https://no-color.org)."""
    return typer.style(text, **style) if stream.isatty() and not os.environ.get("NO_COLOR") else text


def _print_tsv(rows: Rows) -> None:
    if not rows:
        return
    typer.echo("\t".join(rows[0]))
    for row in rows:
        # A tab or a line break inside a value would shift all that follows.
        typer.echo("\t".join(_plain(value).translate({9: " ", 10: " ", 13: " "}) for value in row.values()))


def _print_table(rows: Rows, title: str | None, spare: Sequence[str]) -> None:
    if title:
        typer.echo(styled(title, sys.stdout, bold=True))
    if not rows:
        typer.echo("(none)")
        return
    cells = {str(name): [_printable(_cell(row[name])) for row in rows] for name in rows[0]}
    numbers = {name for name in cells if _is_numeric([row[name] for row in rows])}
    room = shutil.get_terminal_size((_PIPED_WIDTH, 0)).columns
    for n_dropped in range(len(spare) + 1):
        dropped = spare[len(spare) - n_dropped :]
        shown = {name: column for name, column in cells.items() if name not in dropped}
        if widths := _widths(shown, numbers, room):
            _print_columns(shown, numbers, widths)
            return
    _print_blocks(cells)


def _is_numeric(values: Sequence[Any]) -> bool:
    given = [value for value in values if value is not None]
    return bool(given) and all(isinstance(value, int | float) for value in given)


def _widths(cells: Cells, numbers: set[str], room: int) -> dict[str, int]:
    """The width of each column, such that only the widest prose is wrapped, at blanks; nothing where it will not fit.

    A number or a key that is broken over lines is read wrongly and cannot be copied.
    """
    widths = {name: max(map(len, [name, *column])) for name, column in cells.items()}
    excess = sum(widths.values()) + _GAP * (len(widths) - 1) - room
    if excess <= 0:
        return widths
    prose = [name for name in widths if name not in numbers and any(" " in cell for cell in cells[name])]
    if not prose:
        return {}
    widest = max(prose, key=lambda name: widths[name])
    words = [word for cell in [widest, *cells[widest]] for word in cell.split()]
    smallest = max(min(_NARROWEST, widths[widest]), *map(len, words))
    widths[widest] -= excess
    return widths if widths[widest] >= smallest else {}


def _print_columns(cells: Cells, numbers: set[str], widths: Mapping[str, int]) -> None:
    def line(values: Iterable[str]) -> str:
        padded = (
            value.rjust(width) if name in numbers else value.ljust(width)
            for value, (name, width) in zip(values, widths.items(), strict=True)
        )
        return (" " * _GAP).join(padded).rstrip()

    lines = [styled(line(cells), sys.stdout, bold=True), "─" * (sum(widths.values()) + _GAP * (len(widths) - 1))]
    for row in zip(*cells.values(), strict=True):
        wrapped = [textwrap.wrap(cell, width) for cell, width in zip(row, widths.values(), strict=True)]
        lines += [line(part) for part in zip_longest(*wrapped, fillvalue="")] or [""]
    typer.echo("\n".join(lines))


def _print_blocks(cells: Cells) -> None:
    """Each row as lines of its own, with nothing broken: for a terminal that is too narrow for the table."""
    heading, *names = cells
    width = max(map(len, names), default=0)
    for first, *values in zip(*cells.values(), strict=True):
        typer.echo(f"{heading} {first}")
        for name, value in zip(names, values, strict=True):
            typer.echo(f"  {name:<{width}}  {value}")


def _printable(text: str) -> str:
    """Without what would steer a terminal: ids and labels come from files."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        more = f" and {len(value) - _LISTED:,} more" if len(value) > _LISTED else ""
        return ", ".join(map(_cell, value[:_LISTED])) + more
    if isinstance(value, dict):
        return "  ".join(f"{name} {_cell(item)}" for name, item in value.items())
    return str(value)


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_plain, value))
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
