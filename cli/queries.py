"""Reads query files for commands, naming what is left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.render.output import warn
from embedstore.errors import InputError

_NAMELESS = (b"X", b"B", b"Z", b"J")
_NAMED = 5

if TYPE_CHECKING:
    from embedstore.models import Model
    from embedstore.store import Space
    from embedstore.types import Record


def read_queries(path: Path, *, limit: int | None, **options: Any) -> list[Record]:
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
    _warn_of_unknown([record.id for record in records if _is_unknown(record)])
    return records


@contextmanager
def open_queries(path: Path, *, limit: int | None, **options: Any) -> Iterator[Iterator[Record]]:
    """Records of a file as they are read, at most ``limit``; those left out are named on stderr at the end."""
    from embedstore.sequences import read_records

    reader = read_records(path, **options)
    unknown: list[str] = []
    try:
        yield _some_of(path, islice(reader, limit), options["split"], unknown)
    finally:
        for sentence in reader.report.warnings:
            warn(sentence)
        for rejected in reader.report.rejected:
            warn(f"left out {rejected.id!r} ({rejected.where}): {rejected.reason}")
        _warn_of_unknown(unknown)


def _some_of(path: Path, records: Iterator[Record], split: str | None, unknown: list[str]) -> Iterator[Record]:
    """The records; an error where a split has none, and at their end, so that whoever writes them writes nothing."""
    empty = True
    for record in records:
        empty = False
        if _is_unknown(record):
            unknown.append(record.id)
        yield record
    if empty and split:
        raise InputError(f"No protein in {path} has the split {split!r}; look at its column or folders.")


def _is_unknown(record: Record) -> bool:
    """Whether half of the residues or more are letters that name none."""
    return 2 * sum(map(record.residues.count, _NAMELESS)) >= len(record.residues)


def _warn_of_unknown(ids: list[str]) -> None:
    if ids:
        named = ", ".join(map(repr, ids[:_NAMED])) + (" …" if len(ids) > _NAMED else "")
        warn(
            f"proteins of which half of the letters or more name no residue (X, B, Z, J): {len(ids):,}. What is said "
            f"of them means little: {named}"
        )


def given_model(space: Space, *, weights: Path | None, device: str) -> Model | None:
    """The model of a space where an option says how to load it; else None, and it is loaded only if needed."""
    if weights is None and device == "auto":
        return None
    from embedstore.embedding.query import load_space_model

    return load_space_model(space, weights=weights, device=device)
