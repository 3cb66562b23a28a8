"""The contract of a source of vectors: named arrays, streamed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedstore.sequences import file_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One entry of a file.

    Attributes
    ----------
    names
        Names of the entry: the first is shown in messages, and each is tried in this order as an id.
    read
        Reads its array: (D,) or (L, D). To be called before the next item is asked for.
    problem
        Why there is nothing to read; empty where there is.
    """

    names: tuple[str, ...]
    read: Callable[[], NDArray[Any]]
    problem: str = ""


class Source(Protocol):
    """A file or a folder, opened as what it is.

    Attributes
    ----------
    format
        Name of its row in `IMPORT_FORMATS`.
    files
        Every file whose bytes decide what is read.
    root
        What the user named: the file, or the folder of the files.
    pooling
        How residue vectors became one, where the format says so; else None.
    layer
        Layer of the model, where the format says so; else None.
    n_items
        How many entries there are, where that is known before reading.
    cut_at
        Length in residues at which the tool may have cut proteins without a trace in the file; else None.
    """

    format: str
    files: Sequence[Path]
    root: Path
    pooling: str | None
    layer: int | None
    n_items: int | None
    cut_at: int | None

    def __iter__(self) -> Iterator[Item]:
        """Stream the entries, in an order that does not change."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What of a file to read: ``pooling`` and ``layer`` where it holds several, ``ids`` where they stand elsewhere."""

    pooling: str | None = None
    layer: int | None = None
    ids: Path | None = None


def unreadable(problem: str) -> Callable[[], NDArray[Any]]:
    """The ``read`` of an item that has a problem."""

    def read() -> NDArray[Any]:
        raise AssertionError(problem)

    return read


def to_native_endian(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in this machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def source_sha256(source: Source) -> str:
    """What identifies the bytes of a source: the sha256 of its file.

    Of several files, it is the sha256 of the lines ``<sha256>  <path below the root>``, as ``sha256sum`` writes
    them, in the order in which the source reads the files.
    """
    if len(source.files) == 1:
        return file_sha256(source.files[0])
    top = source.root if source.root.is_dir() else source.root.parent
    whole = hashlib.sha256()
    for file in source.files:
        name = file.relative_to(top) if file.is_relative_to(top) else Path(file.name)
        whole.update(f"{file_sha256(file)}  {name.as_posix()}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def as_array(values: object) -> NDArray[Any]:
    """Values as an array in native byte order."""
    return to_native_endian(np.asarray(values))
