"""Results on stdout: a table for people, TSV or JSON for programs. Messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from embedstore.errors import InputError

Rows = Sequence[Mapping[Any, Any]]


def print_rows(rows: Rows, *, json_: bool = False, tsv: bool = False, title: str | None = None) -> None:
    """Print rows that share their keys, in the format asked for."""
    if json_ and tsv:
        raise InputError("Both --json and --tsv were given; choose one.")
    if json_:
        print_json(list(rows))
    elif tsv:
        _print_tsv(rows)
    else:
        _print_table(rows, title)


def print_json(document: Any) -> None:
    """Print a JSON document."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_facts(facts: Mapping[str, Any], *, json_: bool = False, title: str | None = None) -> None:
    """Print names and values, one a line."""
    if json_:
        print_json(dict(facts))
        return
    if title:
        typer.echo(title)
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        items = [_cell(one) for one in value] if isinstance(value, list) else [_cell(value)]
        typer.echo(f"  {name:<{width}}  {items[0] if items else '-'}")
        for item in items[1:]:
            typer.echo(f"  {'':<{width}}  {item}")


def say(message: str) -> None:
    """Tell the person something; programs that read stdout do not see it."""
    typer.echo(message, err=True)


def warn(message: str) -> None:
    """Tell the person that something needs a look."""
    typer.echo(f"warning: {message}", err=True)


def _print_tsv(rows: Rows) -> None:
    if not rows:
        return
    typer.echo("\t".join(rows[0]))
    for row in rows:
        # A tab or a line break inside a value would shift all that follows.
        typer.echo("\t".join(_plain(value).translate({9: " ", 10: " ", 13: " "}) for value in row.values()))


def _print_table(rows: Rows, title: str | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if title:
        typer.echo(title)
    if not rows:
        typer.echo("(none)")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row.values()))
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False).print(table)


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
        return ", ".join(map(_cell, value))
    if isinstance(value, dict):
        return "  ".join(f"{name} {_cell(one)}" for name, one in value.items())
    return str(value)


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_plain, value))
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
