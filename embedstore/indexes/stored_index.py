"""A kept index against the space as it is now: which of its rows still count, and which rows came after it."""

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
    """What trains a kind of index that can be kept.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    InputError
        If it is one of which nothing is kept.
    """
    trained: type[TrainedIndex] | None = getattr(INDEXES.load(name), "trained", None)
    if trained is None:
        kept = [row.name for row in INDEXES.values() if not row.exact]
        raise InputError(
            f"Nothing is kept of an index of kind {name!r}: it reads the vectors themselves. Build one of: "
            f"{', '.join(kept)}."
        )
    return trained


class StoredIndex:
    """The index of a kind of a space.

    Segments that were trained together form one index; where a build that was killed, or two at once, left more than
    one such group, the one with the most rows counts. What a segment says of a row is its key: parts that were
    compacted, removed or rewritten since are followed by it.

    Parameters
    ----------
    store, space
        What it is of.
    kind
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
        If its files are hurt.
    """

    def __init__(self, store: Store, space: Space, kind: str, *, trained_id: str | None = None) -> None:
        self.kind = kind
        self.space = space
        self.all_parts = index_segments(store.path, space.id, kind)
        for part in self.all_parts:
            _check_made_for(part, space, kind)
        groups: dict[str, list[Part]] = {}
        for part in self.all_parts:
            if trained_id in (None, part.details["trained"]):
                groups.setdefault(part.details["trained"], []).append(part)
        if not groups:
            raise no_index(space.id, kind, index_kinds(store.path, space.id))
        self.parts = max(groups.values(), key=lambda group: (sum(part.n_rows for part in group), group[-1].name))
        self.details: dict[str, Any] = self.parts[-1].details
        _check_parts_known(store, space, kind, self.parts)
        self.trained: TrainedIndex = index_class(kind).read(segment_folder(self.parts[0]))
        self._live = {part.name: index for index, part in enumerate(space.parts)}
        self._claimed = np.zeros(int(space.row_starts[-1]), np.bool_)
        self.segments = [self._open(part) for part in self.parts]

    @property
    def effort(self) -> SearchParams:
        """How hard to look for ten neighbours, as it was chosen when the index was last measured."""
        return SearchParams(**self.details["effort"])

    @property
    def learnt(self) -> dict[str, Any]:
        """What the records of one training have in common."""
        return {name: self.details[name] for name in ("trained", "n_trained_for", "distortion")}

    @cached_property
    def n_live(self) -> int:
        """Rows of the space that the index knows."""
        return sum(segment.n_live for segment in self.segments)

    @cached_property
    def uncovered(self) -> NDArray[np.int64]:
        """Rows of the space that the index does not know, ascending."""
        rows: NDArray[np.int64] = np.flatnonzero(unique_rows(self.space) & ~self._claimed)
        return rows

    def candidates(
        self, asked: NDArray[np.float32], effort: SearchParams, chosen: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """Rows of the space near to unit queries (n, D): (n, c) int64, -1 where there is none.

        ``chosen`` says for each row of the space whether it counts.
        """
        return candidates_of(asked, self.segments, effort, chosen)

    def _open(self, part: Part) -> OpenSegment:
        opened = self.trained.open(segment_folder(part))
        if opened.n_rows != part.n_rows:
            raise StoreCorruptError(
                f"{part.path} holds {opened.n_rows:,} rows where its record promises {part.n_rows:,}. "
                "Build the index again: `embedstore index build`."
            )
        return OpenSegment(trained=self.trained, segment=opened, rows=self._rows_of(part))

    def _rows_of(self, part: Part) -> NDArray[np.int64]:
        """The row of the space for which each row of a segment stands; -1 where another does, or none."""
        found, start = [np.empty(0, np.int64)], 0
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
            rows[known] = np.where(self._claimed[rows[known]], NO_ROW, rows[known])
            self._claimed[rows[rows != NO_ROW]] = True
            found.append(rows)
            start = stop
        return np.concatenate(found)


def candidates_of(
    asked: NDArray[np.float32],
    segments: Sequence[OpenSegment],
    effort: SearchParams,
    chosen: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Rows of the space near to unit queries (n, D) in these segments; see `KeptIndex.candidates`."""
    searched = [(segment.trained, segment.segment, _allowed(segment, chosen), segment.rows) for segment in segments]
    return search_segments(asked, searched, effort)


def unique_rows(space: Space) -> NDArray[np.bool_]:
    """Whether each row of a space is the first of its key, (n,) bool over all of its rows."""
    return np.concatenate([np.empty(0, np.bool_), *(space.first_of_key(index) for index in range(len(space.parts)))])


def _allowed(segment: OpenSegment, chosen: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Which rows of a segment count, (n,) bool; None if all do."""
    if chosen is None:
        return None if segment.n_live == len(segment.rows) else segment.is_live
    allowed: NDArray[np.bool_] = segment.is_live & chosen[segment.rows]
    return allowed


def _is_first(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    first = np.zeros(len(rows), np.bool_)
    first[np.unique(rows, return_index=True)[1]] = True
    return first


def _check_made_for(part: Part, space: Space, kind: str) -> None:
    """Raise SpaceMismatchError unless a segment's record names this space and this kind."""
    ours = {"space": space.id, "dim": space.dim, "index_kind": kind}
    theirs = {name: part.details.get(name) for name in ours}
    if theirs != ours:
        differing = [name for name in ours if ours[name] != theirs[name]]
        told = ", ".join(f"{name} {theirs[name]!r} instead of {ours[name]!r}" for name in differing)
        raise SpaceMismatchError(
            f"{part.path} is an index of something else: {told}. Remove it: `embedstore index rm {kind}`."
        )


def _check_parts_known(store: Store, space: Space, kind: str, parts: Sequence[Part]) -> None:
    """Raise SpaceMismatchError if an index covers parts that this store never had: it was copied from another one."""
    assert space.path is not None  # noqa: S101 - it is of a store
    home = space.path / PARTS
    covered = {cover["part"] for part in parts for cover in part.details["covers"]} - {BY_KEY}
    known = _names(space.parts)
    if not covered <= known:
        # Parts may have come, or have been compacted or removed, since the space was opened.
        known |= _names(committed_parts(home)) | removed_names(home)
    strange = sorted(covered - known)
    if strange:
        raise SpaceMismatchError(
            f"{store.path / index_place(space.id, kind)} was made for another store: it covers {len(strange)} parts "
            f"that this one never had, among them {strange[0]}. Build it here: `embedstore index build --kind {kind}`."
        )


def _names(parts: Sequence[Part]) -> set[str]:
    return {name for part in parts for name in [part.name, *part.details["replaces"]]}
