"""From sequences to what spaces keep: one forward pass for several poolings, windows for what is too long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedstore.embedding.threads import WorkerPool
from embedstore.embedding.windows import LongSequencePolicy, merge_windows, window_starts
from embedstore.errors import EmbedstoreError, InputError, LedgerError, NonFiniteError, OutOfMemoryError
from embedstore.models import Model
from embedstore.models.base import require_poolings
from embedstore.models.pooling import find_pooling
from embedstore.store.manifest import space_identity
from embedstore.types import RESIDUES, Vectors

DTYPES = {"float16": 65504.0, "float32": float(np.finfo(np.float32).max)}
"""How vectors can be stored, and the largest number that each holds."""

_FIRST = "first"

Outputs: TypeAlias = dict[str, Vectors | list[Vectors]]
"""By pooling: (n, D) float32, or for ``residues`` n matrices (L, D) float32."""


def space_spec(model: Model, *, pooling: str, dtype: str, long: LongSequencePolicy) -> dict[str, Any]:
    """The identity of the space that this model would write into.

    Raises
    ------
    InputError
        If the model has no such pooling, or vectors cannot be stored in this dtype.
    """
    if dtype not in DTYPES:
        raise InputError(f"Unknown dtype {dtype!r} for stored vectors. Known: {', '.join(DTYPES)}.")
    require_poolings(model, [pooling])
    return space_identity(model.identity(), dim=model.dim, pooling=pooling, dtype=dtype, long_policy=str(long))


class Embedder:
    """A model with what is wanted of it, and what is done with a protein that is too long for it.

    Parameters
    ----------
    model
        From `embedstore.models.load_model`.
    poolings
        Names of `embedstore.models.pooling.POOLINGS`, or ``residues``: all come out of one forward pass.
    long
        What is done with proteins over its limit.
    batch_residues
        Padded residues in a batch, for the windows of a long protein.

    Attributes
    ----------
    seconds_model
        Spent inside the model so far.
    n_halved
        How often the windows of a protein did not fit into memory together, so that half of them were tried.
    """

    def __init__(
        self, model: Model, poolings: Sequence[str], long: LongSequencePolicy, *, batch_residues: int | None = None
    ) -> None:
        require_poolings(model, poolings)
        if long.kind == "window" and long.limit is not None and not model.has_residues:
            raise InputError(
                f"{model.name} has no residue vectors, so that windows cannot be blended. "
                "Choose another policy: --long truncate, skip or error (long=)."
            )
        self.model = model
        self.poolings = list(poolings)
        self.long = long
        self.seconds_model = 0.0
        self.n_halved = 0
        self._budget = batch_residues or model.batch_residues

    @contextmanager
    def lanes(self, n: int) -> Iterator[Callable[[], Embedder]]:
        """As `Model.lanes`: what it gives, called in each of ``n`` threads, is this embedder for that thread alone."""
        with self.model.lanes(n) as lane:
            yield lambda: Embedder(lane(), self.poolings, self.long, batch_residues=self._budget)

    def goes_alone(self, length: int) -> bool:
        """Whether a protein of this length is too long for a batch: it is cut into windows, or gets nothing."""
        return self.long.kind != "truncate" and self.long.limit is not None and length > self.long.limit

    def embed(self, sequences: Sequence[bytes]) -> Outputs:
        """What the poolings give for sequences in one forward pass; too long ones go alone, and by the policy.

        Raises
        ------
        InputError
            If a sequence is too long and the policy makes no vector of such.
        OutOfMemoryError, NonFiniteError
            As the model raises them.
        """
        if self.long.kind == "truncate" and self.long.limit is not None:
            sequences = [sequence[: self.long.limit] for sequence in sequences]
        if not any(self.goes_alone(len(sequence)) for sequence in sequences):
            return self._forward(sequences, self.poolings)
        if len(sequences) > 1:
            raise LedgerError("A protein too long for one pass came in a batch with others. Please report this.")
        try:
            return self._windows(sequences[0])
        except MemoryError as error:
            if isinstance(error, EmbedstoreError):
                raise
            raise OutOfMemoryError(
                f"The residue vectors of a protein of {len(sequences[0]):,} residues do not fit into memory."
            ) from error

    def _forward(self, sequences: Sequence[bytes], poolings: Sequence[str]) -> Outputs:
        started = time.monotonic()
        try:
            outputs = self.model.embed_each(sequences, poolings)
        finally:
            self.seconds_model += time.monotonic() - started
        for name in poolings:
            due = (len(sequences), self.model.dim)
            found = outputs[name]
            shape = (len(found), found[0].shape[1]) if isinstance(found, list) else found.shape
            if shape != due:
                raise LedgerError(f"{self.model.name} returned vectors of shape {shape}; {due} was due.")
        return outputs

    def _windows(self, sequence: bytes) -> Outputs:
        """One protein in overlapping windows: residue vectors blended, then pooled over the whole of it."""
        size = self.long.limit
        if self.long.kind != "window" or size is None:
            raise InputError(
                f"A protein of {len(sequence):,} residues is over the limit of {size or 0:,}. "
                "Leave it out, or choose windows: --long window (long=)."
            )
        starts = window_starts(len(sequence), size=size, overlap=self.long.overlap)
        wanted = [RESIDUES, _FIRST] if _FIRST in self.poolings else [RESIDUES]
        windows: list[NDArray[np.float32]] = []
        first: list[NDArray[np.float32]] = []
        while len(windows) < len(starts):
            at_once = max(1, self._budget // size)
            chosen = starts[len(windows) : len(windows) + at_once]
            try:
                found = self._forward([sequence[start : start + size] for start in chosen], wanted)
            except OutOfMemoryError:
                if len(chosen) == 1:
                    raise
                # Nor are the windows of the next protein tried in a number that did not fit.
                self._budget = len(chosen) // 2 * size
                self.n_halved += 1
                continue
            windows += list(found[RESIDUES])
            first += list(found.get(_FIRST, []))
        states = merge_windows(windows, starts, len(sequence))
        return {name: self._pooled(name, states, first) for name in self.poolings}

    def _pooled(
        self, name: str, states: NDArray[np.float32], first: list[NDArray[np.float32]]
    ) -> Vectors | list[Vectors]:
        if name == RESIDUES:
            return [states]
        # There is one first token a window, and none of the whole protein.
        vector = np.mean(first, axis=0) if name == _FIRST else find_pooling(name)(states)
        return np.asarray(vector, np.float32)[None]


def embed_batches(embedder: Embedder, batches: Sequence[Sequence[bytes]]) -> Iterator[Outputs]:
    """What the poolings give for each batch, in order; several at once where that pays, halved where memory is short.

    Raises
    ------
    OutOfMemoryError
        If a sequence does not fit alone.
    InputError, NonFiniteError
        As :meth:`Embedder.embed`.
    """
    n_lanes = min(embedder.model.n_lanes, len(batches))
    if n_lanes < 2:
        yield from (_halving(embedder, batch) for batch in batches)
        return
    with embedder.lanes(n_lanes) as lane, WorkerPool(lambda: lane().embed, n_lanes) as lanes:
        for attempt in lanes.map(batches):
            if attempt.error is not None and not isinstance(attempt.error, OutOfMemoryError):
                raise attempt.error
            if attempt.result is None:
                lanes.settle()
            yield attempt.result or _halving(embedder, attempt.item)


def _halving(embedder: Embedder, batch: Sequence[bytes]) -> Outputs:
    try:
        return embedder.embed(batch)
    except OutOfMemoryError:
        if len(batch) == 1:
            raise
    middle = len(batch) // 2
    halves = _halving(embedder, batch[:middle]), _halving(embedder, batch[middle:])
    return {name: _after(halves[0][name], halves[1][name]) for name in embedder.poolings}


def _after(first: Vectors | list[Vectors], second: Vectors | list[Vectors]) -> Vectors | list[Vectors]:
    return [*first, *second] if isinstance(first, list) else np.concatenate([first, second])


RETRYABLE_ERRORS: tuple[type[EmbedstoreError], ...] = (OutOfMemoryError, NonFiniteError)
"""What a smaller batch may mend."""


def is_storable(value: Vectors, dtype: str) -> NDArray[np.bool_]:
    """Which rows can be stored in ``dtype`` as what they are: finite, not zero, within its range."""
    # NaN and infinity go through both; no copy of the batch is made, as `abs` would.
    size = np.maximum(value.max(axis=1), -value.min(axis=1))
    smallest = float(np.finfo(dtype).smallest_subnormal)
    kept: NDArray[np.bool_] = np.isfinite(size) & (size <= DTYPES[dtype]) & (size >= smallest)
    return kept
