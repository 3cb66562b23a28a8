"""A worker: reads the sequences of a unit, runs them through a model, writes parts, and keeps count."""

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
    """What was done: counts to be added up, and for each space the reason by key of what got nothing.

    ``n_done`` counts residues that were seen to, embedded or not; the others as in `BuildReport`.
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


_Read: TypeAlias = tuple[Batch, list[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What one lane made of a batch, and its part of the seconds that all lanes took together."""

    outputs: Outputs
    n_recomputed: int
    seconds_model: float


class Worker:
    """Runs units and writes what comes out; use it as a context, whose end commits what is waiting.

    Reading is a batch ahead of the model and writing behind it, each in a thread of its own; on a CPU several batches
    are computed at once.

    Parameters
    ----------
    store
        The store.
    embedder
        The model with what is wanted of it.
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
        self._tally = self._new_tally()

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

    def run(self, unit: WorkUnit, done: Callable[[BuildCounters], None]) -> None:
        """Embed a unit; ``done`` gets what each batch adds to the count."""
        recomputed, seconds = self._model.n_recomputed, self._embedder.seconds_model
        with (
            BackgroundWriter() as behind,
            closing(prefetch(self._batches(unit))) as read,  # type: ignore[type-var]
            self._computed(read, min(self._model.n_lanes, unit.n_planned)) as computed,
        ):
            for (batch, sequences), made in computed:
                if made is None:
                    self._embed(batch, sequences, behind)
                else:
                    self._tally.seconds_model = made.seconds_model
                    self._tally.n_recomputed = made.n_recomputed
                    self._take(batch, sequences, made.outputs, behind)
                tally, self._tally = self._tally, self._new_tally()
                tally.n_done = int(batch.lengths.sum())
                tally.n_recomputed += self._model.n_recomputed - recomputed
                tally.seconds_model += self._embedder.seconds_model - seconds
                tally.padded_share = 1 - float(batch.lengths.mean() / batch.lengths.max())
                recomputed, seconds = self._model.n_recomputed, self._embedder.seconds_model
                done(tally)

    @contextmanager
    def _computed(self, read: Iterator[_Read], n_lanes: int) -> Iterator[Iterator[tuple[_Read, _Made | None]]]:
        """The batches with what ``n_lanes`` threads made of them; None for what takes more than one plain pass."""
        if n_lanes == 1:
            yield ((one, None) for one in read)
            return
        with (
            self._embedder.lanes(n_lanes) as lane,
            WorkerPool(lambda: partial(self._plain, lane(), n_lanes), n_lanes) as lanes,
        ):
            yield self._settled(lanes, read)

    def _plain(self, embedder: Embedder, n_lanes: int, read: _Read) -> _Made | None:
        """One pass in a lane; None where `_embed` would do something else than that."""
        batch, sequences = read
        alone = len(batch) == 1 and embedder.goes_alone(len(sequences[0]))
        if alone or (self._too_large is not None and _padded(batch) >= self._too_large):
            return None
        recomputed, seconds = embedder.model.n_recomputed, embedder.seconds_model
        return _Made(
            outputs=embedder.embed(sequences),
            n_recomputed=embedder.model.n_recomputed - recomputed,
            seconds_model=(embedder.seconds_model - seconds) / n_lanes,
        )

    @staticmethod
    def _settled(lanes: WorkerPool[_Read, _Made | None], read: Iterator[_Read]) -> Iterator[tuple[_Read, _Made | None]]:
        """What lanes made; what failed, or was left, is given out when nothing else uses the memory."""
        for attempt in lanes.map(read):
            if attempt.error is not None and not isinstance(attempt.error, RETRYABLE_ERRORS):
                raise attempt.error
            if attempt.result is None:
                lanes.settle()
            yield attempt.item, attempt.result

    def _new_tally(self) -> BuildCounters:
        return BuildCounters(skipped=[{} for _ in self._writers])

    def _batches(self, unit: WorkUnit) -> Iterator[_Read]:
        """The batches of a unit with their sequences, those of long proteins one by one."""
        for rows in unit.batches:
            batch = unit.keys.rows(rows)
            sequences = self._read(batch)
            long = np.array([self._embedder.goes_alone(length) for length in batch.lengths.tolist()])
            for row in np.flatnonzero(long):
                yield batch.rows(np.array([row])), [sequences[row]]
            if not long.all():
                yield batch.rows(~long), [sequences[row] for row in np.flatnonzero(~long)]

    def _read(self, batch: Batch) -> list[bytes]:
        """The sequences of a batch, by where they stood when the work was planned, or else by their keys."""
        try:
            return self._proved(batch)
        except (StoreError, OSError, IndexError):
            # Parts were compacted and removed since, or one came in between that shifts the numbers of the others.
            self._store.refresh()
            self._moved = True
        return self._proved(batch)

    def _proved(self, batch: Batch) -> list[bytes]:
        """The sequences of a batch, each proved by its key: a damaged store must not end in a wrong vector."""
        table = self._store.sequences
        sequences = table.take(batch.digests) if self._moved else table.read(batch.parts, batch.starts, batch.lengths)
        for key, sequence in zip(batch.digests, sequences, strict=True):
            if digest(sequence) != key.tobytes():
                raise StoreCorruptError(
                    f"The stored sequence of {key_text(key.tobytes())} was changed. "
                    "Run `embedstore verify` to see which file is hurt."
                )
        return sequences

    def _embed(self, batch: Batch, sequences: list[bytes], behind: BackgroundWriter) -> None:
        """Embed a batch; one that fails is run in two halves, down to the sequence that cannot be embedded."""
        long = self._embedder.long
        if len(batch) == 1 and self._embedder.goes_alone(len(sequences[0])) and long.kind in ("skip", "error"):
            self._skip(batch, f"{len(sequences[0]):,} residues; {self._model.name} takes at most {long.limit:,}")
            return
        if len(batch) > 1 and self._too_large is not None and _padded(batch) >= self._too_large:
            self._embed_halves(batch, sequences, behind)
            return
        failure: EmbedstoreError | None = None
        halved = self._embedder.n_halved
        try:
            outputs = self._embedder.embed(sequences)
        except RETRYABLE_ERRORS as error:
            failure = error
        self._tally.n_halved_batches += self._embedder.n_halved - halved
        if failure is None:
            self._take(batch, sequences, outputs, behind)
        elif len(batch) == 1:
            self._skip(batch, f"{failure.kind} with {batch.lengths[0]:,} residues alone: {failure}")
        else:
            self._tally.n_halved_batches += 1
            if isinstance(failure, MemoryError):
                # What comes next is not tried in a size that did not fit.
                self._too_large = _padded(batch)
            self._embed_halves(batch, sequences, behind)

    def _embed_halves(self, batch: Batch, sequences: list[bytes], behind: BackgroundWriter) -> None:
        for half in np.array_split(np.arange(len(batch)), 2):
            self._embed(batch.rows(half), [sequences[row] for row in half.tolist()], behind)

    def _take(self, batch: Batch, sequences: list[bytes], outputs: Outputs, behind: BackgroundWriter) -> None:
        """Count what came out, and have it written."""
        letters = self._model.unknown_letters
        unknown = np.array([len(text) - len(text.translate(None, letters)) for text in sequences])
        flags = np.where(unknown > 0, FLAG_UNKNOWN_RESIDUE, 0).astype(np.uint8)
        lengths, long = batch.lengths, self._embedder.long
        if long.limit is not None and lengths.max() > long.limit:
            cut = lengths > long.limit
            if long.kind == "truncate":
                flags[cut] |= FLAG_TRUNCATED
                lengths = np.minimum(lengths, long.limit)
                self._tally.n_truncated += int(cut.sum())
            else:
                flags[cut] |= FLAG_WINDOWED
                self._tally.n_windowed += int(cut.sum())
        self._tally.n_unknown_residues += int(unknown.sum())
        for number, (writer, name) in enumerate(zip(self._writers, self._embedder.poolings, strict=True)):
            values = outputs[name]
            good = batch.missing[number] & self._storable(batch, number, values, writer.space.dtype.name)
            if good.any():
                kept: Vectors | list[Vectors]
                if isinstance(values, list):
                    kept = [values[row] for row in np.flatnonzero(good)]
                else:
                    # A copy, since a model may use its array again, and small, since several may wait.
                    kept = (values if good.all() else values[good]).astype(writer.space.dtype)
                behind.submit(partial(writer.append, batch.digests[good], kept, lengths[good], flags[good]))

    def _storable(self, batch: Batch, number: int, values: Vectors | list[Vectors], dtype: str) -> NDArray[np.bool_]:
        if isinstance(values, list):
            # A matrix is whole or not there: one bad residue keeps all of it out.
            good = np.array([bool(is_storable(matrix, dtype).all()) for matrix in values])
        else:
            good = is_storable(values, dtype)
        for row in np.flatnonzero(~good & batch.missing[number]):
            largest = np.abs(values[row]).max()
            reason = f"its vector is not finite, is zero, or exceeds {dtype} (largest {largest:g})"
            self._tally.skipped[number][batch.digests[row].tobytes()] = reason
        return good

    def _skip(self, batch: Batch, reason: str) -> None:
        """Name the only protein of a batch, in every space that lacks it, as one that gets no vector."""
        for number in np.flatnonzero(batch.missing[:, 0]).tolist():
            self._tally.skipped[number][batch.digests[0].tobytes()] = reason


def _padded(batch: Batch) -> int:
    return len(batch) * int(batch.lengths.max())
