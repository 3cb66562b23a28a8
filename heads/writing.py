"""Files that are whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from uuid import uuid4

from embedstore.errors import StoreWriteError


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`; it takes the place of `path` once all is written, and is removed otherwise.

    Raises
    ------
    StoreWriteError
        If it cannot be written.
    """
    target = Path(path)
    work = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        yield work
        work.replace(target)
    except OSError as error:
        raise StoreWriteError(
            f"{target} could not be written: {error.strerror or error}. Free space or choose another place."
        ) from error
    finally:
        work.unlink(missing_ok=True)


def write_text(path: str | PathLike[str], text: str) -> Path:
    """Write a whole text."""
    with replacing(path) as work:
        work.write_text(text, encoding="utf-8", errors="surrogateescape")
    return Path(path)
