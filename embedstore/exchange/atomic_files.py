"""Files that are whole or not there, and documents that JSON can hold."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from embedstore.errors import EmbedstoreError, InputError, StoreWriteError
from embedstore.store.layout import fsync_path


@contextmanager
def replacing(path: str | PathLike[str], *, beside: str | None = None) -> Iterator[Path]:
    """A temporary path in the folder of `path`, which replaces `path` once it is written and is removed otherwise.

    Parameters
    ----------
    path
        The file to write.
    beside
        Suffix of a second file: ``temporary.with_suffix(beside)`` replaces ``path.with_suffix(beside)``.

    Raises
    ------
    StoreWriteError
        If it cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{uuid4().hex}.{target.name}")
    pairs = [(temporary, target)]
    if beside:
        # The second file first: whoever sees the first finds what belongs to it.
        pairs.insert(0, (temporary.with_suffix(beside), target.with_suffix(beside)))
    try:
        yield temporary
        for written, _ in pairs:
            with written.open("rb+") as file:
                os.fsync(file.fileno())
        for written, final in pairs:
            written.replace(final)
        fsync_path(target.absolute().parent)
    except OSError as error:
        if isinstance(error, EmbedstoreError):
            raise
        raise StoreWriteError(
            f"{target} could not be written: {error.strerror or error}. Free space or choose another place."
        ) from error
    finally:
        for written, _ in pairs:
            with suppress(OSError):
                written.unlink(missing_ok=True)


def require_place(
    path: str | PathLike[str], *, other_than: str | PathLike[str] | None = None, makes_folders: bool = False
) -> None:
    """Refuse a place where nothing can be written, before the work is done.

    Parameters
    ----------
    path
        Where something will be written.
    other_than
        A file that is read, and must not be lost.
    makes_folders
        Whether the folders above it are made where they are not there.

    Raises
    ------
    InputError
        If its folder is not there or must not be written to, or the place is that of the file `other_than`.
    """
    target, folder = Path(path), Path(path).absolute().parent
    while makes_folders and not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"{target} cannot be written: there is no folder {folder}. Make it, or choose another place.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{target} cannot be written: {folder} must not be written to. Choose another place.")
    if other_than is not None and target.exists() and Path(other_than).exists() and target.samefile(other_than):
        raise InputError(f"{target} is what is read, and would be lost. Choose another place.")


def finite(value: Any) -> Any:
    """A document for JSON, which has no NaN, no infinity and no numpy scalars: null in place of the first two.

    >>> finite({"a": (1.0, float("nan"))})
    {'a': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def write_text(path: str | PathLike[str], text: str) -> Path:
    """Write a whole text."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
    return Path(path)
