"""Reads query files for commands, naming what is left out."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.output import warn
from embedstore.errors import InputError

if TYPE_CHECKING:
    from embedstore.models import Model
    from embedstore.store import Space
    from embedstore.types import Record


def read_all(path: Path, *, limit: int | None, **options: Any) -> list[Record]:
    """All records of a file, or the first ``limit``; those left out are named on stderr."""
    from embedstore.sequences import read_records

    reader = read_records(path, **options)
    records = list(islice(reader, limit))
    for sentence in reader.report.warnings:
        warn(sentence)
    if not records and options["split"]:
        raise InputError(f"No protein in {path} has the split {options['split']!r}; look at its column or folders.")
    for rejected in reader.report.rejected:
        warn(f"left out {rejected.id!r} ({rejected.where}): {rejected.reason}")
    return records


def given_model(space: Space, *, weights: Path | None, device: str) -> Model | None:
    """The model of a space where an option says how to load it; else None, and it is loaded only if needed."""
    if weights is None and device == "auto":
        return None
    from embedstore.queries import model_of

    return model_of(space, weights=weights, device=device)
