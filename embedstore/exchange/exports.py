"""Exporting vectors of a store to a file, which is written whole or not at all."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from embedstore.catalog import suggest_arguments
from embedstore.errors import InputError, MissingFileError
from embedstore.exchange.atomic_files import replacing
from embedstore.exchange.selection import select
from embedstore.exchange.writers import EXPORT_FORMATS, ExportFormat
from embedstore.store import Store
from embedstore.types import ProgressCallback, null_progress


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What `export_vectors` wrote: ``n_written`` proteins; ``missing`` has the id of each other one, and the reason."""

    files: list[str]
    format: str
    space: str
    dataset: str
    n_written: int
    n_missing: int
    n_bytes: int
    missing: list[tuple[str, str]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return asdict(self)


@suggest_arguments
def export_vectors(
    store: Store,
    out: str | os.PathLike[str],
    *,
    space: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    residues: bool = False,
    format: str = "auto",  # noqa: A002 - as in import_vectors and on the command line
    overwrite: bool = False,
    progress: ProgressCallback = null_progress,
) -> ExportReport:
    """Write the vectors of a data set to a file that other tools read.

    The numbers are those of the store, bit by bit. The file is written under another name beside and renamed when
    it is whole, so that nothing ever reads half of it.

    Parameters
    ----------
    store, space, dataset, split, limit, residues
        What to write; see `select`.
    out
        The file.
    format
        A name in `EXPORT_FORMATS`, or ``auto`` for what the name ends in.
    overwrite
        Whether a file that is there may be replaced.
    progress
        Called now and then, in proteins.

    Raises
    ------
    InputError
        If the file is there, the format is not clear, or the format cannot hold what is asked for.
    StoreWriteError
        If the disk is full or not writable.
    """
    path = Path(out)
    export_format = _format_of(path, format)
    if residues and not export_format.residues:
        able = ", ".join(other.name for other in EXPORT_FORMATS.values() if other.residues)
        raise InputError(
            f"Format {export_format.name!r} holds one vector a protein; matrices of residues go into {able}."
        )
    files = [path, *([path.with_suffix(export_format.beside)] if export_format.beside else [])]
    for file in files:
        if file.is_dir() or (file.exists() and not overwrite):
            raise InputError(f"{file} is there already. Choose another name, or replace it: overwrite=True (--force).")
    if not path.parent.is_dir():
        raise MissingFileError(f"No such folder: {path.parent}. Make it first.")
    selection = select(store, space=space, dataset=dataset, split=split, limit=limit, residues=residues)
    with replacing(path, beside=export_format.beside) as temporary:
        messages = EXPORT_FORMATS.load(export_format.name)(selection, temporary, progress)
    return ExportReport(
        files=[str(file) for file in files],
        format=export_format.name,
        space=selection.space.id,
        dataset=selection.dataset,
        n_written=len(selection),
        n_missing=len(selection.missing),
        n_bytes=sum(file.stat().st_size for file in files),
        missing=selection.missing,
        messages=messages,
    )


def _format_of(path: Path, name: str) -> ExportFormat:
    if name != "auto":
        return EXPORT_FORMATS[name]
    matching = [
        export_format for export_format in EXPORT_FORMATS.values() if path.suffix.lower() in export_format.suffixes
    ]
    if len(matching) != 1:
        listed = ", ".join(
            f"{export_format.suffixes[0]} ({export_format.name})" for export_format in EXPORT_FORMATS.values()
        )
        raise InputError(f"{path} does not end in one of {listed}. Name the format: format= (--format).")
    return matching[0]
