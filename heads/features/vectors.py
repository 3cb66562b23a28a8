"""Vectors of proteins and of pairs of proteins, streamed from a space by key."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from embedstore.store.spaces import Space
from embedstore.types import Digests
from heads.features.base import Features, Float32, Rows, l2_normalise
from heads.tasks.keys import pair_keys, sortable_keys

CACHE_BYTES = 2**28
"""Most memory for the vectors of the distinct proteins of pairs."""

_PAIRS_PER_STEP = 64
"""Pairs that are combined at a time: few enough that a processor's cache holds what is read again."""


@dataclass(frozen=True, slots=True, eq=False)
class SpaceFeatures(Features):
    """Vectors of given keys, streamed from a space in the order of the keys.

    Parameters
    ----------
    space
        Where the vectors are.
    keys
        (N, 24) uint8, each with a vector in `space`.
    """

    space: Space
    keys: Digests = field()

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of dimensions."""
        return len(self.keys), self.space.dim

    def subset(self, indices: Rows) -> SpaceFeatures:
        """The examples at (n,) indices, in that order."""
        return SpaceFeatures(self.space, self.keys[indices])

    def _read(self, rows: Rows | slice) -> Float32:
        return np.asarray(self.space.take(self.keys[rows]), np.float32)


class PairFeatures(Features):
    """Vectors of pairs of proteins, combined block by block.

    The vectors of both proteins are first scaled to a root mean square of 1, so that products and differences have the
    same weight whatever the model's scale. Proteins usually occur in many pairs: the distinct ones are held in memory
    up to `CACHE_BYTES`, and else read once a block.

    Parameters
    ----------
    space
        Where the vectors of the proteins are.
    first, second
        (N, 24) uint8 each: keys of the two proteins of each pair.
    pairing
        Names of `heads.tasks.pairing.PAIRINGS`; their vectors are concatenated.
    """

    def __init__(self, space: Space, first: Digests, second: Digests, pairing: tuple[str, ...]) -> None:
        self.space, self.first, self.second, self.pairing = space, first, second, pairing
        self._proteins = _Proteins(space, np.concatenate([first, second]))
        self._positions = self._proteins.positions(first), self._proteins.positions(second)
        self._keys: Digests | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of dimensions."""
        n_parts = len(self.pairing) + ("concatenation" in self.pairing)
        return len(self.first), n_parts * self.space.dim

    @property
    def keys(self) -> Digests:
        """Key of each pair, the same whichever protein comes first, (N, 24) uint8."""
        if self._keys is None:
            self._keys = pair_keys(self.first, self.second)
        return self._keys

    def subset(self, indices: Rows) -> PairFeatures:
        """The examples at (n,) indices, in that order."""
        part = copy.copy(self)
        part.first, part.second = self.first[indices], self.second[indices]
        part._positions = self._positions[0][indices], self._positions[1][indices]
        part._keys = None if self._keys is None else self._keys[indices]
        return part

    def _read(self, rows: Rows | slice) -> Float32:
        (table_a, a), (table_b, b) = (self._proteins.vectors(positions[rows]) for positions in self._positions)
        out = np.empty((len(a), self.shape[1]), np.float32)
        for start in range(0, len(a), _PAIRS_PER_STEP):
            part = slice(start, start + _PAIRS_PER_STEP)
            self._combine(table_a[a[part]], table_b[b[part]], out[part])
        return out

    def _combine(self, a: Float32, b: Float32, out: Float32) -> None:
        start = 0
        for name in self.pairing:
            stop = start + self.space.dim * (2 if name == "concatenation" else 1)
            _COMBINATIONS[name](a, b, out[:, start:stop])
            start = stop


class _Proteins:
    """The proteins of some pairs, with vectors of a root mean square of 1, in memory where they are few.

    Parameters
    ----------
    space
        Where the vectors are.
    keys
        (M, 24) uint8, in any order, repeated or not.
    """

    def __init__(self, space: Space, keys: Digests) -> None:
        self._space = space
        self._sorted, first = np.unique(sortable_keys(keys), return_index=True)
        self._keys = keys[first]

    def positions(self, keys: Digests) -> Rows:
        """Number of each of these proteins, (n,) int64."""
        return np.searchsorted(self._sorted, sortable_keys(keys))

    def vectors(self, positions: Rows) -> tuple[Float32, Rows]:
        """A table of vectors that has these proteins, (M, D), and the row of each in it, (n,)."""
        if self._cache is not None:
            return self._cache, positions
        distinct, inverse = np.unique(positions, return_inverse=True)
        return self._read(distinct), inverse

    @cached_property
    def _cache(self) -> Float32 | None:
        """All vectors, where they are no more than `CACHE_BYTES`."""
        if 4 * len(self._keys) * self._space.dim > CACHE_BYTES:
            return None
        return self._read(np.arange(len(self._keys)))

    def _read(self, positions: Rows) -> Float32:
        return l2_normalise(self._space.take(self._keys[positions]).astype(np.float32))


def _concatenation(a: Float32, b: Float32, out: Float32) -> None:
    out[:, : a.shape[1]], out[:, a.shape[1] :] = a, b


def _difference(a: Float32, b: Float32, out: Float32) -> None:
    np.abs(np.subtract(a, b, out=out), out=out)


_COMBINATIONS: Mapping[str, Callable[[Float32, Float32, Float32], object]] = {
    "concatenation": _concatenation,
    "sum": np.add,
    "product": np.multiply,
    "difference": _difference,
}
"""How the parts of `heads.tasks.pairing.PAIRINGS` are computed of two (n, D) arrays, written into a third."""
