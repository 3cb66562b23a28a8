"""The --version option of both commands."""

from __future__ import annotations

import typer


def print_version(wanted: bool) -> None:
    """Print the version and stop, if asked to."""
    if wanted:
        from embedstore import __version__

        typer.echo(f"embedstore {__version__}")
        raise typer.Exit
