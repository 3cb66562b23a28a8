"""Sequences whose examples are pairs of proteins, or the residues of whole proteins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.types import Digests
from heads.features.base import (
    FeaturesLike,
    Float32,
    Rows,
    SequenceFeatures,
    _at,
    as_features,
    sequence_keys,
    shuffled,
    texts_at,
)


@dataclass(frozen=True, slots=True, eq=False)
class PairSequences(SequenceFeatures):
    """Pairs of proteins; ``residues`` are those of the first ones.

    Parameters
    ----------
    partners
        (N,) texts: the second protein of each pair.
    """

    partners: Sequence[str] = ()

    def subset(self, indices: Rows) -> PairSequences:
        """The pairs at (n,) indices, in that order."""
        residues, partners = texts_at(self.residues, indices), texts_at(self.partners, indices)
        return PairSequences(residues, _at(self.keys, indices), self.block_rows, partners)


@dataclass(frozen=True, slots=True, eq=False)
class ResidueSequences(SequenceFeatures):
    """The residues of whole proteins, an example each; ``residues`` has a text for each protein."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of residues, and no dimensions."""
        return int(self.offsets[-1]), 0

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(P + 1,) int64: where each protein starts."""
        lengths = [0, *(len(text) for text in self.residues)]
        return np.cumsum(lengths).astype(np.int64)

    @property
    def group_keys(self) -> Digests:
        """Key of the protein of each residue."""
        return np.repeat(sequence_keys(self.residues), np.diff(self.offsets), axis=0)

    def blocks(self) -> Iterator[tuple[slice, Float32]]:
        """Yield the rows of each protein, and (L, 0) vectors."""
        offsets = self.offsets.tolist()
        for start, stop in pairwise(offsets):
            yield slice(start, stop), np.empty((stop - start, 0), np.float32)

    def batches(self, n_rows: int, *, seed: int) -> Iterator[tuple[Rows, Float32]]:
        """Yield the rows of each protein, in random order."""
        offsets = self.offsets
        for proteins in shuffled(len(self.residues), 1, seed=seed):
            start, stop = int(offsets[proteins[0]]), int(offsets[proteins[0] + 1])
            yield np.arange(start, stop), np.empty((stop - start, 0), np.float32)

    def subset(self, indices: Rows) -> ResidueSequences:
        """Refused: a residue has no state without its protein.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError("Single residues were asked for; fine-tuning needs whole proteins. Select proteins.")


def input_of(X: FeaturesLike) -> str:
    """What an example is: ``"protein"``, ``"residue"`` or ``"pair"``.

    Raises
    ------
    InputError
        For vectors.
    """
    features = as_features(X)
    if isinstance(features, PairSequences):
        return "pair"
    if isinstance(features, ResidueSequences):
        return "residue"
    if isinstance(features, SequenceFeatures):
        return "protein"
    raise InputError(
        f"This head reads sequences, and X holds vectors of {features.shape[1]} dimensions. Give it the residues of "
        "each protein."
    )
