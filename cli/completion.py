"""What the shell proposes for the values of options: names of catalogs, and data sets and spaces of the store."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from embedstore.errors import EmbedstoreError


def complete_model(incomplete: str) -> list[str]:
    """Models of the catalog."""
    from embedstore.models.catalog import MODELS

    return _starting(incomplete, MODELS)


def complete_head(incomplete: str) -> list[str]:
    """Heads of the catalog."""
    from heads.catalog import HEADS

    return _starting(incomplete, HEADS)


def complete_task(incomplete: str) -> list[str]:
    """Tasks of the catalog."""
    from heads.tasks.catalog import TASKS

    return _starting(incomplete, TASKS)


def complete_dataset(context: typer.Context, incomplete: str) -> list[str]:
    """Data sets of the store that the command line names."""
    from embedstore.store import open_store

    try:
        return _starting(incomplete, open_store(context.params.get("store")).datasets())
    except EmbedstoreError:
        # No store yet: nothing to propose, and a message would stand in the middle of the command line.
        return []


def complete_space(context: typer.Context, incomplete: str) -> list[str]:
    """Space ids of the store that the command line names."""
    from embedstore.store import open_store

    try:
        return _starting(incomplete, open_store(context.params.get("store")).spaces())
    except EmbedstoreError:
        return []


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
