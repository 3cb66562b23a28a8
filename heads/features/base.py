"""Vectors that come in blocks, so that they need not fit into memory, and the checks on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.types import DIGEST_BYTES, Digests, Vectors

if TYPE_CHECKING:
    import pandas as pd

Float32: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.int64]
"""(n,) int64 row numbers."""

BLOCK_ROWS = 8192
"""Rows that a stream hands out at once: 32 MiB of float32 at 1,024 dimensions."""


class Features(Protocol):
    """What heads learn from: rows of numbers that are read in blocks, in order or shuffled.

    A row is a protein, a residue of one, or a pair of proteins; a head need not know which.

    Attributes
    ----------
    shape
        Rows and dimensions.
    digests
        Key of each row, (N, 24) uint8, or None for rows that have no key of their own.
    offsets
        Where rows are the residues of whole proteins: protein p has the rows ``offsets[p]:offsets[p + 1]``, (P + 1,)
        int64, and every block holds whole proteins. None elsewhere.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        ...

    @property
    def digests(self) -> Digests | None:
        """Keys, or None."""
        ...

    @property
    def offsets(self) -> NDArray[np.int64] | None:
        """Where each protein starts, or None."""
        ...

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield each row once and in order: the rows' slice and their (n, D) float32 vectors."""
        ...

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row once in an order drawn from `seed`: row numbers and vectors, about `n_rows` at a time."""
        ...

    def select(self, rows: Rows) -> Features:
        """Some of the rows, in the order given. They are loose: `offsets` is None."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ArrayFeatures:
    """Vectors in memory, handed out in blocks.

    Parameters
    ----------
    vectors
        (N, D) floating.
    digests
        Key of each row, (N, 24) uint8, where there are keys.
    block_rows
        Most rows in a block.
    """

    vectors: Vectors
    digests: Digests | None = None
    block_rows: int = BLOCK_ROWS

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        return self.vectors.shape[0], self.vectors.shape[1]

    @property
    def offsets(self) -> None:
        """None: rows stand for themselves."""
        return

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield slices of rows and their vectors as float32."""
        for start in range(0, len(self.vectors), self.block_rows):
            rows = slice(start, min(start + self.block_rows, len(self.vectors)))
            yield rows, np.asarray(self.vectors[rows], dtype=np.float32)

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row once in random order, `n_rows` at a time."""
        for rows in shuffled(len(self.vectors), n_rows, seed=seed):
            yield rows, np.asarray(self.vectors[rows], dtype=np.float32)

    def select(self, rows: Rows) -> ArrayFeatures:
        """Some of the rows, copied."""
        return ArrayFeatures(self.vectors[rows], None if self.digests is None else self.digests[rows], self.block_rows)


@dataclass(frozen=True, slots=True, eq=False)
class SequenceFeatures:
    """Residues in place of vectors, for heads that read sequences: rows of no dimensions.

    Parameters
    ----------
    residues
        (N,) texts, normalised as `embedstore.sequences` does: upper case, no gaps.
    digests
        Key of each row, (N, 24) uint8, where there are keys.
    block_rows
        Most rows in a block.
    """

    residues: Sequence[str]
    digests: Digests | None = None
    block_rows: int = BLOCK_ROWS

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and no dimensions."""
        return len(self.residues), 0

    @property
    def offsets(self) -> None:
        """None: a row is a protein."""
        return

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield slices of rows and (n, 0) vectors."""
        yield from ArrayFeatures(np.empty(self.shape, np.float32), block_rows=self.block_rows).blocks()

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row number once in random order, `n_rows` at a time, and (n, 0) vectors."""
        for rows in shuffled(len(self.residues), n_rows, seed=seed):
            yield rows, np.empty((len(rows), 0), np.float32)

    def select(self, rows: Rows) -> SequenceFeatures:
        """Some of the rows, in the order given."""
        return SequenceFeatures(
            [self.residues[row] for row in rows.tolist()],
            None if self.digests is None else self.digests[rows],
            self.block_rows,
        )


@dataclass(frozen=True, slots=True, eq=False)
class VectorAndSequenceFeatures:
    """Vectors and residues of the same proteins, for heads that are made of heads on either.

    To a head on vectors they are vectors; one on sequences finds the residues by `sequences_of`.

    Parameters
    ----------
    vectors, sequences
        Of the same N proteins in the same order.
    """

    vectors: Features
    sequences: SequenceFeatures

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and dimensions of the vectors."""
        return self.vectors.shape

    @property
    def digests(self) -> Digests | None:
        """Key of each row, or None."""
        return self.vectors.digests

    @property
    def offsets(self) -> None:
        """None: a row is a protein."""
        return

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield slices of rows and their vectors as float32."""
        yield from self.vectors.blocks()

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row number once in random order, `n_rows` at a time, and the vectors."""
        yield from self.vectors.batches(n_rows, seed=seed)

    def select(self, rows: Rows) -> VectorAndSequenceFeatures:
        """Some of the rows, in the order given."""
        return VectorAndSequenceFeatures(self.vectors.select(rows), self.sequences.select(rows))


FeaturesLike: TypeAlias = "Features | Vectors | Sequence[str] | pd.DataFrame"
"""What ``fit`` and ``predict`` take: a stream, an (N, D) array or data frame; N texts for heads that read sequences."""


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


def take(X: FeaturesLike, rows: Rows, *, n_features: int) -> Float32:
    """The vectors of some rows, (n, D) float32, in the order given. One pass over the stream of those rows."""
    out = np.empty((len(rows), n_features), np.float32)
    for span, block in checked_blocks(as_features(X).select(rows), n_features=n_features):
        out[span] = block
    return out


def l2_normalise(vectors: Float32) -> Float32:
    """Rows of (n, D) vectors scaled to the length sqrt(D), so that a coordinate is about 1; zeros stay zero.

    >>> even_lengths(np.array([[3, 4], [0, 0]], np.float32)).astype(float).round(3).tolist()
    [[0.849, 1.131], [0.0, 0.0]]
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors) / np.float32(vectors.shape[1]))
    return np.asarray(vectors / np.where(lengths > 0, lengths, np.float32(1))[:, None])


def sortable_keys(digests: Digests) -> NDArray[np.bytes_]:
    """Keys (..., 24) as texts (...,), which sort and compare as the keys do."""
    # numpy pads such texts with zeros, and all lengths are equal.
    return np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}")[..., 0]
