"""Residues as examples: whole proteins streamed from a space of matrices, or single residues of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedstore.types import Digests
from heads.features.base import BLOCK_ROWS, Features, Float32, Rows

if TYPE_CHECKING:
    from embedstore.store.spaces import ResidueSpace


@dataclass(frozen=True, slots=True, eq=False)
class ResidueFeatures(Features):
    """The residues of given proteins, one protein after the other, in the order of the keys.

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
    offsets: NDArray[np.int64] = field()

    @classmethod
    def from_keys(cls, space: ResidueSpace, proteins: Digests) -> ResidueFeatures:
        """The residues of these proteins; StoreError names keys that have no matrix."""
        return cls(space, proteins, np.concatenate([[0], np.cumsum(space.lengths(proteins))]).astype(np.int64))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of dimensions."""
        return int(self.offsets[-1]), self.space.dim

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield slices of rows and their vectors as float32: whole proteins, and at least one."""
        for group in _groups(np.arange(len(self.proteins)), self.offsets, BLOCK_ROWS):
            rows = slice(int(self.offsets[group[0]]), int(self.offsets[group[-1] + 1]))
            yield rows, self._matrices(group)

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield each row once, whole proteins in random order, about `n_rows` residues at a time."""
        order = np.random.default_rng(seed).permutation(len(self.proteins))
        for unsorted in _groups(order, self.offsets, n_rows):
            group = np.sort(unsorted)
            rows = [np.arange(self.offsets[protein], self.offsets[protein + 1]) for protein in group.tolist()]
            yield np.concatenate(rows), self._matrices(group)

    @property
    def group_keys(self) -> Digests:
        """Key of the protein of each residue."""
        return np.repeat(self.proteins, np.diff(self.offsets), axis=0)

    def subset(self, indices: Rows) -> ResidueSubset:
        """The residues at (n,) indices, in that order, without their neighbours."""
        return ResidueSubset(self, np.asarray(indices, np.int64))

    def _read(self, rows: Rows | slice) -> Float32:
        return self.subset(np.arange(self.shape[0])[rows])._read(slice(None))

    def _matrices(self, group: NDArray[np.int64]) -> Float32:
        return np.concatenate(self.space.take(self.proteins[group]), dtype=np.float32, casting="same_kind")


@dataclass(frozen=True, slots=True, eq=False)
class ResidueSubset(Features):
    """Single residues of proteins, without their neighbours.

    Parameters
    ----------
    whole
        The proteins.
    indices
        (n,) int64: rows of `whole`.
    """

    whole: ResidueFeatures
    indices: Rows

    @property
    def shape(self) -> tuple[int, int]:
        """Number of examples and of dimensions."""
        return len(self.indices), self.whole.space.dim

    @property
    def owners(self) -> NDArray[np.int64]:
        """(n,) number of the protein of each row."""
        return np.searchsorted(self.whole.offsets, self.indices, side="right") - 1

    @property
    def group_keys(self) -> Digests:
        """Key of the protein of each residue."""
        return self.whole.proteins[self.owners]

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
            yield rows, self._read(rows)

    def subset(self, indices: Rows) -> ResidueSubset:
        """The residues at (n,) indices, in that order."""
        return ResidueSubset(self.whole, self.indices[indices])

    def _read(self, rows: Rows | slice) -> Float32:
        residues, offsets = self.indices[rows], self.whole.offsets
        proteins, owners = np.unique(np.searchsorted(offsets, residues, side="right") - 1, return_inverse=True)
        positions = residues - offsets[proteins[owners]]
        return np.asarray(self.whole.space.take_residues(self.whole.proteins[proteins], owners, positions), np.float32)


def _groups(order: NDArray[np.int64], offsets: NDArray[np.int64], n_rows: int) -> Iterator[NDArray[np.int64]]:
    """Cut an order of proteins into groups of about `n_rows` residues, and at least one protein."""
    ends = np.cumsum(np.diff(offsets)[order])
    first = 0
    while first < len(order):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + n_rows, side="right")))
        yield order[first:last]
        first = last
