"""Residues as rows: whole proteins streamed from a space of matrices, or single residues of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedstore.types import Digests
from heads.features.base import BLOCK_ROWS, Float32, Rows

if TYPE_CHECKING:
    from embedstore.store.spaces import ResidueSpace


@dataclass(frozen=True, slots=True, eq=False)
class ResidueFeatures:
    """The residues of given proteins, one protein behind the other, in the order of the keys.

    Parameters
    ----------
    space
        Where the matrices are.
    proteins
        (P, 24) uint8, each with a matrix in `space`.
    offsets
        (P + 1,) int64: protein p has the rows ``offsets[p]:offsets[p + 1]``.
    """

    space: ResidueSpace
    proteins: Digests
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, space: ResidueSpace, proteins: Digests) -> ResidueFeatures:
        """The residues of these proteins; StoreError names keys that have no matrix."""
        return cls(space, proteins, np.concatenate([[0], np.cumsum(space.lengths(proteins))]).astype(np.int64))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        return int(self.offsets[-1]), self.space.dim

    @property
    def digests(self) -> None:
        """None: a residue has no key of its own."""
        return

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield slices of rows and their vectors as float32: whole proteins, and at least one."""
        for group in _groups(np.arange(len(self.proteins)), self.offsets, BLOCK_ROWS):
            rows = slice(int(self.offsets[group[0]]), int(self.offsets[group[-1] + 1]))
            yield rows, self._matrix(group)

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row once, whole proteins in random order, about `n_rows` residues at a time."""
        order = np.random.default_rng(seed).permutation(len(self.proteins))
        for unsorted in _groups(order, self.offsets, n_rows):
            group = np.sort(unsorted)
            rows = [np.arange(self.offsets[protein], self.offsets[protein + 1]) for protein in group.tolist()]
            yield np.concatenate(rows), self._matrix(group)

    def select(self, rows: Rows) -> LooseResidues:
        """Some of the residues, in the order given, without their neighbours."""
        return LooseResidues(self, np.asarray(rows, np.int64))

    def _matrix(self, group: NDArray[np.int64]) -> Float32:
        return np.concatenate(self.space.take(self.proteins[group]), dtype=np.float32, casting="same_kind")


@dataclass(frozen=True, slots=True, eq=False)
class LooseResidues:
    """Single residues of proteins, each a row for itself.

    Parameters
    ----------
    whole
        The proteins.
    chosen
        (n,) int64: rows of `whole`.
    """

    whole: ResidueFeatures
    chosen: Rows

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and dimensions."""
        return len(self.chosen), self.whole.space.dim

    @property
    def digests(self) -> None:
        """None: a residue has no key of its own."""
        return

    @property
    def offsets(self) -> None:
        """None: rows stand for themselves."""
        return

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield slices of rows and their vectors as float32."""
        for start in range(0, len(self.chosen), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(self.chosen)))
            yield rows, self._take(self.chosen[rows])

    @property
    def owners(self) -> NDArray[np.int64]:
        """(n,) number of the protein of each row."""
        found: NDArray[np.int64] = np.searchsorted(self.whole.offsets, self.chosen, side="right") - 1
        return found

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row once, those of a protein together and proteins in random order, about `n_rows` at a time.

        Rows drawn one by one would read nearly every block of the store for each batch.
        """
        owners = self.owners
        by_owner = np.argsort(owners, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.unique(owners, return_counts=True)[1])]).astype(np.int64)
        order = np.random.default_rng(seed).permutation(len(offsets) - 1)
        for unsorted in _groups(order, offsets, n_rows):
            rows = np.concatenate([by_owner[offsets[protein] : offsets[protein + 1]] for protein in np.sort(unsorted)])
            yield rows, self._take(self.chosen[rows])

    def select(self, rows: Rows) -> LooseResidues:
        """Some of the rows, in the order given."""
        return LooseResidues(self.whole, self.chosen[rows])

    def _take(self, rows: Rows) -> Float32:
        offsets = self.whole.offsets
        proteins, owners = np.unique(np.searchsorted(offsets, rows, side="right") - 1, return_inverse=True)
        positions = rows - offsets[proteins[owners]]
        found = self.whole.space.take_residues(self.whole.proteins[proteins], owners, positions)
        return np.asarray(found, np.float32)


def _groups(order: NDArray[np.int64], offsets: NDArray[np.int64], n_rows: int) -> Iterator[NDArray[np.int64]]:
    """Cut an order of proteins into stretches of about `n_rows` residues, and at least one protein."""
    ends = np.cumsum(np.diff(offsets)[order])
    first = 0
    while first < len(order):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + n_rows, side="right")))
        yield order[first:last]
        first = last


def spread_letters(texts: Sequence[str], blank: str) -> NDArray[np.str_]:
    """The letters of all texts as one array, (sum of lengths,) of one letter each; `blank` becomes no letter.

    >>> spread_letters(["HC", "-E"], "-")
    array(['H', 'C', '', 'E'], dtype='<U1')
    """
    # As UTF-32 a letter is four bytes, which is how numpy holds a text of length one; no letter is zero.
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32).copy()
    codes[codes == ord(blank)] = 0
    return codes.view("<U1")
