"""Every place in a store that holds parts, what else lies there, and how old and large it is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from embedstore.store.layout import BUILDS, DATASETS, PARTS, REMOVALS, SEQUENCES, SKIPPED, SPACES


def directories(path: Path) -> list[Path]:
    """The directories directly below ``path``, in order of their names; none if it is not there."""
    return sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []


def dataset_homes(dataset: Path) -> list[Path]:
    """Where parts of one data set lie."""
    return [dataset / PARTS, dataset / REMOVALS]


def space_homes(space: Path) -> list[Path]:
    """Where parts of one space lie."""
    return [space / PARTS, space / SKIPPED / PARTS, space / BUILDS, space / REMOVALS]


def part_homes(store: Path) -> list[Path]:
    """Every directory of a store that holds parts, whether or not there are any."""
    homes = [store / SEQUENCES / PARTS, store / SEQUENCES / REMOVALS]
    for dataset in directories(store / DATASETS):
        homes += dataset_homes(dataset)
    for space in directories(store / SPACES):
        homes += space_homes(space)
    return [home for home in homes if home.is_dir()]


def files_below(path: Path) -> Iterator[tuple[str, int, float]]:
    """Path below ``path``, size in bytes and time of the last change of each file there."""
    if not isinstance(path, Path):
        for name, about in path.fs.find(path.path, detail=True).items():
            changed = about.get("LastModified") or about.get("mtime") or about.get("created") or about.get("updated")
            stamp = changed.timestamp() if hasattr(changed, "timestamp") else time.time()
            yield name.removeprefix(f"{path.path.rstrip('/')}/"), int(about["size"]), stamp
        return
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            try:
                about = file.stat()
            except FileNotFoundError:
                # Removed by another process since it was listed.
                continue
            yield file.relative_to(path).as_posix(), about.st_size, about.st_mtime


def n_bytes_below(path: Path) -> int:
    """Bytes that the files below ``path`` take."""
    return sum(size for _, size, _ in files_below(path))


def last_change(path: Path) -> float:
    """When something below ``path``, or its own list of names, was last changed: seconds since 1970."""
    stamps = [stamp for _, _, stamp in files_below(path)]
    if isinstance(path, Path):
        stamps.append(path.stat().st_mtime)
    return max(stamps, default=0.0)
