"""Examples that a head reads, in blocks, so that they need not fit into memory; and the checks on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.sequences import digest
from embedstore.store.keys import as_digests
from embedstore.types import Digests, Vectors
from heads.tasks.keys import row_keys

if TYPE_CHECKING:
    import pandas as pd

Float32: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int64]
"""(n,) int64 row numbers."""

BLOCK_ROWS = 8192
"""Rows in a block: 32 MiB of float32 at 1,024 dimensions."""


class Features(ABC):
    """Examples as (N, D) numbers that are read in blocks, in order or shuffled.

    An example is a protein, a residue, or a pair of proteins; a head need not know which. A subclass has `shape`,
    `subset` and `_read`; the rest is here.

    Attributes
    ----------
    shape
        Number of examples and of dimensions.
    keys
        Key of each example, (N, 24) uint8, or None for examples without a key of their own.
    offsets
        Where examples are the residues of whole proteins: protein p has the rows ``offsets[p]:offsets[p + 1]``,
        (P + 1,) int64, and every block holds whole proteins. None elsewhere.
    group_keys
        Key of each example, (N, 24) uint8, equal for examples that a split keeps together: equal sequences, and the
        residues of a protein.
    block_rows
        Most rows in a block.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Number of examples and of dimensions."""

    @abstractmethod
    def subset(self, indices: Rows) -> Features:
        """The examples at (n,) indices, in that order; single residues of proteins have no `offsets`."""

    @abstractmethod
    def _read(self, rows: Rows | slice) -> Float32:
        """(n, D) float32 vectors of some rows."""

    @property
    def keys(self) -> Digests | None:
        """Keys, or None."""
        return None

    @property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where each protein starts, or None."""
        return None

    @property
    def group_keys(self) -> Digests:
        """Keys of examples that a split keeps together."""
        if self.offsets is not None:
            return np.repeat(row_keys(len(self.offsets) - 1), np.diff(self.offsets), axis=0)
        return row_keys(self.shape[0]) if self.keys is None else self.keys

    @property
    def block_rows(self) -> int:
        """Most rows in a block."""
        return BLOCK_ROWS

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield each example once and in order: the rows' slice and their (n, D) float32 vectors."""
        n_rows = self.shape[0]
        for start in range(0, n_rows, self.block_rows):
            rows = slice(start, min(start + self.block_rows, n_rows))
            yield rows, self._read(rows)

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each example once in an order drawn from `seed`: row numbers and vectors, about `n_rows` at a time."""
        for rows in shuffled(self.shape[0], n_rows, seed=seed):
            yield rows, self._read(rows)


@dataclass(frozen=True, slots=True, eq=False)
class ArrayFeatures(Features):
    """Vectors in memory.

    Parameters
    ----------
    vectors
        (N, D) floating.
    keys
        Key of each example, (N, 24) uint8, where there are keys.
    block_rows
        Most rows in a block.
    """

    vectors: Vectors
    keys: Digests | None = None
    block_rows: int = BLOCK_ROWS

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of dimensions."""
        return self.vectors.shape[0], self.vectors.shape[1]

    def subset(self, indices: Rows) -> ArrayFeatures:
        """The examples at (n,) indices, copied."""
        return ArrayFeatures(self.vectors[indices], _at(self.keys, indices), self.block_rows)

    def _read(self, rows: Rows | slice) -> Float32:
        return np.asarray(self.vectors[rows], dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class SequenceFeatures(Features):
    """Sequences in place of vectors, for heads that read sequences: examples of no dimensions.

    Parameters
    ----------
    residues
        (N,) texts, normalised as `embedstore.sequences` does: upper case, no gaps.
    keys
        Key of each example, (N, 24) uint8, where there are keys.
    block_rows
        Most rows in a block.
    """

    residues: Sequence[str]
    keys: Digests | None = None
    block_rows: int = BLOCK_ROWS

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples, and no dimensions."""
        return len(self.residues), 0

    @property
    def group_keys(self) -> Digests:
        """Keys of examples that a split keeps together."""
        return sequence_keys(self.residues) if self.keys is None else self.keys

    def subset(self, indices: Rows) -> SequenceFeatures:
        """The examples at (n,) indices, in that order."""
        return SequenceFeatures(texts_at(self.residues, indices), _at(self.keys, indices), self.block_rows)

    def _read(self, rows: Rows | slice) -> Float32:
        n_rows = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        return np.empty((n_rows, 0), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class VectorAndSequenceFeatures(Features):
    """Vectors and sequences of the same proteins, for heads that are made of heads on either.

    A head on vectors reads the vectors; one on sequences reads the sequences, by `sequences_of`.

    Parameters
    ----------
    vectors, sequences
        Of the same N proteins in the same order.
    """

    vectors: Features
    sequences: SequenceFeatures

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples, and dimensions of the vectors."""
        return self.vectors.shape

    @property
    def keys(self) -> Digests | None:
        """Keys, or None."""
        return self.vectors.keys

    def subset(self, indices: Rows) -> VectorAndSequenceFeatures:
        """The examples at (n,) indices, in that order."""
        return VectorAndSequenceFeatures(self.vectors.subset(indices), self.sequences.subset(indices))

    def _read(self, rows: Rows | slice) -> Float32:
        return self.vectors._read(rows)

    @property
    def block_rows(self) -> int:
        """Most rows in a block."""
        return self.vectors.block_rows


FeaturesLike: TypeAlias = "Features | Vectors | Sequence[str] | pd.DataFrame"
"""What ``fit`` and ``predict`` take: features, an (N, D) array or data frame; N texts for heads that read sequences."""


def shuffled(n: int, batch: int, *, seed: int) -> Iterator[Rows]:
    """Yield 0 to n - 1 in an order drawn from `seed`, `batch` at a time; sorted within a batch, for the disk's sake.

    >>> sorted(int(row) for rows in shuffled(5, 2, seed=0) for row in rows)
    [0, 1, 2, 3, 4]
    """
    order = np.random.default_rng(seed).permutation(n)
    for start in range(0, n, batch):
        yield np.sort(order[start : start + batch])


def as_features(X: FeaturesLike) -> Features:
    """Wrap an (N, D) array or data frame, or N sequences, as a stream; leave a stream as it is.

    Raises
    ------
    InputError
        For an array that is not two-dimensional or holds no numbers.
    """
    if isinstance(X, list | tuple):
        return SequenceFeatures(X)
    if hasattr(X, "to_numpy"):
        # A pandas or polars frame.
        X = X.to_numpy()
    if not isinstance(X, np.ndarray):
        return cast(Features, X)
    if X.ndim != 2 or X.dtype.kind not in "fiu":
        raise InputError(
            f"X is an array of shape {X.shape} and type {X.dtype}; expected (rows, dimensions) of numbers."
        )
    return ArrayFeatures(X)


def sequences_of(X: FeaturesLike) -> SequenceFeatures:
    """The sequences of a stream.

    Raises
    ------
    InputError
        For a stream of vectors.
    """
    features = as_features(X)
    if isinstance(features, VectorAndSequenceFeatures):
        return features.sequences
    if not isinstance(features, SequenceFeatures):
        raise InputError(
            f"This head reads sequences, and X holds vectors of {features.shape[1]} dimensions. "
            "Give it the residues of each protein."
        )
    return features


def checked_blocks(X: FeaturesLike, *, n_features: int | None = None) -> Iterator[tuple[slice, Float32]]:
    """Yield the blocks of `X`, every one found to be finite and of the right width.

    Parameters
    ----------
    X
        A stream or an array.
    n_features
        D that the head was fitted on; None in a fit.

    Raises
    ------
    InputError
        For vectors of another dimension, or NaN or infinity among them.
    """
    features = as_features(X)
    if n_features is not None and features.shape[1] != n_features:
        raise InputError(
            f"X has {features.shape[1]} dimensions; this head was fitted on {n_features}. "
            "Give it vectors of the space that it was fitted on."
        )
    for rows, block in features.blocks():
        require_finite(block, first_row=rows.start)
        yield rows, block


def require_finite(block: Float32, *, first_row: int = 0) -> None:
    """Refuse (n, D) vectors with NaN or infinity, naming the first such row.

    Raises
    ------
    InputError
        With the row's number, counted from `first_row`.
    """
    if not np.isfinite(block).all():
        bad = int(np.argmin(np.isfinite(block).all(axis=1)))
        raise InputError(
            f"Row {first_row + bad} of X holds NaN or infinity. "
            "Leave such rows out; for stored vectors run `embedstore verify`."
        )


def vectors_at(X: FeaturesLike, indices: Rows, *, n_features: int) -> Float32:
    """The vectors at (n,) indices, (n, D) float32, in that order, read in one pass."""
    out = np.empty((len(indices), n_features), np.float32)
    for span, block in checked_blocks(as_features(X).subset(indices), n_features=n_features):
        out[span] = block
    return out


def l2_normalise(vectors: Float32) -> Float32:
    """Rows of (n, D) vectors scaled to the length sqrt(D), so that a coordinate is about 1; zeros stay zero.

    >>> l2_normalise(np.array([[3, 4], [0, 0]], np.float32)).astype(float).round(3).tolist()
    [[0.849, 1.131], [0.0, 0.0]]
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors) / np.float32(vectors.shape[1]))
    return np.asarray(vectors / np.where(lengths > 0, lengths, np.float32(1))[:, None])


def sequence_keys(sequences: Sequence[str]) -> Digests:
    """Key of each sequence, (N, 24) uint8."""
    return as_digests([digest(sequence.encode()) for sequence in sequences])


def texts_at(texts: Sequence[str], indices: Rows) -> list[str]:
    """The texts at (n,) indices."""
    return [texts[index] for index in indices.tolist()]


def _at(keys: Digests | None, indices: Rows) -> Digests | None:
    return None if keys is None else keys[indices]
