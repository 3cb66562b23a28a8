"""Merges small parts into large ones; what readers see before, while and after is the same."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import StoreCorruptError
from embedstore.store.files import StorePath
from embedstore.store.layout import PARTS, SEQUENCES, SPACES, canonical_json
from embedstore.store.maintenance.merge_parts import ByteProgress, own_details, replace_parts
from embedstore.store.parts import KeyedParts, Part, committed_parts
from embedstore.store.store import Store
from embedstore.types import ProgressCallback, null_progress

TARGET_ROWS = 1_000_000
"""A part of this many rows is large enough ..."""

TARGET_BYTES = 2**30
"""... or of this many bytes; parts of less than half of both are merged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Parts that became one.

    ``place`` is the new part, ``n_parts`` how many it stands for, ``n_rows`` its rows, ``n_copies`` the rows left out
    because their key stood there already, ``n_bytes`` the bytes of its files.
    """

    place: str
    n_parts: int
    n_rows: int
    n_copies: int
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactReport:
    """What `compact` did: ``n_parts_before`` became ``n_parts_after`` in the places it looked at.

    The files of the parts that were merged stay until `gc` removes them. ``notes`` are sentences for a person.
    """

    n_parts_before: int
    n_parts_after: int
    merged: list[Merged]
    seconds: float
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return asdict(self)


def compact(store: Store, space: str | None = None, *, progress: ProgressCallback = null_progress) -> CompactReport:
    """Merge small parts of spaces and of sequences into large ones, and drop second copies of a key.

    The arrays are copied bit by bit, and every file is compared with its hash before it is. Each merged part is
    committed by itself, in one step: a run that was killed is continued by the next one. Readers that opened the
    store before keep reading the old files, which stay until `gc` removes them. Data sets and ledgers are left alone.
    Memory: 40 bytes a key of the largest space and some 16 MiB; disk: the size of what is merged, until `gc`.

    Parameters
    ----------
    store
        The store; others may be writing to it, also by compacting it.
    space
        Only this space, chosen as in `Store.any_space`; every space and the sequences where None.
    progress
        Called as rows are copied, in bytes.

    Raises
    ------
    StoreCorruptError
        If a file that should be merged is damaged; it is named, and its part stays as it is.
    StoreWriteError
        If the disk is full or not writable; what was committed stays.
    """
    started = time.monotonic()
    store.refresh()
    locations = [f"{SPACES}/{name}/{PARTS}" for name in ([store.any_space(space).id] if space else store.spaces())]
    if space is None:
        locations.insert(0, f"{SEQUENCES}/{PARTS}")
    before = {location: committed_parts(store.path / location) for location in locations}
    groups = [(location, group) for location, parts in before.items() for group in group_parts(parts)]
    meter = ByteProgress(progress, "compact", sum(part.n_bytes for _, group in groups for part in group))
    merged, notes = [], []
    for location, group in groups:
        done = _merge(store.path, location, group, meter)
        if done is None:
            notes.append(f"{location}: {len(group)} parts were merged or removed by another process meanwhile.")
        else:
            merged.append(done)
    store.refresh()
    return CompactReport(
        n_parts_before=sum(map(len, before.values())),
        n_parts_after=sum(len(committed_parts(store.path / location)) for location in locations),
        merged=merged,
        seconds=time.monotonic() - started,
        notes=notes,
    )


def _merge(store: StorePath, location: str, group: list[Part], meter: ByteProgress) -> Merged | None:
    """One part in place of several; None if they are no longer there to be replaced."""
    rows = KeyedParts(group)
    masks = [rows.first_of_key(index) for index in range(len(group))]
    part = replace_parts(store, location, group, masks, meter)
    if part is None:
        return None
    return Merged(
        place=f"{location}/{part.name}",
        n_parts=len(group),
        n_rows=part.n_rows,
        n_copies=rows.n_rows - part.n_rows,
        n_bytes=part.n_bytes,
    )


def group_parts(parts: Sequence[Part]) -> list[list[Part]]:
    """Which parts become one, each group in the order of names.

    Parts that hold the same key come into one group whatever their size: a copy is dropped only where the part that
    drops it holds the other, so that no two runs can each rely on the copy that the other one drops. Besides, small
    parts are collected until they are large together. Parts of different arrays never mix.
    """
    alike: dict[bytes, list[Part]] = {}
    for part in parts:
        alike.setdefault(_signature(part), []).append(part)
    groups = []
    for same in alike.values():
        waiting: list[Part] = []
        for cluster in _sharing_keys(same):
            if not _is_small(cluster):
                if len(cluster) > 1:
                    groups.append(cluster)
                continue
            waiting += cluster
            if not _is_small(waiting):
                groups.append(waiting)
                waiting = []
        groups.append(waiting)
    return [sorted(group, key=lambda part: part.name) for group in groups if len(group) > 1]


def _is_small(parts: Sequence[Part]) -> bool:
    n_rows, n_bytes = sum(part.n_rows for part in parts), sum(part.n_bytes for part in parts)
    return n_rows < TARGET_ROWS / 2 and n_bytes < TARGET_BYTES / 2


def _signature(part: Part) -> bytes:
    """What parts have in common that can be merged: arrays, their types and row shapes, and the kind's own details."""
    arrays = {name: [part.array(name).dtype.str, *part.array(name).shape[1:]] for name in part.array_names}
    return canonical_json([part.details["kind"], arrays, own_details(part)])


def _sharing_keys(parts: list[Part]) -> list[list[Part]]:
    """The parts in clusters: in one cluster where they share a key, directly or through others."""
    leader = list(range(len(parts)))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    rows = KeyedParts(parts)
    for index, part in enumerate(parts) if len(parts) > 1 else ():
        first: NDArray[np.int64] = rows.find(part.array("digests").read())
        if (first < 0).any():
            raise StoreCorruptError(f"{part.path} changes while it is read. Run `embedstore verify`.")
        for other in np.unique(rows.owners(first)).tolist():
            first_leader, second_leader = find(index), find(other)
            leader[max(first_leader, second_leader)] = min(first_leader, second_leader)
    clusters: dict[int, list[Part]] = {}
    for index, part in enumerate(parts):
        clusters.setdefault(find(index), []).append(part)
    return list(clusters.values())
