"""Linear models on amino-acid and dipeptide composition, and on the sequence length."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heads.features.base import Float32
from heads.features.encoding import kmer_counts
from heads.sequence_baselines.linear_baseline import LinearBaseline

_CENTRES = np.linspace(np.log(10), np.log(3000), 120)
_WIDTH = 1.5 * (_CENTRES[1] - _CENTRES[0])


class StandardisedBaseline(LinearBaseline):
    """A baseline on dense features, standardised to mean 0 and variance 1.

    Attributes
    ----------
    centre_, scale_
        (F,) float32.
    """

    centre_: Float32
    scale_: Float32

    @abstractmethod
    def _raw(self, residues: Sequence[str]) -> Float32:
        """The features before standardisation, (N, F)."""

    def _fit_features(self, residues: Sequence[str]) -> Float32:
        raw = self._raw(residues)
        self.centre_ = raw.mean(axis=0, dtype=np.float64).astype(np.float32)
        spread = raw.std(axis=0, dtype=np.float64).astype(np.float32)
        self.scale_ = np.where(spread > 1e-6, spread, 1).astype(np.float32)
        return (raw - self.centre_) / self.scale_

    def _features(self, residues: Sequence[str], first_row: int = 0) -> Float32:
        return (self._raw(residues) - self.centre_) / self.scale_

    def _feature_arrays(self) -> dict[str, NDArray[Any]]:
        return {"centre": self.centre_, "scale": self.scale_}

    def _restore_features(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.centre_, self.scale_ = arrays["centre"], arrays["scale"]


class CompositionHead(StandardisedBaseline):
    """Logistic or ridge regression on amino-acid and dipeptide composition: 21 and 441 shares, with X for the rest.

    The parameters are those of `heads.sequence_baselines.linear_baseline.LinearBaseline`.
    """

    default_penalty = 10.0
    default_ridge = 100.0
    default_penalties = (1000.0, 100.0, 10.0, 1.0)

    def _raw(self, residues: Sequence[str]) -> Float32:
        counts: Float32 = kmer_counts(residues, 2).toarray()
        for block in (counts[:, :21], counts[:, 21:]):
            block /= np.maximum(block.sum(axis=1, keepdims=True), 1)
        return counts


class LengthHead(StandardisedBaseline):
    """Logistic regression on 120 bumps along the logarithm of the length, from 10 to 3,000 residues.

    It shows how much of a benchmark can be predicted from length alone. The parameters are those of
    `heads.sequence_baselines.linear_baseline.LinearBaseline`.
    """

    target_types = ("class", "multilabel")
    default_penalties = (10.0, 1.0, 0.1)

    def _raw(self, residues: Sequence[str]) -> Float32:
        lengths = np.fromiter(map(len, residues), np.float64, count=len(residues))
        logs = np.clip(np.log(np.maximum(lengths, 1)), _CENTRES[0], _CENTRES[-1])
        bumps: Float32 = np.exp(-0.5 * ((logs[:, None] - _CENTRES) / _WIDTH) ** 2).astype(np.float32)
        return bumps
