"""Reads, lists and writes the files of a store, alike in a directory and in object storage."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from embedstore.errors import InputError
from embedstore.store import object_store

if TYPE_CHECKING:
    from upath import UPath

StorePath: TypeAlias = "Path | UPath"
"""Where something of a store is: a path on this machine, or one in object storage, which is never a `Path`."""

_BLOCK_BYTES = 1 << 22


def locate(path: str | PathLike[str]) -> StorePath:
    """Where a store is: ``s3://…``, ``gs://…``, ``memory://…``, or a directory.

    Raises
    ------
    InputError
        If it looks like a URL and is none that is known.
    StoreError
        If the package for its protocol is not installed.
    """
    if re.match(r"(s3a?|gc?s|memory|abfs|az|https?):/[^/]", str(path)):
        raise InputError(f"{str(path)!r} was a URL before it became a path. Give the store as text: s3://bucket/name.")
    if "://" not in str(path):
        return Path(path)
    if str(path).startswith(("file://", "local://")):
        return Path(str(path).partition("://")[2])
    return object_store.locate(path)


def read_bytes(path: StorePath) -> bytes:
    """A whole small file; FileNotFoundError if there is none."""
    return path.read_bytes() if isinstance(path, Path) else object_store.read(path)


def read_if_there(path: StorePath) -> bytes | None:
    """A whole small file; None if there is none."""
    if isinstance(path, Path):
        return path.read_bytes() if path.is_file() else None
    return object_store.read_many([path])[0]


def is_file(path: StorePath) -> bool:
    """Whether a file is there; in object storage it is read, so only for small ones."""
    return path.is_file() if isinstance(path, Path) else read_if_there(path) is not None


def directories(path: StorePath) -> list[StorePath]:
    """The directories directly below ``path``, in order of names; none if there is no such path."""
    if not isinstance(path, Path):
        return list(object_store.directories(path))
    return sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []


def blocks(path: StorePath) -> Iterator[bytes]:
    """A whole file, block by block; FileNotFoundError if there is none."""
    if not isinstance(path, Path):
        yield from object_store.blocks(path)
        return
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            yield block


class NewFile(Protocol):
    """A file that is being written, of which nothing counts before `finish`."""

    def write(self, payload: bytes | memoryview) -> None:
        """Append bytes."""

    def finish(self) -> None:
        """Make all of it survive a power loss."""

    def abandon(self) -> None:
        """Stop without finishing it, whatever state it is in."""


def new_file(path: StorePath) -> NewFile:
    """Start a file, with the directories above it."""
    return LocalFile(path) if isinstance(path, Path) else object_store.ObjectWriter(path)


class LocalFile:
    """A new file on this machine; see `NewFile`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb")

    def write(self, payload: bytes | memoryview) -> None:
        """See `NewFile.write`."""
        self._file.write(payload)

    def finish(self) -> None:
        """See `NewFile.finish`."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())

    def abandon(self) -> None:
        """See `NewFile.abandon`."""
        # What is still buffered may not fit on the disk; it is not wanted any more.
        with contextlib.suppress(OSError):
            self._file.close()
