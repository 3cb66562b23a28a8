"""Embedding sequences for spaces: one forward pass for several poolings, windows for long proteins."""

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
    """A model with its poolings and its policy for proteins that are too long.

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
                f"{model.name} has no residue vectors, so that windows cannot be merged. "
                "Choose another policy: --long truncate, skip or error (long=)."
            )
        self.model = model
        self.poolings = list(poolings)
        self.long = long
        self.seconds_model = 0.0
        self.n_halved = 0
        self._budget = batch_residues or model.batch_residues

    @contextmanager
    def parallel(self, n: int) -> Iterator[Callable[[], Embedder]]:
        """As `Model.parallel`: yields a function that returns, in each of ``n`` threads, a copy of this embedder."""
        with self.model.parallel(n) as make_copy:
            yield lambda: Embedder(make_copy(), self.poolings, self.long, batch_residues=self._budget)

    def exceeds_limit(self, length: int) -> bool:
        """Whether a protein of this length is too long for a batch: it is cut into windows, or gets nothing."""
        return self.long.kind != "truncate" and self.long.limit is not None and length > self.long.limit

    def embed(self, sequences: Sequence[bytes]) -> Outputs:
        """The outputs of all poolings in one forward pass; a too long sequence is embedded alone, by the policy.

        Raises
        ------
        InputError
            If a sequence is too long and the policy makes no vector of such.
        OutOfMemoryError, NonFiniteError
            As the model raises them.
        """
        if self.long.kind == "truncate" and self.long.limit is not None:
            sequences = [sequence[: self.long.limit] for sequence in sequences]
        if not any(self.exceeds_limit(len(sequence)) for sequence in sequences):
            return self._forward(sequences, self.poolings)
        if len(sequences) > 1:
            raise LedgerError("A protein too long for one pass came in a batch with others. Please report this.")
        try:
            return self._embed_windows(sequences[0])
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
            expected = (len(sequences), self.model.dim)
            values = outputs[name]
            shape = (len(values), values[0].shape[1]) if isinstance(values, list) else values.shape
            if shape != expected:
                raise LedgerError(f"{self.model.name} returned vectors of shape {shape}, expected {expected}.")
        return outputs

    def _embed_windows(self, sequence: bytes) -> Outputs:
        """One protein in overlapping windows: residue vectors merged, then pooled over the whole protein."""
        size = self.long.limit
        if self.long.kind != "window" or size is None:
            raise InputError(
                f"A protein of {len(sequence):,} residues is over the limit of {size or 0:,}. "
                "Leave it out, or choose windows: --long window (long=)."
            )
        starts = window_starts(len(sequence), size=size, overlap=self.long.overlap)
        names = [RESIDUES, _FIRST] if _FIRST in self.poolings else [RESIDUES]
        windows: list[NDArray[np.float32]] = []
        first: list[NDArray[np.float32]] = []
        while len(windows) < len(starts):
            at_once = max(1, self._budget // size)
            batch_starts = starts[len(windows) : len(windows) + at_once]
            try:
                outputs = self._forward([sequence[start : start + size] for start in batch_starts], names)
            except OutOfMemoryError:
                if len(batch_starts) == 1:
                    raise
                # Nor are the windows of the next protein tried in a number that did not fit.
                self._budget = len(batch_starts) // 2 * size
                self.n_halved += 1
                continue
            windows += list(outputs[RESIDUES])
            first += list(outputs.get(_FIRST, []))
        states = merge_windows(windows, starts, len(sequence))
        return {name: self._pool(name, states, first) for name in self.poolings}

    def _pool(
        self, name: str, states: NDArray[np.float32], first: list[NDArray[np.float32]]
    ) -> Vectors | list[Vectors]:
        if name == RESIDUES:
            return [states]
        # There is one first token a window, and none of the whole protein.
        vector = np.mean(first, axis=0) if name == _FIRST else find_pooling(name)(states)
        return np.asarray(vector, np.float32)[None]


def embed_batches(embedder: Embedder, batches: Sequence[Sequence[bytes]]) -> Iterator[Outputs]:
    """The outputs of each batch, in order; batches run in parallel on a CPU and are halved when memory is short.

    Raises
    ------
    OutOfMemoryError
        If a sequence does not fit alone.
    InputError, NonFiniteError
        As :meth:`Embedder.embed`.
    """
    n_parallel = min(embedder.model.n_parallel, len(batches))
    if n_parallel < 2:
        yield from (_embed_or_halve(embedder, batch) for batch in batches)
        return
    with embedder.parallel(n_parallel) as make_copy, WorkerPool(lambda: make_copy().embed, n_parallel) as pool:
        for task in pool.map(batches):
            if task.error is not None and not isinstance(task.error, OutOfMemoryError):
                raise task.error
            if task.result is None:
                pool.drain()
            yield task.result or _embed_or_halve(embedder, task.item)


def _embed_or_halve(embedder: Embedder, batch: Sequence[bytes]) -> Outputs:
    try:
        return embedder.embed(batch)
    except OutOfMemoryError:
        if len(batch) == 1:
            raise
    middle = len(batch) // 2
    halves = _embed_or_halve(embedder, batch[:middle]), _embed_or_halve(embedder, batch[middle:])
    return {name: _concatenate(halves[0][name], halves[1][name]) for name in embedder.poolings}


def _concatenate(first: Vectors | list[Vectors], second: Vectors | list[Vectors]) -> Vectors | list[Vectors]:
    return [*first, *second] if isinstance(first, list) else np.concatenate([first, second])


RETRYABLE_ERRORS: tuple[type[EmbedstoreError], ...] = (OutOfMemoryError, NonFiniteError)
"""Errors that a smaller batch may avoid."""


def is_storable(value: Vectors, dtype: str) -> NDArray[np.bool_]:
    """Which rows can be stored in ``dtype``: finite, not zero, within its range."""
    # NaN and infinity go through both; no copy of the batch is made, as `abs` would.
    size = np.maximum(value.max(axis=1), -value.min(axis=1))
    smallest = float(np.finfo(dtype).smallest_subnormal)
    is_valid: NDArray[np.bool_] = np.isfinite(size) & (size <= DTYPES[dtype]) & (size >= smallest)
    return is_valid
