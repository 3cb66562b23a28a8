"""Entry points of the two console scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import typer

from embedstore.errors import EmbedstoreError


def embedstore() -> None:
    """Run the ``embedstore`` command."""
    from cli.embedstore_app import app

    _run(app)


def heads() -> None:
    """Run the ``heads`` command."""
    from cli.heads_app import app

    _run(app)


def _run(app: Callable[[], Any]) -> None:
    """Run an app; our own errors are one line and exit code 2, all others keep their traceback."""
    try:
        app()
    except EmbedstoreError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
