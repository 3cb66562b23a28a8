"""The length alone: what is learnt from it is no biology, and much of some benchmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heads.features.base import Float32
from heads.sequence_baselines.composition import StandardisedFloor

_CENTRES = np.linspace(np.log(10), np.log(3000), 120)
_WIDTH = 1.5 * (_CENTRES[1] - _CENTRES[0])


class LengthHead(StandardisedFloor):
    """Logistic regression on 120 bumps along the logarithm of the length, from 10 to 3,000 residues.

    Parameters
    ----------
    penalty
        On squared coefficients (scikit-learn's 1 / C). None: the one of `penalties` with the least loss on the
        validation rows, or 0.1 without them.
    penalties
        What to choose from.
    target_type
        What is predicted.
    """

    target_types = ("class", "multilabel")

    default_penalty = 0.1

    def __init__(
        self,
        *,
        penalty: float | None = None,
        penalties: Sequence[float] = (10.0, 1.0, 0.1),
        target_type: str = "class",
    ) -> None:
        self.penalty = penalty
        self.penalties = penalties
        self.target_type = target_type

    def _raw(self, residues: Sequence[str]) -> Float32:
        lengths = np.fromiter(map(len, residues), np.float64, count=len(residues))
        logs = np.clip(np.log(np.maximum(lengths, 1)), _CENTRES[0], _CENTRES[-1])
        bumps: Float32 = np.exp(-0.5 * ((logs[:, None] - _CENTRES) / _WIDTH) ** 2).astype(np.float32)
        return bumps
