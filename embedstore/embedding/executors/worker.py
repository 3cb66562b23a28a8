"""A worker: reads the sequences of a unit, embeds them, writes parts, and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedstore.embedding.embedder import RETRYABLE_ERRORS, Embedder, Outputs, is_storable
from embedstore.embedding.planner import Batch, WorkUnit
from embedstore.embedding.threads import BackgroundWriter, WorkerPool, prefetch
from embedstore.errors import EmbedstoreError, StoreCorruptError, StoreError
from embedstore.sequences import digest, key_text
from embedstore.store import ResidueSpace, Space, Store
from embedstore.store.space_writer import SpaceWriter
from embedstore.store.spaces import FLAG_TRUNCATED, FLAG_UNKNOWN_RESIDUE, FLAG_WINDOWED
from embedstore.types import Vectors


@dataclass(slots=True, kw_only=True)
class BuildCounters:
    """Counts of a build, to be added up, and for each space the reason by key of each skipped sequence.

    ``n_done`` counts residues of finished sequences, embedded or skipped; the others as in `BuildReport`.
    """

    n_done: int = 0
    n_unknown_residues: int = 0
    n_halved_batches: int = 0
    n_recomputed: int = 0
    n_windowed: int = 0
    n_truncated: int = 0
    seconds_model: float = 0.0
    padded_share: float = 0.0
    skipped: list[dict[bytes, str]] = field(default_factory=list)

    def add(self, other: BuildCounters) -> None:
        """Count what another worker, or another batch, has done."""
        for name in ("n_done", "n_unknown_residues", "n_halved_batches", "n_recomputed", "n_windowed", "n_truncated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seconds_model += other.seconds_model
        self.padded_share = other.padded_share
        for mine, theirs in zip(self.skipped, other.skipped, strict=True):
            mine.update(theirs)


_BatchSequences: TypeAlias = tuple[Batch, list[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """Outputs of a batch that one thread computed, and its share of the seconds of all threads."""

    outputs: Outputs
    n_recomputed: int
    seconds_model: float


class Worker:
    """Embeds units and writes the vectors; a context manager whose end commits what is still waiting.

    Reading is a batch ahead of the model and writing behind it, each in a thread of its own; on a CPU several batches
    are computed at once.

    Parameters
    ----------
    store
        The store.
    embedder
        The model with its poolings.
    spaces
        Where to write, one for each pooling of the embedder, in its order.
    """

    def __init__(self, store: Store, embedder: Embedder, spaces: Sequence[Space | ResidueSpace]) -> None:
        self._store = store
        self._embedder = embedder
        self._model = embedder.model
        self._writers = [SpaceWriter(space) for space in spaces]
        self._open = ExitStack()
        self._too_large: int | None = None
        self._moved = False
        self._counters = self._new_counters()

    def __enter__(self) -> Worker:
        # Each is ended whatever becomes of the others: after a full disk, none may leave a part lying that fills it.
        with ExitStack() as stack:
            for writer in reversed(self._writers):
                stack.enter_context(writer)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def run(self, unit: WorkUnit, count: Callable[[BuildCounters], None]) -> None:
        """Embed a unit; ``done`` gets what each batch adds to the count."""
        recomputed, seconds = self._model.n_recomputed, self._embedder.seconds_model
        with (
            BackgroundWriter() as writer,
            closing(prefetch(self._batches(unit))) as batches,  # type: ignore[type-var]
            self._compute(batches, min(self._model.n_parallel, unit.n_planned)) as results,
        ):
            for (batch, sequences), result in results:
                if result is None:
                    self._embed_batch(batch, sequences, writer)
                else:
                    self._counters.seconds_model = result.seconds_model
                    self._counters.n_recomputed = result.n_recomputed
                    self._store_outputs(batch, sequences, result.outputs, writer)
                counters, self._counters = self._counters, self._new_counters()
                counters.n_done = int(batch.lengths.sum())
                counters.n_recomputed += self._model.n_recomputed - recomputed
                counters.seconds_model += self._embedder.seconds_model - seconds
                counters.padded_share = 1 - float(batch.lengths.mean() / batch.lengths.max())
                recomputed, seconds = self._model.n_recomputed, self._embedder.seconds_model
                count(counters)

    @contextmanager
    def _compute(
        self, batches: Iterator[_BatchSequences], n_parallel: int
    ) -> Iterator[Iterator[tuple[_BatchSequences, _Result | None]]]:
        """The batches with their results from parallel threads; None for those that need more than one plain pass."""
        if n_parallel == 1:
            yield ((batch, None) for batch in batches)
            return
        with (
            self._embedder.parallel(n_parallel) as make_copy,
            WorkerPool(lambda: partial(self._embed_plain, make_copy(), n_parallel), n_parallel) as pool,
        ):
            yield self._in_order(pool, batches)

    def _embed_plain(self, embedder: Embedder, n_parallel: int, item: _BatchSequences) -> _Result | None:
        """One pass in a thread; None where `_embed_batch` does more than that."""
        batch, sequences = item
        is_alone = len(batch) == 1 and embedder.exceeds_limit(len(sequences[0]))
        if is_alone or (self._too_large is not None and _padded(batch) >= self._too_large):
            return None
        recomputed, seconds = embedder.model.n_recomputed, embedder.seconds_model
        return _Result(
            outputs=embedder.embed(sequences),
            n_recomputed=embedder.model.n_recomputed - recomputed,
            seconds_model=(embedder.seconds_model - seconds) / n_parallel,
        )

    @staticmethod
    def _in_order(
        pool: WorkerPool[_BatchSequences, _Result | None], batches: Iterator[_BatchSequences]
    ) -> Iterator[tuple[_BatchSequences, _Result | None]]:
        """Results in order; a batch that failed or was left is yielded once no other call uses the memory."""
        for task in pool.map(batches):
            if task.error is not None and not isinstance(task.error, RETRYABLE_ERRORS):
                raise task.error
            if task.result is None:
                pool.drain()
            yield task.item, task.result

    def _new_counters(self) -> BuildCounters:
        return BuildCounters(skipped=[{} for _ in self._writers])

    def _batches(self, unit: WorkUnit) -> Iterator[_BatchSequences]:
        """The batches of a unit with their sequences, those of long proteins one by one."""
        for rows in unit.batches:
            batch = unit.keys.rows(rows)
            sequences = self._read(batch)
            long = np.array([self._embedder.exceeds_limit(length) for length in batch.lengths.tolist()])
            for row in np.flatnonzero(long):
                yield batch.rows(np.array([row])), [sequences[row]]
            if not long.all():
                yield batch.rows(~long), [sequences[row] for row in np.flatnonzero(~long)]

    def _read(self, batch: Batch) -> list[bytes]:
        """The sequences of a batch, by where they stood when the work was planned, or else by their keys."""
        try:
            return self._read_checked(batch)
        except (StoreError, OSError, IndexError):
            # Parts were compacted and removed since, or one came in between that shifts the numbers of the others.
            self._store.refresh()
            self._moved = True
        return self._read_checked(batch)

    def _read_checked(self, batch: Batch) -> list[bytes]:
        """The sequences of a batch, each checked against its key: a damaged store must not give a wrong vector."""
        table = self._store.sequences
        sequences = table.take(batch.digests) if self._moved else table.read(batch.parts, batch.starts, batch.lengths)
        for key, sequence in zip(batch.digests, sequences, strict=True):
            if digest(sequence) != key.tobytes():
                raise StoreCorruptError(
                    f"The stored sequence of {key_text(key.tobytes())} was changed. "
                    "Run `embedstore verify` to see which file is damaged."
                )
        return sequences

    def _embed_batch(self, batch: Batch, sequences: list[bytes], writer: BackgroundWriter) -> None:
        """Embed a batch; one that fails is run in two halves, down to the sequence that cannot be embedded."""
        long = self._embedder.long
        if len(batch) == 1 and self._embedder.exceeds_limit(len(sequences[0])) and long.kind in ("skip", "error"):
            self._skip(batch, f"{len(sequences[0]):,} residues; {self._model.name} takes at most {long.limit:,}")
            return
        if len(batch) > 1 and self._too_large is not None and _padded(batch) >= self._too_large:
            self._embed_halves(batch, sequences, writer)
            return
        failure: EmbedstoreError | None = None
        halved = self._embedder.n_halved
        try:
            outputs = self._embedder.embed(sequences)
        except RETRYABLE_ERRORS as error:
            failure = error
        self._counters.n_halved_batches += self._embedder.n_halved - halved
        if failure is None:
            self._store_outputs(batch, sequences, outputs, writer)
        elif len(batch) == 1:
            self._skip(batch, f"{failure.kind} with {batch.lengths[0]:,} residues alone: {failure}")
        else:
            self._counters.n_halved_batches += 1
            if isinstance(failure, MemoryError):
                # What comes next is not tried in a size that did not fit.
                self._too_large = _padded(batch)
            self._embed_halves(batch, sequences, writer)

    def _embed_halves(self, batch: Batch, sequences: list[bytes], writer: BackgroundWriter) -> None:
        for half in np.array_split(np.arange(len(batch)), 2):
            self._embed_batch(batch.rows(half), [sequences[row] for row in half.tolist()], writer)

    def _store_outputs(self, batch: Batch, sequences: list[bytes], outputs: Outputs, writer: BackgroundWriter) -> None:
        """Count the outputs and hand them to the writer."""
        letters = self._model.unknown_letters
        n_unknown = np.array([len(text) - len(text.translate(None, letters)) for text in sequences])
        flags = np.where(n_unknown > 0, FLAG_UNKNOWN_RESIDUE, 0).astype(np.uint8)
        lengths, long = batch.lengths, self._embedder.long
        if long.limit is not None and lengths.max() > long.limit:
            is_long = lengths > long.limit
            if long.kind == "truncate":
                flags[is_long] |= FLAG_TRUNCATED
                lengths = np.minimum(lengths, long.limit)
                self._counters.n_truncated += int(is_long.sum())
            else:
                flags[is_long] |= FLAG_WINDOWED
                self._counters.n_windowed += int(is_long.sum())
        self._counters.n_unknown_residues += int(n_unknown.sum())
        for number, (space_writer, name) in enumerate(zip(self._writers, self._embedder.poolings, strict=True)):
            values = outputs[name]
            valid = batch.missing[number] & self._storable_rows(batch, number, values, space_writer.space.dtype.name)
            if valid.any():
                stored: Vectors | list[Vectors]
                if isinstance(values, list):
                    stored = [values[row] for row in np.flatnonzero(valid)]
                else:
                    # A copy, since a model may use its array again, and small, since several may wait.
                    stored = (values if valid.all() else values[valid]).astype(space_writer.space.dtype)
                writer.submit(partial(space_writer.append, batch.digests[valid], stored, lengths[valid], flags[valid]))

    def _storable_rows(
        self, batch: Batch, number: int, values: Vectors | list[Vectors], dtype: str
    ) -> NDArray[np.bool_]:
        if isinstance(values, list):
            # A matrix is stored whole or not at all: one bad residue keeps all of it out.
            valid = np.array([bool(is_storable(matrix, dtype).all()) for matrix in values])
        else:
            valid = is_storable(values, dtype)
        for row in np.flatnonzero(~valid & batch.missing[number]):
            largest = np.abs(values[row]).max()
            reason = f"its vector is not finite, is zero, or exceeds {dtype} (largest {largest:g})"
            self._counters.skipped[number][batch.digests[row].tobytes()] = reason
        return valid

    def _skip(self, batch: Batch, reason: str) -> None:
        """Record the only protein of a batch as skipped, in every space that lacks it."""
        for number in np.flatnonzero(batch.missing[:, 0]).tolist():
            self._counters.skipped[number][batch.digests[0].tobytes()] = reason


def _padded(batch: Batch) -> int:
    return len(batch) * int(batch.lengths.max())
