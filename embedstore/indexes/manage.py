"""Managing the indexes of a space: build, update and remove one, or build it on several machines."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import psutil
from numpy.typing import NDArray

from embedstore.catalog import suggest_arguments
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
"""An index is trained again once it has so many times the rows it was trained for: its lists are twice too long ..."""

DRIFT = 1.25
"""... or once compression loses so many times more of new rows than of the sample ..."""

DEAD = 0.5
"""... or once so large a share of its rows is gone."""

_MEMORY_SHARE = 0.5
_DRIFT_ROWS = 256


def choose_index_type(n_rows: int, dim: int, memory_bytes: int) -> str:
    """The index type for so many vectors: exact while they are few and fit into memory as float32, else compressed."""
    numbers = n_rows * dim
    is_small = n_rows < FEWEST_ROWS or (numbers <= FLAT_NUMBERS and numbers * 4 <= memory_bytes)
    return FLAT if is_small else COMPRESSED


@suggest_arguments
def build_index(
    store: Store,
    *,
    space: str | None = None,
    index_type: str = AUTO,
    recall: float = TARGET,
    memory: int | None = None,
    seed: int = 0,
    progress: ProgressCallback = null_progress,
) -> IndexReport:
    """Build an index of a space and store it, in place of one of the same type.

    The index is trained on a sample and filled block by block. The least search effort that reaches the recall on 500
    stored rows is chosen, and the index is committed at the end. Others may search and build meanwhile.

    Parameters
    ----------
    store
        The store.
    space
        Chosen as in `Store.space`.
    index_type
        ``ivf_pq``, ``hnsw``, or ``auto``: none where exact search is fast enough, else ``ivf_pq``.
    recall
        Share of the true ten nearest to find, as the lower end of a 95% interval. Where no effort reaches it the
        best is taken, and the record says which recall it has.
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
        If nothing is stored of this index type, there are too few rows, or recall is not in (0, 1].
    StoreWriteError
        If the store is not writable.
    """
    started = time.monotonic()
    if not 0 < recall <= 1:
        raise InputError(f"recall is {recall}; expected a share above 0 and up to 1, such as 0.99.")
    store.refresh()
    opened = store.space(space)
    memory_bytes = _memory_bytes(memory)
    is_auto = index_type == AUTO
    if is_auto:
        index_type = choose_index_type(opened.n_rows, opened.dim, memory_bytes)
    if is_auto and index_type == FLAT:
        note = f"{opened.n_rows:,} vectors of {opened.dim:,} numbers are searched exactly: no index would be faster."
        return IndexReport(space=opened.id, index_type=FLAT, n_rows=opened.n_rows, notes=[note])
    training = train(opened, index_type, seed)
    builder = IndexBuilder(
        store, opened, index_type, training, target=recall, seed=seed, memory_bytes=memory_bytes, progress=progress
    )
    return builder.finish(unique_rows(opened), [], index_segments(store.path, opened.id, index_type), started)


@suggest_arguments
def update_index(
    store: Store,
    *,
    space: str | None = None,
    index_type: str | None = None,
    recall: float | None = None,
    memory: int | None = None,
    seed: int = 0,
    progress: ProgressCallback = null_progress,
) -> IndexReport:
    """Bring an index up to the space: rows that came later are added, and it is measured again.

    The new rows become a segment of their own, together with the rows of segments that are not at least twice as
    large. The training is kept, unless the space has grown to four times the rows, or compression loses a quarter more
    of new rows than of the sample, or half of the rows of the index are gone: then the index is built again.

    Parameters
    ----------
    store, space, memory, seed, progress
        As in `build_index`.
    index_type
        Which index, where the space has several.
    recall
        Recall to reach; by default that of the last build.

    Raises
    ------
    StoreNotFoundError
        If there is no such index.
    """
    started = time.monotonic()
    store.refresh()
    opened = store.space(space)
    index_type = _one_index_type(store, opened, index_type)
    stored = StoredIndex(store, opened, index_type)
    target = float(recall or (stored.details["recall"] or {"target": TARGET})["target"])
    uncovered = stored.uncovered
    reason = _reason_to_rebuild(stored, opened, uncovered, seed)
    if reason:
        report = build_index(
            store, space=opened.id, index_type=index_type, recall=target, memory=memory, seed=seed, progress=progress
        )
        report.notes.append(f"It was trained again: {reason}.")
        return report
    if not len(uncovered) and len(stored.all_parts) == len(stored.parts):
        details = {name: stored.details[name] for name in ("recall", "effort", "parameters")}
        note = "It covers every row already."
        return IndexReport(
            space=opened.id, index_type=index_type, **{**sizes_of(stored.parts), **details}, notes=[note]
        )
    merged = _not_twice_as_large(stored.parts, len(uncovered))
    mask = np.zeros(int(opened.row_starts[-1]), np.bool_)
    mask[uncovered] = True
    retained = []
    for part, segment in zip(stored.parts, stored.segments, strict=True):
        if part.name in merged:
            mask[segment.rows[segment.rows != NO_ROW]] = True
        else:
            retained.append((part, segment))
    training, memory_bytes = (stored.trained, stored.training), _memory_bytes(memory)
    builder = IndexBuilder(
        store, opened, index_type, training, target=target, seed=seed, memory_bytes=memory_bytes, progress=progress
    )
    replaced = [part for part in stored.all_parts if part.name not in {other.name for other, _ in retained}]
    return builder.finish(mask, retained, replaced, started, n_added=len(uncovered))


@suggest_arguments
def train_index(store: Store, *, space: str | None = None, index_type: str = COMPRESSED, seed: int = 0) -> str:
    """Train an index and commit the training as a segment without rows; returns its id.

    With `add_shard` and `merge_index` this is how many machines build one index: one trains, each adds some of the
    space's parts, one merges.
    """
    store.refresh()
    opened = store.space(space)
    training = train(opened, index_type, seed)
    IndexBuilder(store, opened, index_type, training, seed=seed).commit_shard([])
    return str(training[1]["trained"])


@suggest_arguments
def add_shard(
    store: Store, parts: Sequence[str], *, trained: str, space: str | None = None, index_type: str = COMPRESSED
) -> str:
    """Add the rows of some parts of a space to an index in the making; returns the name of the segment.

    Parameters
    ----------
    store, space, index_type
        Which index.
    parts
        Names of parts of the space. A part that two shards add does no harm.
    trained
        What `train_index` returned.
    """
    store.refresh()
    opened = store.space(space)
    stored = StoredIndex(store, opened, index_type, trained_id=trained)
    part_numbers = {part.name: index for index, part in enumerate(opened.parts)}
    unknown = sorted(set(parts) - part_numbers.keys())
    if unknown:
        raise InputError(
            f"Space {opened.id} has no part {unknown[0]!r}. Its parts: {', '.join(sorted(part_numbers)[:5])} …."
        )
    training = (stored.trained, stored.training)
    builder = IndexBuilder(store, opened, index_type, training)
    return builder.commit_shard(sorted(part_numbers[name] for name in parts))


@suggest_arguments
def merge_index(
    store: Store,
    *,
    trained: str,
    space: str | None = None,
    index_type: str = COMPRESSED,
    recall: float = TARGET,
    seed: int = 0,
    progress: ProgressCallback = null_progress,
) -> IndexReport:
    """Make one segment of all shards of a training, measure it, and put it in place of any other index of the type."""
    started = time.monotonic()
    store.refresh()
    opened = store.space(space)
    stored = StoredIndex(store, opened, index_type, trained_id=trained)
    training = (stored.trained, stored.training)
    builder = IndexBuilder(store, opened, index_type, training, target=recall, seed=seed, progress=progress)
    if not stored.n_live:
        raise InputError(
            f"No shard of training {trained} has rows yet. Add some: add_shard(store, parts, trained=...)."
        )
    return builder.merge(stored, started)


@suggest_arguments
def remove_index(store: Store, index_type: str | None = None, *, space: str | None = None) -> list[str]:
    """Remove an index of a space, or all of them; returns their types. Searches are exact from then on.

    Raises
    ------
    StoreNotFoundError
        If there is none.
    """
    opened = store.space(space)
    index_types = drop_indexes(store.path, opened.id, index_type)
    if not index_types:
        raise no_index(opened.id, index_type or AUTO, index_kinds(store.path, opened.id))
    store.refresh()
    return index_types


def _reason_to_rebuild(stored: StoredIndex, space: Space, uncovered: NDArray[np.int64], seed: int) -> str:
    """Why an index has to be trained again; empty if it does not."""
    n_rows = sum(len(segment.rows) for segment in stored.segments)
    if space.n_rows >= GROWTH * stored.details["n_trained_for"]:
        return f"{space.n_rows:,} rows are {GROWTH} times the {stored.details['n_trained_for']:,} it was trained for"
    if n_rows - stored.n_live > DEAD * n_rows:
        return f"{n_rows - stored.n_live:,} of its {n_rows:,} rows are gone"
    if len(uncovered) < _DRIFT_ROWS:
        return ""
    distortion = stored.trained.distortion(
        space.take_rows(uncovered[sample_rows(len(uncovered), DISTORTION_ROWS, seed)])
    )
    trained_distortion = float(stored.details["distortion"])
    return (
        f"new rows lose {distortion:.3g} in it, where the sample lost {trained_distortion:.3g}"
        if distortion > DRIFT * trained_distortion
        else ""
    )


def _not_twice_as_large(parts: Sequence[Part], n_new: int) -> set[str]:
    """Names of the segments to merge into a new one, the smallest first, so that there are at most log2(N)."""
    names, total = set(), n_new
    for part in sorted(parts, key=lambda part: part.n_rows):
        if part.n_rows >= 2 * total:
            break
        names.add(part.name)
        total += part.n_rows
    return names


def _one_index_type(store: Store, space: Space, index_type: str | None) -> str:
    index_types = index_kinds(store.path, space.id)
    if index_type is None and len(index_types) > 1:
        raise InputError(
            f"Space {space.id} has several indexes: {', '.join(index_types)}. Choose one: index_type= (--index-type)."
        )
    if index_type is None and not index_types:
        raise no_index(space.id, AUTO, index_types)
    return index_type or index_types[0]


def _memory_bytes(memory: int | None) -> int:
    """Bytes that a segment under construction may take."""
    return int(psutil.virtual_memory().available * _MEMORY_SHARE) if memory is None else memory
