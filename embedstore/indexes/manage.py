"""Builds the index of a space: learns from a sample, adds within memory, measures itself, is committed at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import psutil
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.indexes.compressed import FEWEST_ROWS, sample_rows
from embedstore.indexes.index_builder import DISTORTION_ROWS, IndexBuilder, IndexReport, sizes_of, train
from embedstore.indexes.rerank import NO_ROW
from embedstore.indexes.stored_index import StoredIndex, unique_rows
from embedstore.indexes.tuning import TARGET
from embedstore.store import Space, Store
from embedstore.store.indexes import index_kinds, index_segments, no_index
from embedstore.store.maintenance.remove import drop_indexes
from embedstore.store.parts import Part
from embedstore.types import ProgressCallback, null_progress

AUTO, FLAT, COMPRESSED = "auto", "flat", "ivf_pq"

FLAT_NUMBERS = 50_000 * 1024
"""Exact search is fast enough for vectors of so many numbers together: a query goes through them in some 20 ms."""

GROWTH = 4
"""An index is learnt anew once it has so many times the rows that it was learnt for: lists are then twice too long."""

DRIFT = 1.25
"""... or once new rows lose so many times what the sample lost ..."""

DEAD = 0.5
"""... or once so large a share of its rows is gone."""

_MEMORY_SHARE = 0.5
_DRIFT_ROWS = 256


def choose_kind(n_rows: int, dim: int, memory_bytes: int) -> str:
    """The kind for so many vectors: exact while they are few and fit into memory as float32, else compressed."""
    numbers = n_rows * dim
    is_small = n_rows < FEWEST_ROWS or (numbers <= FLAT_NUMBERS and numbers * 4 <= memory_bytes)
    return FLAT if is_small else COMPRESSED


def build_index(
    store: Store,
    *,
    space: str | None = None,
    kind: str = AUTO,
    recall: float = TARGET,
    memory: int | None = None,
    seed: int = 0,
    progress: ProgressCallback = null_progress,
) -> IndexReport:
    """Build an index of a space and keep it in the store, in place of one of the same kind.

    It learns from a sample, takes the vectors block by block, chooses the least effort that is proved to find enough
    of the truth on 500 stored rows, and is committed at the end. Others may search and build meanwhile.

    Parameters
    ----------
    store
        The store.
    space
        Chosen as in `Store.space`.
    kind
        ``ivf_pq``, ``hnsw``, or ``auto``: none where exact search is fast enough, else ``ivf_pq``.
    recall
        Share of the true ten nearest to find, as the lower end of a 95% interval. Where no effort reaches it the
        best is taken, and the record says what was reached.
    memory
        Bytes for the rows of a segment that is being built; larger spaces get several segments. Half of what is free
        by default.
    seed
        Of samples and training.
    progress
        Called with each step, in rows.

    Raises
    ------
    InputError
        If the kind is one of which nothing is kept, there are too few rows, or recall is no share.
    StoreWriteError
        If the store is not writable.
    """
    started = time.monotonic()
    if not 0 < recall <= 1:
        raise InputError(f"recall is {recall}; expected a share above 0 and up to 1, such as 0.99.")
    store.refresh()
    chosen = store.space(space)
    room = _room(memory)
    picked = choose_kind(chosen.n_rows, chosen.dim, room) if kind == AUTO else kind
    if picked == FLAT and kind == AUTO:
        note = f"{chosen.n_rows:,} vectors of {chosen.dim:,} numbers are searched exactly: no index would be faster."
        return IndexReport(space=chosen.id, kind=FLAT, n_rows=chosen.n_rows, notes=[note])
    learnt = train(chosen, picked, seed)
    job = IndexBuilder(store, chosen, picked, learnt, target=recall, seed=seed, room=room, progress=progress)
    return job.finish(unique_rows(chosen), [], index_segments(store.path, chosen.id, picked), started)


def update_index(
    store: Store,
    *,
    space: str | None = None,
    kind: str | None = None,
    recall: float | None = None,
    memory: int | None = None,
    seed: int = 0,
    progress: ProgressCallback = null_progress,
) -> IndexReport:
    """Bring an index up to the space: rows that came later are added, and it is measured again.

    The new rows become a segment of their own, together with the rows of segments that are not at least twice as
    large. What was learnt stays, unless the space has grown to four times the rows, or new rows lose a quarter more
    than the sample did in being compressed, or half of the rows of the index are gone: then it is built anew.

    Parameters
    ----------
    store, space, memory, seed, progress
        As in `build_index`.
    kind
        Which index, where the space has several.
    recall
        What to reach; by default what was aimed at before.

    Raises
    ------
    StoreNotFoundError
        If there is no such index.
    """
    started = time.monotonic()
    store.refresh()
    chosen = store.space(space)
    picked = _one_kind(store, chosen, kind)
    kept = StoredIndex(store, chosen, picked)
    target = float(recall or (kept.details["recall"] or {"target": TARGET})["target"])
    late = kept.uncovered
    why = _why_anew(kept, chosen, late, seed)
    if why:
        report = build_index(
            store, space=chosen.id, kind=picked, recall=target, memory=memory, seed=seed, progress=progress
        )
        report.notes.append(f"It was learnt anew: {why}.")
        return report
    if not len(late) and len(kept.all_parts) == len(kept.parts):
        details = {name: kept.details[name] for name in ("recall", "effort", "parameters")}
        note = "It covers every row already."
        return IndexReport(space=chosen.id, kind=picked, **{**sizes_of(kept.parts), **details}, notes=[note])
    small = _not_twice_as_large(kept.parts, len(late))
    mask = np.zeros(int(chosen.row_starts[-1]), np.bool_)
    mask[late] = True
    stays = []
    for part, segment in zip(kept.parts, kept.segments, strict=True):
        if part.name in small:
            mask[segment.rows[segment.rows != NO_ROW]] = True
        else:
            stays.append((part, segment))
    learnt, room = (kept.trained, kept.learnt), _room(memory)
    job = IndexBuilder(store, chosen, picked, learnt, target=target, seed=seed, room=room, progress=progress)
    gone = [part for part in kept.all_parts if part.name not in {one.name for one, _ in stays}]
    return job.finish(mask, stays, gone, started, n_added=len(late))


def train_index(store: Store, *, space: str | None = None, kind: str = COMPRESSED, seed: int = 0) -> str:
    """Learn what the shards of an index share, and commit it as a segment without rows; returns its id.

    With `add_shard` and `merge_index` this is how many machines build one index: one trains, each adds some of the
    space's parts, one merges.
    """
    store.refresh()
    chosen = store.space(space)
    learnt = train(chosen, kind, seed)
    job = IndexBuilder(store, chosen, kind, learnt, target=TARGET, seed=seed, room=0, progress=null_progress)
    job.commit_shard([])
    return str(learnt[1]["trained"])


def add_shard(
    store: Store, parts: Sequence[str], *, trained: str, space: str | None = None, kind: str = COMPRESSED
) -> str:
    """Add the rows of some parts of a space to an index in the making; returns the name of the segment.

    Parameters
    ----------
    store, space, kind
        Which index.
    parts
        Names of parts of the space. A part that two shards add does no harm.
    trained
        What `train_index` returned.
    """
    store.refresh()
    chosen = store.space(space)
    kept = StoredIndex(store, chosen, kind, trained_id=trained)
    there = {part.name: index for index, part in enumerate(chosen.parts)}
    unknown = sorted(set(parts) - there.keys())
    if unknown:
        raise InputError(f"Space {chosen.id} has no part {unknown[0]!r}. Its parts: {', '.join(sorted(there)[:5])} ….")
    learnt = (kept.trained, kept.learnt)
    job = IndexBuilder(store, chosen, kind, learnt, target=TARGET, seed=0, room=0, progress=null_progress)
    return job.commit_shard(sorted(there[name] for name in parts))


def merge_index(
    store: Store,
    *,
    trained: str,
    space: str | None = None,
    kind: str = COMPRESSED,
    recall: float = TARGET,
    seed: int = 0,
    progress: ProgressCallback = null_progress,
) -> IndexReport:
    """Make one segment of all shards of a training, measure it, and put it in place of any other index of the kind."""
    started = time.monotonic()
    store.refresh()
    chosen = store.space(space)
    kept = StoredIndex(store, chosen, kind, trained_id=trained)
    learnt = (kept.trained, kept.learnt)
    job = IndexBuilder(store, chosen, kind, learnt, target=recall, seed=seed, room=0, progress=progress)
    if not kept.n_live:
        raise InputError(
            f"No shard of training {trained} has rows yet. Add some: add_shard(store, parts, trained=...)."
        )
    return job.merge(kept, started)


def remove_index(store: Store, kind: str | None = None, *, space: str | None = None) -> list[str]:
    """Remove an index of a space, or all of them; returns their kinds. Searches are exact from then on.

    Raises
    ------
    StoreNotFoundError
        If there is none.
    """
    chosen = store.space(space)
    kinds = drop_indexes(store.path, chosen.id, kind)
    if not kinds:
        raise no_index(chosen.id, kind or AUTO, index_kinds(store.path, chosen.id))
    store.refresh()
    return kinds


def _why_anew(kept: StoredIndex, space: Space, late: NDArray[np.int64], seed: int) -> str:
    """Why an index has to be learnt anew; nothing if it has not."""
    n_rows = sum(len(segment.rows) for segment in kept.segments)
    if space.n_rows >= GROWTH * kept.details["n_trained_for"]:
        return f"{space.n_rows:,} rows are {GROWTH} times the {kept.details['n_trained_for']:,} it was learnt for"
    if n_rows - kept.n_live > DEAD * n_rows:
        return f"{n_rows - kept.n_live:,} of its {n_rows:,} rows are gone"
    if len(late) < _DRIFT_ROWS:
        return ""
    lost = kept.trained.distortion(space.take_rows(late[sample_rows(len(late), DISTORTION_ROWS, seed)]))
    known = float(kept.details["distortion"])
    return f"new rows lose {lost:.3g} in it, where the sample lost {known:.3g}" if lost > DRIFT * known else ""


def _not_twice_as_large(parts: Sequence[Part], n_new: int) -> set[str]:
    """Names of the segments that a new one takes in, so that there are at most log2(N): the smallest first."""
    names, total = set(), n_new
    for part in sorted(parts, key=lambda one: one.n_rows):
        if part.n_rows >= 2 * total:
            break
        names.add(part.name)
        total += part.n_rows
    return names


def _one_kind(store: Store, space: Space, kind: str | None) -> str:
    kinds = index_kinds(store.path, space.id)
    if kind is None and len(kinds) > 1:
        raise InputError(f"Space {space.id} has several indexes: {', '.join(kinds)}. Say which (--kind).")
    if kind is None and not kinds:
        raise no_index(space.id, AUTO, kinds)
    return kind or kinds[0]


def _room(memory: int | None) -> int:
    """Bytes that a segment under construction may take."""
    return int(psutil.virtual_memory().available * _MEMORY_SHARE) if memory is None else memory
