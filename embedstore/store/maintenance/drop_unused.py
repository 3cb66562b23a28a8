"""Drops the sequences and vectors that no data set names any more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedstore.store.keys import KeyTable, distinct
from embedstore.store.layout import PARTS, SEQUENCES, SPACES
from embedstore.store.maintenance.merge_parts import ByteProgress, replace_parts
from embedstore.store.part_writer import PartWriter
from embedstore.store.parts import Part, committed_parts
from embedstore.store.store import Store
from embedstore.types import DIGEST_BYTES, Digests, ProgressCallback, null_progress


class _NamedKeys:
    """The keys that data sets name now."""

    def __init__(self, store: Store) -> None:
        store.refresh()
        digests = [np.empty((0, DIGEST_BYTES), np.uint8), *(store.dataset(name).digests for name in store.datasets())]
        keys = distinct(np.concatenate(digests))
        self._table = KeyTable(lambda rows: keys[rows])
        self._table.extend(keys)

    def contains(self, digests: Digests) -> NDArray[np.bool_]:
        """Whether each key is named, (n,) bool."""
        is_named: NDArray[np.bool_] = self._table.find(digests) >= 0
        return is_named


def drop_unused(
    store: Store, *, dry_run: bool, progress: ProgressCallback = null_progress
) -> tuple[dict[str, int], list[str]]:
    """Write parts anew without the keys that no data set names.

    What is dropped is decided once nobody else writes: a data set that is being added may name a sequence only
    because it is there. The old parts are replaced, and their files stay until `gc` may remove them.

    Returns
    -------
    Rows dropped (with ``dry_run``: to be dropped) by place; and sentences on what was left alone.
    """
    named = _NamedKeys(store)
    locations = [f"{SEQUENCES}/{PARTS}", *(f"{SPACES}/{name}/{PARTS}" for name in store.spaces())]
    work: list[tuple[str, Part, NDArray[np.bool_]]] = []
    # Vectors first: they are never left without their sequence.
    for location in reversed(locations):
        for part in committed_parts(store.path / location):
            mask = named.contains(part.array("digests").read())
            if not mask.all():
                work.append((location, part, mask))
    meter = ByteProgress(progress, "drop", sum(part.n_bytes for _, part, _ in work))
    dropped: dict[str, int] = {}
    notes = []
    for location, part, mask in work:
        if dry_run or _rewrite(store, location, part, mask, meter):
            dropped[location] = dropped.get(location, 0) + int((~mask).sum())
        else:
            notes.append(f"{location}/{part.name}: nothing is dropped while a build, an add or a compact is at work.")
    return dropped, notes


def _rewrite(store: Store, location: str, part: Part, mask: NDArray[np.bool_], meter: ByteProgress) -> bool:
    """Replace a part by its rows in ``mask``; False if others are at work."""
    dropped = part.array("digests").read()[~mask]

    def still_unused(writer: PartWriter) -> bool:
        return writer.lock.work.become_alone() and not _NamedKeys(store).contains(dropped).any()

    return replace_parts(store.path, location, [part], [mask], meter, may_commit=still_unused) is not None
