"""Removes what no reader sees any more: dead writers' parts, replaced and removed parts, what nothing was put into."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from embedstore.errors import InputError, StoreCorruptError
from embedstore.store.files import StorePath, directories, is_file
from embedstore.store.layout import DATASETS, INDEXES, RECORD, SPACES, is_temporary, translate_write_errors
from embedstore.store.locks import LOCK_FILE, exclusive_lock, remove_abandoned, remove_part, remove_tree, writer_of
from embedstore.store.maintenance.drop_unused import drop_unused
from embedstore.store.maintenance.part_checks import check_files
from embedstore.store.parts import Part, recorded_paths, removed_names
from embedstore.store.paths import (
    dataset_directories,
    files_below,
    index_directories,
    last_change,
    n_bytes_below,
    part_directories,
    relative_path,
    space_directories,
)
from embedstore.store.spaces import space_names
from embedstore.store.store import Store
from embedstore.types import ProgressCallback, null_progress

GRACE_S = 3600.0
"""Seconds for which nothing is removed that a writer or a reader may still need ..."""

GRACE_WITHOUT_LOCKS_S = 86400.0
"""... and where no lock tells whether a writer lives: object stores, some network file systems."""

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Something that was removed: where it was below the store, why, and its bytes."""

    place: str
    why: str
    n_bytes: int


@dataclass(slots=True, kw_only=True)
class GcReport:
    """What `gc` removed, or with ``dry_run`` would.

    ``dropped`` counts, by place, the rows that no data set names and that readers see no more (``unused``); ``notes``
    say what was left alone, and why.
    """

    dry_run: bool
    removed: list[Removed] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def n_bytes(self) -> int:
        """Bytes of all that was removed."""
        return sum(one.n_bytes for one in self.removed)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {"n_removed": len(self.removed), "n_bytes": self.n_bytes, **asdict(self)}


def parse_age(age: str | float) -> float:
    """Seconds of an age such as ``30m``, ``1h``, ``2d``; a number is seconds.

    >>> parse_age("1.5h")
    5400.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(age).strip())
    if not match:
        raise InputError(f"{age!r} is no age. Give a number and a unit: 90s, 30m, 1h, 2d.")
    return float(match[1]) * _UNITS[match[2]]


def gc(
    store: Store,
    *,
    older_than: str | float | None = None,
    unused: bool = False,
    dry_run: bool = False,
    progress: ProgressCallback = null_progress,
) -> GcReport:
    """Remove what no reader sees any more.

    That is: parts without a record, whose writer is dead; records that were never published; parts that others
    replace; what `remove` left; spaces and data sets into which nothing was committed. It may run beside builds: a
    living writer is known by its lock, and while one is at work nothing goes that its work may read. A replaced part
    goes before what replaces it, and only once that is proved whole by its hashes.

    Parameters
    ----------
    store
        The store.
    older_than
        Leave alone what changed in this time: ``30m``, ``1h``, ``2d``, or seconds. By default an hour, and a day on
        object stores, which have no locks.
    unused
        Drop sequences and vectors that no data set names, too. Nobody may add to a store in object storage meanwhile.
    dry_run
        Say what would be removed; remove nothing.
    progress
        Called as rows are copied for ``unused``, in bytes.

    Raises
    ------
    StoreWriteError
        If the store is not writable.
    """
    grace = parse_age(older_than) if older_than is not None else None
    report = GcReport(dry_run=dry_run)
    if unused:
        report.dropped, report.notes = drop_unused(store, dry_run=dry_run, progress=progress)
    sweep = _Sweep(store.path, grace, report)
    for location in part_directories(store.path):
        sweep.abandoned_parts(location)
        sweep.leftovers(location)
        sweep.removed_parts(location)
        sweep.replaced_parts(location)
    sweep.orphaned_indexes()
    sweep.empty_owners()
    sweep.temporaries(store.path)
    store.refresh()
    return report


class _Sweep:
    """One run through a store."""

    def __init__(self, store: StorePath, grace: float | None, report: GcReport) -> None:
        self._store = store
        self._grace = grace
        self._report = report
        self._now = time.time()

    def _is_old(self, path: StorePath, *, locks: bool = True) -> bool:
        default = GRACE_S if locks and isinstance(path, Path) else GRACE_WITHOUT_LOCKS_S
        grace = default if self._grace is None else self._grace
        return self._now - last_change(path) >= grace

    def _remove(self, path: StorePath, why: str, how: Callable[[StorePath], object]) -> None:
        n_bytes = path.stat().st_size if path.name == LOCK_FILE or is_temporary(path) else n_bytes_below(path)
        if not self._report.dry_run and how(path) is False:
            return
        place = self._place(path)
        self._report.removed.append(Removed(place=place, why=why, n_bytes=n_bytes))

    def _place(self, path: StorePath) -> str:
        return relative_path(self._store, path)

    def _note(self, text: str) -> None:
        if text not in self._report.notes:
            self._report.notes.append(text)

    def abandoned_parts(self, location: StorePath) -> None:
        """Parts without a record."""
        for part in directories(location):
            if is_file(part / RECORD):
                continue
            place, writer = self._place(part), writer_of(part)
            if writer == "alive":
                self._note(f"{place} is being written and stays.")
            elif writer == "none" and any(files_below(part)):
                # No writer leaves this; with its record from a backup it would be whole again.
                self._note(f"{place} has lost its record and stays: restore that, or remove the directory by hand.")
            elif not self._is_old(part, locks=writer != "unknown"):
                self._note(f"{place} has no record and is too young to go (--older-than).")
            else:
                self._remove(part, "its writer died before the commit", remove_abandoned)

    def leftovers(self, location: StorePath) -> None:
        """Claims and unpublished records beside a record: what a kill leaves in a moment."""
        for part in recorded_paths(location):
            if writer_of(part) == "dead":
                self._remove(part / LOCK_FILE, "its writer died after the commit", _unlink)
            self.temporaries(part)
        self.temporaries(location)

    def temporaries(self, folder: StorePath) -> None:
        """Records that were never published."""
        # Object stores publish a record in one request.
        local = folder.iterdir() if isinstance(folder, Path) and folder.is_dir() else ()
        for path in sorted(child for child in local if is_temporary(child)):
            if self._now - path.stat().st_mtime >= (GRACE_S if self._grace is None else self._grace):
                self._remove(path, "its writer died before the commit", _unlink)

    def removed_parts(self, location: StorePath) -> None:
        """What `remove` hid, and what was made of it by a compaction that ran at the same time."""
        removed = removed_names(location)
        for part in _parts(location) if removed else []:
            if removed.intersection([part.name, *part.details["replaces"]]):
                self._remove(part.path, "removed by `rm`", remove_part)

    def replaced_parts(self, location: StorePath) -> None:
        """Parts that others stand for.

        The invariant: a part goes only when nothing that it replaces is there any more; else the rows of that would
        come back. So the oldest goes first, and whenever this ends, readers see what they saw before.
        """
        parts = _parts(location)
        replaced = {name for part in parts for name in part.details["replaces"]}
        doomed = [part for part in parts if part.name in replaced]
        if not doomed:
            return
        place = self._place(location)
        heirs = [part for part in parts if part.name not in replaced and part.details["replaces"]]
        if not all(self._is_old(heir.path) for heir in heirs):
            self._note(f"{place}: {len(doomed)} replaced parts stay a while for readers that are open (--older-than).")
            return
        try:
            for heir in heirs:
                check_files(heir.path, heir.details)
        except StoreCorruptError as error:
            self._note(f"{place}: {len(doomed)} replaced parts stay, because what replaces them is damaged: {error}")
            return
        with exclusive_lock(self._store) as is_alone:
            if not is_alone:
                self._note(f"{place}: {len(doomed)} replaced parts stay while a build or an add is at work.")
                return
            for part in in_order(doomed):
                self._remove(part.path, "replaced", remove_part)

    def orphaned_indexes(self) -> None:
        """Indexes whose space is gone: it was removed while they were built."""
        there = set(space_names(self._store / SPACES))
        for index in directories(self._store / INDEXES):
            if index.name.rpartition("-")[0] in there:
                continue
            for segment in recorded_paths(index_directories(index)[0]):
                if self._is_old(segment):
                    self._remove(segment, "its space is gone", remove_part)

    def empty_owners(self) -> None:
        """Spaces, data sets and indexes in which there is no part, nor anybody who writes one."""
        owners = [(path, dataset_directories(path)[:1]) for path in directories(self._store / DATASETS)]
        owners += [(path, space_directories(path)[:3]) for path in directories(self._store / SPACES)]
        owners += [(path, index_directories(path)[:1]) for path in directories(self._store / INDEXES)]
        for path, locations in owners:
            removals = path / dataset_directories(path)[1].name
            is_dataset = path.parent.name == DATASETS
            # That a data set was removed is to be known as long as a build says that it covered it.
            if any(directories(location) for location in locations) or (is_dataset and directories(removals)):
                continue
            if not directories(removals) and not self._is_old(path):
                self._note(f"{self._place(path)} is empty and too young to go (--older-than).")
                continue
            with exclusive_lock(self._store) as is_alone:
                if not is_alone:
                    self._note(f"{self._place(path)} is empty and stays while a build or an add is at work.")
                elif not any(directories(location) for location in locations):
                    self._remove(path, "holds nothing", _remove_owner)


def in_order(parts: Sequence[Part]) -> list[Part]:
    """Parts such that each comes after all that it replaces."""
    left: dict[str, Part] = {part.name: part for part in parts}
    ordered: list[Part] = []
    while left:
        free = [part for part in left.values() if not left.keys() & set(part.details["replaces"])]
        if not free:
            raise StoreCorruptError(f"{next(iter(left.values())).path} replaces itself. Run `embedstore verify`.")
        ordered += free
        for part in free:
            del left[part.name]
    return ordered


def _parts(location: StorePath) -> list[Part]:
    return [Part(path) for path in recorded_paths(location)]


def _unlink(path: StorePath) -> None:
    with translate_write_errors(path):
        path.unlink(missing_ok=True)


def _remove_owner(path: StorePath) -> None:
    """Remove an empty space or data set, its description first: without one it does not count."""
    with translate_write_errors(path):
        (path / RECORD).unlink(missing_ok=True)
        remove_tree(path)
