"""Files that are whole or not there, and documents that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

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


def finite(value: Any) -> Any:
    """A document for JSON, which has no NaN, no infinity and no numpy scalars: null in place of the first two.

    >>> finite({"a": (1.0, float("nan"))})
    {'a': [1.0, None]}
    """
    if isinstance(value, Mapping):
        return {str(name): finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def write_text(path: str | PathLike[str], text: str) -> Path:
    """Write a whole text."""
    with replacing(path) as work:
        work.write_text(text, encoding="utf-8", errors="surrogateescape")
    return Path(path)
