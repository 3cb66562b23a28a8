"""Building segments of an index: encode rows within memory, measure recall, commit, report."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.indexes import FlatIndex
from embedstore.indexes.base import unit_rows
from embedstore.indexes.compressed import (
    FEWEST_ROWS,
    TUNED_K,
    SearchParams,
    SegmentBuilder,
    TrainedIndex,
    sample_rows,
    sample_size,
)
from embedstore.indexes.rerank import drop_key
from embedstore.indexes.stored_index import (
    BY_KEY,
    OpenSegment,
    StoredIndex,
    index_class,
    segment_candidates,
    unique_rows,
)
from embedstore.indexes.tuning import SAMPLE, TARGET, Recall, tune
from embedstore.store import Space, Store
from embedstore.store.indexes import SegmentWriter, segment_folder
from embedstore.store.layout import translate_write_errors
from embedstore.store.locks import SharedStoreLock
from embedstore.store.maintenance.merge_parts import replaced_parts
from embedstore.store.maintenance.part_checks import file_hash
from embedstore.store.parts import Part
from embedstore.types import DIGEST_BYTES, Digests, Progress, ProgressCallback, null_progress

DISTORTION_ROWS = 2048
"""Rows on which the loss by compression is measured."""

_BLOCK = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What was built.

    Attributes
    ----------
    space, index_type
        Which index; of type ``flat`` nothing is built or stored.
    n_rows, n_added, n_segments, n_bytes
        Rows of the index, those of them that are new, its segments and the bytes of their files.
    recall
        Share of the true ten nearest that is found, with its lower bound; None where nothing was measured.
    effort
        Lists searched and candidates scored, for ten neighbours.
    parameters
        Parameters of the index type.
    retrained
        Whether it was trained again.
    seconds
        How long it took.
    notes
        Sentences for a person.
    """

    space: str
    index_type: str
    n_rows: int
    n_added: int = 0
    n_segments: int = 0
    n_bytes: int = 0
    recall: dict[str, Any] | None = None
    effort: dict[str, int] | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    retrained: bool = False
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return asdict(self)


class IndexBuilder:
    """New segments of one training.

    Parameters
    ----------
    store, space, index_type
        Which index.
    training
        What `train` returned, or what a stored index was trained with.
    target
        Recall to reach.
    seed
        Of the sample on which it is measured.
    memory_bytes
        Bytes for the rows of a segment.
    progress
        Called with each step, in rows.
    """

    def __init__(
        self,
        store: Store,
        space: Space,
        index_type: str,
        training: tuple[TrainedIndex, dict[str, Any]],
        *,
        target: float = TARGET,
        seed: int = 0,
        memory_bytes: int = 0,
        progress: ProgressCallback = null_progress,
    ) -> None:
        self._store = store
        self._space = space
        self._index_type = index_type
        self._trained, self._training = training
        self._target = target
        self._seed = seed
        self._memory_bytes = memory_bytes
        self._progress = progress

    def finish(
        self,
        mask: NDArray[np.bool_],
        retained: Sequence[tuple[Part, OpenSegment]],
        replaced: Sequence[Part],
        started: float,
        *,
        n_added: int | None = None,
    ) -> IndexReport:
        """Make segments of the rows in a mask, measure them together with the retained ones, commit, and report."""
        with _store_lock(self._store), tempfile.TemporaryDirectory(prefix="embedstore-") as scratch:
            segments = self._encode(mask, Path(scratch))
            opened = [segment for _, segment in retained] + [self._open(segment) for segment in segments]
            effort, recall = self._measure(opened)
            seconds = time.monotonic() - started
            measurements = {"recall": recall.to_dict(), "effort": effort.to_dict(), "build_seconds": round(seconds, 3)}
            parts = [part for part, _ in retained]
            for number, segment in enumerate(segments, start=1):
                # The old ones stay until the last of the new ones is committed.
                names = replaced_parts(replaced) if number == len(segments) else []
                parts.append(self._commit(segment, measurements, names))
        self._store.refresh()
        return self._report(parts, measurements, n_added=n_added, seconds=seconds)

    def merge(self, stored: StoredIndex, started: float) -> IndexReport:
        """Make one segment of all segments of an index."""
        with _store_lock(self._store), tempfile.TemporaryDirectory(prefix="embedstore-") as scratch:
            builder = self._trained.builder()
            # A row that two shards added counts in the first of them.
            pairs = [pair for pair in zip(stored.parts, stored.segments, strict=True) if pair[1].n_live]
            for part, _ in pairs:
                builder.merge(segment_folder(part))
            covers = [cover for part, _ in pairs for cover in part.details["covers"]]
            digests = np.concatenate([part.array("digests").read() for part, _ in pairs])
            merged = _NewSegment(_write_segment(builder, Path(scratch) / "merged"), digests, covers)
            rows = np.concatenate([segment.rows for _, segment in pairs])
            opened = OpenSegment(trained=self._trained, segment=self._trained.open(merged.folder), rows=rows)
            effort, recall = self._measure([opened])
            seconds = time.monotonic() - started
            measurements = {"recall": recall.to_dict(), "effort": effort.to_dict(), "build_seconds": round(seconds, 3)}
            part = self._commit(merged, measurements, replaced_parts(stored.all_parts))
        self._store.refresh()
        return self._report([part], measurements, n_added=0, seconds=seconds)

    def commit_shard(self, parts: Sequence[int]) -> str:
        """Commit a segment of whole parts of the space, by their index, that is not measured; returns its name."""
        mask = np.zeros(int(self._space.row_starts[-1]), np.bool_)
        first = unique_rows(self._space)
        for index in parts:
            stretch = slice(int(self._space.row_starts[index]), int(self._space.row_starts[index + 1]))
            mask[stretch] = first[stretch]
        effort = self._trained.usual(self._training["n_trained_for"])
        with _store_lock(self._store), tempfile.TemporaryDirectory(prefix="embedstore-") as scratch:
            (segment,) = self._encode(mask, Path(scratch), in_one=True)
            measurements = {"recall": None, "effort": effort.to_dict(), "build_seconds": None}
            return self._commit(segment, measurements, []).name

    def _encode(self, mask: NDArray[np.bool_], scratch: Path, *, in_one: bool = False) -> list[_NewSegment]:
        """Segments of the rows that a mask chooses, in folders; at least one."""
        space, total, done = self._space, int(mask.sum()), 0
        max_rows = total if in_one else max(FEWEST_ROWS, self._memory_bytes // self._trained.row_bytes)
        segments: list[_NewSegment] = []
        builder, n_rows = self._trained.builder(), 0
        covers: list[dict[str, Any]] = []
        digests = [np.empty((0, DIGEST_BYTES), np.uint8)]
        for index, part in enumerate(space.parts):
            start = int(space.row_starts[index])
            is_chosen = mask[start : int(space.row_starts[index + 1])]
            rows = np.flatnonzero(is_chosen) + start
            if n_rows and n_rows + len(rows) > max_rows:
                segments.append(
                    _NewSegment(_write_segment(builder, scratch / str(len(segments))), np.concatenate(digests), covers)
                )
                builder, covers, digests, n_rows = self._trained.builder(), [], digests[:1], 0
            if not len(rows):
                continue
            for block in range(0, len(rows), _BLOCK):
                block_rows = rows[block : block + _BLOCK]
                builder.add(space.take_rows(block_rows))
                digests.append(space.keys_of_rows(block_rows))
                done += len(block_rows)
                self._progress(Progress(stage="add", done=done, total=total, unit="records"))
            covers.append({"part": part.name if is_chosen.all() else BY_KEY, "rows": len(rows)})
            n_rows += len(rows)
        segments.append(
            _NewSegment(_write_segment(builder, scratch / str(len(segments))), np.concatenate(digests), covers)
        )
        return segments

    def _open(self, segment: _NewSegment) -> OpenSegment:
        rows = self._space.find(segment.digests)
        return OpenSegment(trained=self._trained, segment=self._trained.open(segment.folder), rows=rows)

    def _measure(self, segments: Sequence[OpenSegment]) -> tuple[SearchParams, Recall]:
        """The effort to use and its recall, measured on stored rows that do not count themselves."""
        space = self._space
        live = np.flatnonzero(unique_rows(space))
        rows = live[sample_rows(len(live), SAMPLE, self._seed + 1)]
        queries, keys = space.take_rows(rows), space.keys_of_rows(rows)
        self._progress(Progress(stage="measure", done=0, total=len(rows), unit="records"))
        flat = FlatIndex(space.blocks, n_rows=space.n_rows, dim=space.dim, memory_bytes=0)
        nearest = drop_key(flat.search(queries, TUNED_K + 1), keys, min(TUNED_K, max(1, len(live) - 1)))
        truth = space.find(nearest.digests.reshape(-1, DIGEST_BYTES)).reshape(nearest.scores.shape)
        unit_queries = unit_rows(queries)
        efforts = self._trained.efforts(len(live))
        effort, recall = tune(
            efforts, lambda effort: segment_candidates(unit_queries, segments, effort), truth, self._target
        )
        self._progress(Progress(stage="measure", done=len(rows), total=len(rows), unit="records"))
        return effort, recall

    def _commit(self, segment: _NewSegment, measurements: dict[str, Any], replaces: Sequence[str]) -> Part:
        details = {
            "space": self._space.id,
            "dim": self._space.dim,
            "index_kind": self._index_type,
            "covers": segment.covers,
            "mapped": list(self._trained.mapped),
            "parameters": self._trained.parameters(),
            "seed": self._seed,
            **self._training,
            **measurements,
        }
        with SegmentWriter(self._store.path, self._space.id, self._index_type) as writer:
            writer.take(segment.folder, segment.digests, details, replaces=replaces)
        return Part(writer.path)

    def _report(
        self, parts: Sequence[Part], measurements: dict[str, Any], *, n_added: int | None, seconds: float
    ) -> IndexReport:
        sizes = sizes_of(parts)
        recall, notes = measurements["recall"], []
        if not recall["reached"]:
            notes.append(
                f"A recall of {recall['target']} was not reached: it is {recall['value']:.4f}, at least "
                f"{recall['low']:.4f}."
            )
        return IndexReport(
            space=self._space.id,
            index_type=self._index_type,
            **sizes,
            n_added=sizes["n_rows"] if n_added is None else n_added,
            recall=recall,
            effort=measurements["effort"],
            parameters=self._trained.parameters(),
            retrained=n_added is None,
            seconds=round(seconds, 3),
            notes=notes,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _NewSegment:
    """A segment that is not committed: its files, the keys (n, 24) of its rows, and what it covers."""

    folder: Path
    digests: Digests
    covers: list[dict[str, Any]]


def _write_segment(builder: SegmentBuilder, folder: Path) -> Path:
    folder.mkdir()
    builder.write(folder)
    return folder


@contextlib.contextmanager
def _store_lock(store: Store) -> Iterator[None]:
    """Keep the parts that are read from being removed meanwhile."""
    with translate_write_errors(store.path):
        work = SharedStoreLock(store.path)
    try:
        yield
    finally:
        work.release()


def train(space: Space, index_type: str, seed: int) -> tuple[TrainedIndex, dict[str, Any]]:
    """Train an index type on a sample of a space; returns it with what its commit records say of the training."""
    trained_class = index_class(index_type)
    live = np.flatnonzero(unique_rows(space))
    if len(live) < FEWEST_ROWS:
        raise InputError(
            f"Space {space.id} has {len(live):,} vectors; an index needs {FEWEST_ROWS:,} or more. Search them "
            "exactly: --index flat."
        )
    sample = space.take_rows(live[sample_rows(len(live), sample_size(len(live)), seed)])
    trained = trained_class.train(sample, n_rows=len(live), seed=seed)
    with tempfile.TemporaryDirectory(prefix="embedstore-") as folder:
        trained.write(Path(folder))
        hashes = [file_hash(file) for file in sorted(Path(folder).iterdir())]
    return trained, {
        "trained": xxhash.xxh3_128_hexdigest("".join(hashes).encode()),
        "n_trained_for": len(live),
        "distortion": trained.distortion(sample[sample_rows(len(sample), DISTORTION_ROWS, seed)]),
    }


def sizes_of(parts: Sequence[Part]) -> dict[str, int]:
    """Rows, segments and bytes of an index."""
    return {
        "n_rows": sum(part.n_rows for part in parts),
        "n_segments": len(parts),
        "n_bytes": sum(part.n_bytes for part in parts),
    }
