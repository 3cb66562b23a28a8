"""Indexes as a store keeps them: segments that are parts, of files that another package reads and writes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from embedstore.errors import StoreCorruptError, StoreNotFoundError
from embedstore.store.files import StorePath, blocks, directories
from embedstore.store.layout import INDEXES, PARTS, check_name, ensure_group, translate_write_errors
from embedstore.store.maintenance.part_checks import file_hash, quick_hash
from embedstore.store.part_writer import PartWriter
from embedstore.store.parts import Part, committed_parts, has_parts
from embedstore.types import Digests

_REBUILD = "Build the index again: `embedstore index build`."


def index_place(space: str, kind: str) -> str:
    """Where the index of a kind of a space lies below its store."""
    return f"{INDEXES}/{check_name('index', f'{space}-{kind}')}"


def index_kinds(store: StorePath, space: str) -> list[str]:
    """The kinds of which a space has an index, in alphabetical order."""
    names = [path.name for path in directories(store / INDEXES) if has_parts(path / PARTS)]
    return [name.rpartition("-")[2] for name in names if name.rpartition("-")[0] == space]


def index_segments(store: StorePath, space: str, kind: str) -> list[Part]:
    """The committed segments of an index, oldest first."""
    return committed_parts(store / index_place(space, kind) / PARTS)


class SegmentWriter(PartWriter):
    """A segment under construction; see `PartWriter`."""

    def __init__(self, store: StorePath, space: str, kind: str) -> None:
        location = f"{index_place(space, kind)}/{PARTS}"
        ensure_group(store / INDEXES)
        ensure_group((store / location).parent)
        ensure_group(store / location)
        super().__init__(store, location, "index")

    def __enter__(self) -> SegmentWriter:
        return self

    def take(self, folder: Path, digests: Digests, details: Mapping[str, Any], *, replaces: Sequence[str] = ()) -> str:
        """Take all files of a folder, and the keys (n, 24) of its rows in order, and commit; returns the name."""
        for file in sorted(folder.iterdir()):
            self.copy(file, file.name)
        self.append("digests", digests, np.uint8)
        sampled = {name: quick_hash(folder / name) for name in details["mapped"]}
        return self.commit(len(digests), {**details, "sampled": sampled}, replaces=replaces)


def segment_folder(segment: Part) -> Path:
    """A directory of this machine that holds the files of a segment, proved to be what its record promises.

    Files that FAISS maps (``mapped`` in the record) can be larger than memory: of them the size and a sample of the
    bytes are looked at, and `verify` compares the hash of the whole. An object store's files are copied, once, below
    ``$EMBEDSTORE_CACHE`` (default ``~/.cache/embedstore``), which can be emptied at any time.

    Raises
    ------
    StoreCorruptError
        If a file is missing or was changed; it is named.
    """
    due = {name: about for name, about in segment.details["files"].items() if not name.startswith("digests/")}
    folder = segment.path if isinstance(segment.path, Path) else _fetched(segment, due)
    for name, about in due.items():
        file = folder / name
        if not file.is_file():
            raise StoreCorruptError(f"{file} is gone. {_REBUILD}")
        size = file.stat().st_size
        if size == about["bytes"] and name in segment.details["mapped"]:
            # Records from before there were samples have none.
            sampled = segment.details.get("sampled", {})
            is_same = name not in sampled or quick_hash(file) == sampled[name]
        else:
            is_same = size == about["bytes"] and file_hash(file) == about["xxh3_128"]
        if not is_same:
            raise StoreCorruptError(
                f"{file} was changed: it is not the {about['bytes']:,} bytes that its record promises ({size:,} are "
                f"there). {_REBUILD}"
            )
    return folder


def cache_folder() -> Path:
    """Where what is fetched from object storage is kept: ``$EMBEDSTORE_CACHE``, else ``~/.cache/embedstore``."""
    return Path(os.environ.get("EMBEDSTORE_CACHE") or Path.home() / ".cache" / "embedstore")


def _fetched(segment: Part, due: Mapping[str, Mapping[str, Any]]) -> Path:
    """A local copy of a segment's files, made if it is not there; whole or not at all."""
    # Segments have unique names, but a store may be copied under another address.
    address = xxhash.xxh3_128_hexdigest(str(segment.path).encode())
    target = cache_folder() / "indexes" / f"{segment.name}-{address[:8]}"
    if target.is_dir():
        return target
    with translate_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            copy = Path(scratch) / target.name
            copy.mkdir()
            for name in due:
                _fetch(segment.path / name, copy / name)
            if not target.is_dir():
                shutil.move(copy, target)
    return target


def _fetch(source: StorePath, target: Path) -> None:
    try:
        with target.open("xb") as file:
            for block in blocks(source):
                file.write(block)
    except FileNotFoundError as error:
        raise StoreCorruptError(f"{source} is gone. {_REBUILD}") from error


def no_index(space: str, kind: str, kinds: Sequence[str]) -> StoreNotFoundError:
    """The error for an index that is not there."""
    there = f"It has: {', '.join(kinds)}." if kinds else "It has none."
    return StoreNotFoundError(
        f"Space {space} has no index of kind {kind!r}. {there} Build it: `embedstore index build --kind {kind}`."
    )
