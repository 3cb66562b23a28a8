"""Every place in a store that holds parts, what else lies there, and how old and large it is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from embedstore.store import object_store
from embedstore.store.files import StorePath, directories
from embedstore.store.layout import BUILDS, DATASETS, INDEXES, PARTS, REMOVALS, SEQUENCES, SKIPPED, SPACES


def relative_path(store: StorePath, path: StorePath) -> str:
    """A path below its store, as text."""
    return str(path).removeprefix(f"{store}/")


def dataset_directories(dataset: StorePath) -> list[StorePath]:
    """Where parts of one data set lie."""
    return [dataset / PARTS, dataset / REMOVALS]


def space_directories(space: StorePath) -> list[StorePath]:
    """Where parts of one space lie."""
    return [space / PARTS, space / SKIPPED / PARTS, space / BUILDS, space / REMOVALS]


def index_directories(index: StorePath) -> list[StorePath]:
    """Where segments of one index lie."""
    return [index / PARTS, index / REMOVALS]


def part_directories(store: StorePath) -> list[StorePath]:
    """Every directory of a store that holds parts, whether or not there are any."""
    locations = [store / SEQUENCES / PARTS, store / SEQUENCES / REMOVALS]
    for dataset in directories(store / DATASETS):
        locations += dataset_directories(dataset)
    for space in directories(store / SPACES):
        locations += space_directories(space)
    for index in directories(store / INDEXES):
        locations += index_directories(index)
    return [
        location
        for location in locations
        if (location.is_dir() if isinstance(location, Path) else not object_store.is_empty(location))
    ]


def files_below(path: StorePath) -> Iterator[tuple[str, int, float]]:
    """Path below ``path``, size in bytes and time of the last change of each file there."""
    if not isinstance(path, Path):
        try:
            with object_store.translate_read_errors(path):
                objects = path.fs.find(path.path, detail=True)
        except FileNotFoundError:
            objects = {}
        for name, details in objects.items():
            yield name.removeprefix(f"{path.path.rstrip('/')}/"), int(details["size"]), _changed(details)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            try:
                details = file.stat()
            except FileNotFoundError:
                # Removed by another process since it was listed.
                continue
            yield file.relative_to(path).as_posix(), details.st_size, details.st_mtime


def _changed(about: dict[str, Any]) -> float:
    """When an object was written, as its server says; now, and so never old, where it does not say."""
    stamp = next((about[name] for name in ("LastModified", "mtime", "updated", "created") if about.get(name)), None)
    if isinstance(stamp, str):
        stamp = datetime.fromisoformat(stamp)
    if isinstance(stamp, datetime):
        return stamp.timestamp()
    return float(stamp) if stamp is not None else time.time()


def n_bytes_below(path: StorePath) -> int:
    """Bytes that the files below ``path`` take."""
    return sum(size for _, size, _ in files_below(path))


def last_change(path: StorePath) -> float:
    """When something below ``path``, or its own list of names, was last changed: seconds since 1970."""
    stamps = [stamp for _, _, stamp in files_below(path)]
    if isinstance(path, Path):
        stamps.append(path.stat().st_mtime)
    return max(stamps, default=0.0)
