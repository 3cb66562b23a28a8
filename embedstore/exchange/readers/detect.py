"""Which format a path holds: decided by content, never by a name alone."""

from __future__ import annotations

import zipfile
from pathlib import Path

from embedstore.errors import FileFormatError, MissingFileError
from embedstore.exchange.readers.base import Source, SourceOptions
from embedstore.exchange.readers.catalog import IMPORT_FORMATS
from embedstore.exchange.readers.h5 import detect_h5, is_hdf5

_NPY = b"\x93NUMPY"


def open_source(path: Path, format: str = "auto", options: SourceOptions | None = None) -> Source:  # noqa: A002
    """Open a file or a folder of vectors.

    Parameters
    ----------
    path
        What to read.
    format
        A row of `IMPORT_FORMATS`, or ``auto`` to look at the content.
    options
        What of it to read.

    Raises
    ------
    MissingFileError
        If there is nothing at ``path``.
    FileFormatError
        If it is no format known, or not the one stated.
    UnknownNameError
        If no format is called so.
    """
    if not path.exists():
        raise MissingFileError(f"No such file or folder: {path}. Check the path.")
    name = detect(path) if format == "auto" else IMPORT_FORMATS[format].name
    source: Source = IMPORT_FORMATS.load(name)(path, name, options or SourceOptions())
    return source


def detect(path: Path) -> str:
    """Name of the format that the content shows.

    Raises
    ------
    FileFormatError
        If it shows none, or could be several.
    """
    if path.is_dir():
        if next(path.rglob("*.pt"), None) is None:
            raise ambiguous_format(path, "a folder without .pt files")
        return "esm-pt"
    if path.stat().st_size == 0:
        raise FileFormatError(f"{path} is empty. Check that it was written, or downloaded, to the end.")
    if is_hdf5(path):
        return detect_h5(path)
    with path.open("rb") as file:
        start = file.read(len(_NPY))
    if start == _NPY:
        return "npy"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if names and all(name.endswith(".npy") for name in names):
            return "npz"
        if any(name.endswith("/data.pkl") for name in names):
            return "esm-pt"
        raise ambiguous_format(path, "a zip archive that is neither .npz nor .pt")
    if start.startswith(b"PK\x03\x04"):
        raise FileFormatError(f"{path} is a zip archive (.npz, .pt) that is cut short or damaged. Get it again.")
    raise ambiguous_format(path, f"a file that starts with {start!r}")


def ambiguous_format(path: Path, what: str) -> FileFormatError:
    """The error for content that no format claims."""
    listed = "; ".join(f"{row.name} ({row.summary})" for row in IMPORT_FORMATS.values())
    return FileFormatError(f"{path} is {what}; the formats known are {listed}. Name one with format= (--format).")
