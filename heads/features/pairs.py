"""Pairs of proteins as rows: the vectors of both, combined."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from embedstore.errors import InputError
from embedstore.types import DIGEST_BYTES, Digests
from heads.features.base import BLOCK_ROWS, Float32, Rows, l2_normalise, shuffled, sortable_keys

if TYPE_CHECKING:
    from embedstore.store.spaces import Space


def _concatenation(a: Float32, b: Float32, out: Float32) -> None:
    out[:, : a.shape[1]], out[:, a.shape[1] :] = a, b


def _difference(a: Float32, b: Float32, out: Float32) -> None:
    np.abs(np.subtract(a, b, out=out), out=out)


PAIRINGS: Mapping[str, Callable[[Float32, Float32, Float32], object]] = {
    "concatenation": _concatenation,
    "sum": np.add,
    "product": np.multiply,
    "difference": _difference,
}
"""What can be made of two (n, D) arrays of vectors, written into a third.

All but the first are the same whichever protein comes first.
"""

ORDERED = "concatenation+product+difference"
"""How pairs are combined where the first protein has another part than the second."""

SYMMETRIC = "sum+product+difference"
"""How pairs are combined where it means nothing which protein comes first."""


KEPT_BYTES = 2**28
"""Most memory for the vectors of the distinct proteins of pairs."""

_AT_ONCE = 64
"""Pairs that are combined at a time: few enough that a processor's cache holds what is read again."""


def parse_pairing(text: str) -> tuple[str, ...]:
    """The parts of a combination: names of `PAIRINGS` with ``+`` between them.

    Raises
    ------
    InputError
        If a name is unknown, or stands twice.

    Examples
    --------
    >>> parse_pairing("product+difference")
    ('product', 'difference')
    """
    parts = tuple(text.split("+"))
    if len(set(parts)) < len(parts) or not set(parts) <= set(PAIRINGS):
        raise InputError(
            f"pairing is {text!r}; expected some of {', '.join(PAIRINGS)}, each once, with '+' between them "
            "(pairing=, --pairing)."
        )
    return parts


class _Proteins:
    """The proteins of some pairs: their vectors with a root mean square of 1, in memory where they are few.

    Parameters
    ----------
    space
        Where the vectors are.
    keys
        (M, 24) uint8, in any order, repeated or not.
    """

    def __init__(self, space: Space, keys: Digests) -> None:
        self._space = space
        self._sorted, places = np.unique(sortable_keys(keys), return_index=True)
        self._keys = keys[places]

    def places(self, keys: Digests) -> Rows:
        """Number of each of these proteins, (n,) int64."""
        return np.searchsorted(self._sorted, sortable_keys(keys))

    def find(self, places: Rows) -> tuple[Float32, Rows]:
        """A table of vectors with these proteins among them, (M, D), and the row of each in it, (n,)."""
        if self._kept is not None:
            return self._kept, places
        distinct, back = np.unique(places, return_inverse=True)
        return self._read(distinct), back

    @cached_property
    def _kept(self) -> Float32 | None:
        """All vectors, where they are no more than `KEPT_BYTES`."""
        if 4 * len(self._keys) * self._space.dim > KEPT_BYTES:
            return None
        return self._read(np.arange(len(self._keys)))

    def _read(self, places: Rows) -> Float32:
        return l2_normalise(self._space.take(self._keys[places]).astype(np.float32))


class PairFeatures:
    """Vectors of pairs, combined block by block.

    The vectors of both proteins are first brought to a root mean square of 1, so that products and differences weigh
    alike whatever the model's scale. A protein stands in many pairs as a rule: the distinct ones are kept in memory up
    to `KEPT_BYTES`, and else read once a block.

    Parameters
    ----------
    space
        Where the vectors of the proteins are.
    first, second
        (N, 24) uint8 each: keys of the two proteins of each pair.
    pairing
        Names of `PAIRINGS`; what they give stands side by side.
    """

    def __init__(self, space: Space, first: Digests, second: Digests, pairing: tuple[str, ...]) -> None:
        self.space, self.first, self.second, self.pairing = space, first, second, pairing
        self._proteins = _Proteins(space, np.concatenate([first, second]))
        self._places = self._proteins.places(first), self._proteins.places(second)
        self._digests: Digests | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        n_parts = len(self.pairing) + ("concatenation" in self.pairing)
        return len(self.first), n_parts * self.space.dim

    @property
    def digests(self) -> Digests:
        """Key of each pair, the same whichever protein comes first, (N, 24) uint8."""
        if self._digests is None:
            self._digests = pair_digests(self.first, self.second)
        return self._digests

    @property
    def offsets(self) -> None:
        """None: a row is a pair."""
        return

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield slices of rows and their vectors as float32."""
        for start in range(0, len(self.first), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(self.first)))
            yield rows, self._combined(rows)

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row once in random order, `n_rows` at a time."""
        for rows in shuffled(len(self.first), n_rows, seed=seed):
            yield rows, self._combined(rows)

    def select(self, rows: Rows) -> PairFeatures:
        """Some of the rows, in the order given."""
        chosen = copy.copy(self)
        chosen.first, chosen.second = self.first[rows], self.second[rows]
        chosen._places = self._places[0][rows], self._places[1][rows]
        chosen._digests = None if self._digests is None else self._digests[rows]
        return chosen

    def _combined(self, rows: Rows | slice) -> Float32:
        (table_a, a), (table_b, b) = (self._proteins.find(places[rows]) for places in self._places)
        out = np.empty((len(a), self.shape[1]), np.float32)
        for start in range(0, len(a), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self._combine(table_a[a[part]], table_b[b[part]], out[part])
        return out

    def _combine(self, a: Float32, b: Float32, out: Float32) -> None:
        start = 0
        for name in self.pairing:
            stop = start + self.space.dim * (2 if name == "concatenation" else 1)
            PAIRINGS[name](a, b, out[:, start:stop])
            start = stop


def pair_digests(first: Digests, second: Digests) -> Digests:
    """A key for each pair of keys, (N, 24) uint8: the first 24 bytes of SHA-512 over both, the smaller one first.

    >>> a, b = np.zeros((1, 24), np.uint8), np.ones((1, 24), np.uint8)
    >>> bool((pair_digests(a, b) == pair_digests(b, a)).all())
    True
    """
    made = bytearray()
    for a, b in zip(first, second, strict=True):
        made += hashlib.sha512(b"".join(sorted((a.tobytes(), b.tobytes())))).digest()[:DIGEST_BYTES]
    return np.frombuffer(bytes(made), np.uint8).reshape(-1, DIGEST_BYTES)
