"""A stored index of a space: which of its rows the space still has, and which rows came after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError, SpaceMismatchError, StoreCorruptError
from embedstore.indexes import INDEXES
from embedstore.indexes.compressed import SearchParams, Segment, TrainedIndex, search_segments
from embedstore.indexes.rerank import NO_ROW
from embedstore.store import Space, Store
from embedstore.store.indexes import index_kinds, index_place, index_segments, no_index, segment_folder
from embedstore.store.layout import PARTS
from embedstore.store.parts import Part, committed_parts, removed_names

BY_KEY = None
"""Stands in the list of what a segment covers where its rows are not those of one part."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenSegment:
    """A segment, what it was trained with, and its rows in the space.

    Attributes
    ----------
    trained, segment
        What searches it.
    rows
        (n,) int64 row of the space that each of its rows stands for; -1 where that is gone, or stands elsewhere.
    """

    trained: TrainedIndex
    segment: Segment
    rows: NDArray[np.int64]

    @cached_property
    def n_live(self) -> int:
        """Rows that count."""
        return int(self.is_live.sum())

    @cached_property
    def is_live(self) -> NDArray[np.bool_]:
        """Which rows count, (n,) bool."""
        live: NDArray[np.bool_] = self.rows != NO_ROW
        return live


def index_class(name: str) -> type[TrainedIndex]:
    """The class that trains an index type that can be stored.

    Raises
    ------
    UnknownNameError
        If there is no such index type.
    InputError
        If nothing is stored of this type.
    """
    trained: type[TrainedIndex] | None = getattr(INDEXES.load(name), "trained", None)
    if trained is None:
        storable = [row.name for row in INDEXES.values() if not row.exact]
        raise InputError(
            f"Nothing is stored of an index of type {name!r}: it reads the vectors themselves. Build one of: "
            f"{', '.join(storable)}."
        )
    return trained


class StoredIndex:
    """The stored index of one type of a space.

    Segments that were trained together form one index; where a build that was killed, or two at once, left more than
    one such group, the one with the most rows counts. What a segment says of a row is its key: parts that were
    compacted, removed or rewritten since are followed by it.

    Parameters
    ----------
    store, space
        What it is of.
    index_type
        Which index.
    trained_id
        Only segments of this training.

    Raises
    ------
    StoreNotFoundError
        If there is no such index.
    SpaceMismatchError
        If it was made for another space, or for another store.
    StoreCorruptError
        If its files are damaged.
    """

    def __init__(self, store: Store, space: Space, index_type: str, *, trained_id: str | None = None) -> None:
        self.index_type = index_type
        self.space = space
        self.all_parts = index_segments(store.path, space.id, index_type)
        for part in self.all_parts:
            _check_made_for(part, space, index_type)
        groups: dict[str, list[Part]] = {}
        for part in self.all_parts:
            if trained_id in (None, part.details["trained"]):
                groups.setdefault(part.details["trained"], []).append(part)
        if not groups:
            raise no_index(space.id, index_type, index_kinds(store.path, space.id))
        self.parts = max(groups.values(), key=lambda group: (sum(part.n_rows for part in group), group[-1].name))
        self.details: dict[str, Any] = self.parts[-1].details
        _check_parts_known(store, space, index_type, self.parts)
        self.trained: TrainedIndex = index_class(index_type).read(segment_folder(self.parts[0]))
        self._live = {part.name: index for index, part in enumerate(space.parts)}
        self._covered = np.zeros(int(space.row_starts[-1]), np.bool_)
        self.segments = [self._open(part) for part in self.parts]

    @property
    def effort(self) -> SearchParams:
        """How hard to look for ten neighbours, as it was chosen when the index was last measured."""
        return SearchParams(**self.details["effort"])

    @property
    def training(self) -> dict[str, Any]:
        """What the records of one training have in common."""
        return {name: self.details[name] for name in ("trained", "n_trained_for", "distortion")}

    @cached_property
    def n_live(self) -> int:
        """Rows of the space that the index knows."""
        return sum(segment.n_live for segment in self.segments)

    @cached_property
    def uncovered(self) -> NDArray[np.int64]:
        """Rows of the space that the index does not know, ascending."""
        rows: NDArray[np.int64] = np.flatnonzero(unique_rows(self.space) & ~self._covered)
        return rows

    def candidates(
        self, unit_queries: NDArray[np.float32], effort: SearchParams, is_allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """Rows of the space near to unit queries (n, D): (n, c) int64, -1 where there is none.

        ``is_allowed`` says for each row of the space whether it counts.
        """
        return segment_candidates(unit_queries, self.segments, effort, is_allowed)

    def _open(self, part: Part) -> OpenSegment:
        opened = self.trained.open(segment_folder(part))
        if opened.n_rows != part.n_rows:
            raise StoreCorruptError(
                f"{part.path} holds {opened.n_rows:,} rows where its record says {part.n_rows:,}. "
                "Build the index again: `embedstore index build`."
            )
        return OpenSegment(trained=self.trained, segment=opened, rows=self._rows_of(part))

    def _rows_of(self, part: Part) -> NDArray[np.int64]:
        """The row of the space for which each row of a segment stands; -1 where another does, or none."""
        row_blocks, start = [np.empty(0, np.int64)], 0
        for cover in part.details["covers"]:
            stop = start + int(cover["rows"])
            index = self._live.get(cover["part"])
            if index is None:
                rows = self.space.find(part.array("digests").read(start, stop))
                rows[~_is_first(rows)] = NO_ROW
            else:
                rows = np.arange(stop - start) + self.space.row_starts[index]
                rows[~self.space.first_of_key(index)] = NO_ROW
            known = rows != NO_ROW
            rows[known] = np.where(self._covered[rows[known]], NO_ROW, rows[known])
            self._covered[rows[rows != NO_ROW]] = True
            row_blocks.append(rows)
            start = stop
        return np.concatenate(row_blocks)


def segment_candidates(
    unit_queries: NDArray[np.float32],
    segments: Sequence[OpenSegment],
    effort: SearchParams,
    is_allowed: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Rows of the space near to unit queries (n, D) in these segments; see `StoredIndex.candidates`."""
    open_segments = [
        (segment.trained, segment.segment, _allowed(segment, is_allowed), segment.rows) for segment in segments
    ]
    return search_segments(unit_queries, open_segments, effort)


def unique_rows(space: Space) -> NDArray[np.bool_]:
    """Whether each row of a space is the first of its key, (n,) bool over all of its rows."""
    return np.concatenate([np.empty(0, np.bool_), *(space.first_of_key(index) for index in range(len(space.parts)))])


def _allowed(segment: OpenSegment, is_allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Which rows of a segment count, (n,) bool; None if all do."""
    if is_allowed is None:
        return None if segment.n_live == len(segment.rows) else segment.is_live
    allowed: NDArray[np.bool_] = segment.is_live & is_allowed[segment.rows]
    return allowed


def _is_first(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    first = np.zeros(len(rows), np.bool_)
    first[np.unique(rows, return_index=True)[1]] = True
    return first


def _check_made_for(part: Part, space: Space, index_type: str) -> None:
    """Raise SpaceMismatchError unless a segment's record names this space and this index type."""
    expected = {"space": space.id, "dim": space.dim, "index_kind": index_type}
    recorded = {name: part.details.get(name) for name in expected}
    if recorded != expected:
        differing = [name for name in expected if expected[name] != recorded[name]]
        differences = ", ".join(f"{name} {recorded[name]!r} instead of {expected[name]!r}" for name in differing)
        raise SpaceMismatchError(
            f"{part.path} is an index of another space or type: {differences}. "
            f"Remove it: `embedstore index rm {index_type}`."
        )


def _check_parts_known(store: Store, space: Space, index_type: str, parts: Sequence[Part]) -> None:
    """Raise SpaceMismatchError if an index covers parts that this store never had: it was copied from another one."""
    assert space.path is not None  # noqa: S101 - it is of a store
    directory = space.path / PARTS
    covered = {cover["part"] for part in parts for cover in part.details["covers"]} - {BY_KEY}
    known = _names(space.parts)
    if not covered <= known:
        # Parts may have come, or have been compacted or removed, since the space was opened.
        known |= _names(committed_parts(directory)) | removed_names(directory)
    unknown = sorted(covered - known)
    if unknown:
        raise SpaceMismatchError(
            f"{store.path / index_place(space.id, index_type)} was made for another store: it covers {len(unknown)} "
            f"parts that this one never had, among them {unknown[0]}. Build it here: "
            f"`embedstore index build --index-type {index_type}`."
        )


def _names(parts: Sequence[Part]) -> set[str]:
    return {name for part in parts for name in [part.name, *part.details["replaces"]]}
