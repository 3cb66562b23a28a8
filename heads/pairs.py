"""Pairs of proteins as rows: the vectors of both, combined."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embedstore.errors import InputError
from embedstore.types import DIGEST_BYTES, Digests
from heads.streams import BLOCK_ROWS, Float32, Rows, shuffled, sortable_keys

if TYPE_CHECKING:
    from embedstore.store.spaces import Space

PAIRINGS: Mapping[str, Callable[[Float32, Float32], Float32]] = {
    "concatenation": lambda a, b: np.concatenate([a, b], axis=1),
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * b,
    "difference": lambda a, b: np.abs(a - b),
}
"""What can be made of two (n, D) arrays of vectors; all but the first are the same whichever protein comes first."""

ORDERED = "concatenation+product+difference"
"""How pairs are combined where the first protein has another part than the second."""

SYMMETRIC = "sum+product+difference"
"""How pairs are combined where it means nothing which protein comes first."""


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


@dataclass(frozen=True, slots=True, eq=False)
class PairFeatures:
    """Vectors of pairs, gathered block by block: each distinct protein of a block is read once.

    The vectors of both proteins are first brought to a root mean square of 1, so that products and differences weigh
    alike whatever the model's scale.

    Parameters
    ----------
    space
        Where the vectors of the proteins are.
    first, second
        (N, 24) uint8 each: keys of the two proteins of each pair.
    pairing
        Names of `PAIRINGS`; what they give stands side by side.
    """

    space: Space
    first: Digests
    second: Digests
    pairing: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        n_parts = len(self.pairing) + ("concatenation" in self.pairing)
        return len(self.first), n_parts * self.space.dim

    @property
    def digests(self) -> Digests:
        """Key of each pair, the same whichever protein comes first, (N, 24) uint8."""
        return pair_digests(self.first, self.second)

    @property
    def offsets(self) -> None:
        """None: a row is a pair."""
        return

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield slices of rows and their vectors as float32."""
        for start in range(0, len(self.first), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(self.first)))
            yield rows, self._combined(self.first[rows], self.second[rows])

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row once in random order, `n_rows` at a time."""
        for rows in shuffled(len(self.first), n_rows, seed=seed):
            yield rows, self._combined(self.first[rows], self.second[rows])

    def select(self, rows: Rows) -> PairFeatures:
        """Some of the rows, in the order given."""
        return PairFeatures(self.space, self.first[rows], self.second[rows], self.pairing)

    def _combined(self, first: Digests, second: Digests) -> Float32:
        both = np.concatenate([first, second])
        _, places, back = np.unique(sortable_keys(both), return_index=True, return_inverse=True)
        vectors = self.space.take(both[places]).astype(np.float32)
        scale = np.sqrt(np.mean(vectors**2, axis=1, keepdims=True))
        vectors /= np.where(scale > 0, scale, np.float32(1))
        a, b = np.split(vectors[back], 2)
        return np.concatenate([PAIRINGS[name](a, b) for name in self.pairing], axis=1)


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
