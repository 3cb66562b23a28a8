"""Composition: how much there is of each residue and of each pair of neighbours, in a linear model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.features.base import Float32
from heads.features.kmers import kmer_counts
from heads.sequence_baselines.linear_baseline import LinearFloor


class StandardisedFloor(LinearFloor):
    """A floor on dense numbers, each brought to mean 0 and variance 1.

    Attributes
    ----------
    centre_, scale_
        (F,) float32.
    """

    centre_: Float32
    scale_: Float32

    @abstractmethod
    def _raw(self, residues: Sequence[str]) -> Float32:
        """The numbers as they are, (N, F)."""

    def _learn_numbers(self, residues: Sequence[str]) -> Float32:
        raw = self._raw(residues)
        self.centre_ = raw.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = raw.std(axis=0, dtype=np.float64).astype(np.float32)
        self.scale_ = np.where(spread > 1e-6, spread, 1).astype(np.float32)
        return (raw - self.centre_) / self.scale_

    def _numbers(self, residues: Sequence[str], first_row: int = 0) -> Float32:
        return (self._raw(residues) - self.centre_) / self.scale_

    def _number_arrays(self) -> dict[str, NDArray[Any]]:
        return {"centre": self.centre_, "scale": self.scale_}

    def _restore_numbers(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.centre_, self.scale_ = arrays["centre"], arrays["scale"]


class CompositionHead(StandardisedFloor):
    """Logistic or ridge regression on amino-acid and dipeptide composition, 20 and 400 shares, and the rest's.

    Parameters
    ----------
    penalty
        On squared coefficients (for classes scikit-learn's 1 / C, for numbers its alpha). None: the one of `penalties`
        with the least loss on the validation rows, or 10 (numbers: 100) without them.
    penalties
        What to choose from.
    target_type
        What is predicted.
    """

    default_penalty = 10.0
    default_ridge = 100.0

    def __init__(
        self,
        *,
        penalty: float | None = None,
        penalties: Sequence[float] = (1000.0, 100.0, 10.0, 1.0),
        target_type: str = "class",
    ) -> None:
        self.penalty = penalty
        self.penalties = penalties
        self.target_type = target_type

    def _raw(self, residues: Sequence[str]) -> Float32:
        counts: Float32 = kmer_counts(residues, 2).toarray()
        for block in (counts[:, :21], counts[:, 21:]):
            block /= np.maximum(block.sum(axis=1, keepdims=True), 1)
        return counts
