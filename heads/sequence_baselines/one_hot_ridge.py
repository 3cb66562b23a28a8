"""One number for each residue at each position: ridge regression for variants of one protein."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from heads.sequence_baselines.linear_baseline import LinearFloor
from heads.sequence_baselines.variants import aligned_codes

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class OneHotRidgeHead(LinearFloor):
    """Ridge regression on which residue stands at which position, for variants of one protein, all of one length.

    Parameters
    ----------
    penalty
        scikit-learn's alpha. None: the one of `penalties` with the least squared error on the validation rows, or 1
        without them.
    penalties
        What to choose from.
    target_type
        What is predicted.
    """

    target_types = ("regression",)

    length_: int

    def __init__(
        self,
        *,
        penalty: float | None = None,
        penalties: Sequence[float] = (10.0, 3.0, 1.0, 0.3, 0.1),
        target_type: str = "regression",
    ) -> None:
        self.penalty = penalty
        self.penalties = penalties
        self.target_type = target_type

    def _learn_numbers(self, residues: Sequence[str]) -> csr_array:
        self.length_ = len(residues[0])
        return self._numbers(residues)

    def _numbers(self, residues: Sequence[str], first_row: int = 0) -> csr_array:
        from scipy.sparse import csr_array

        codes = aligned_codes(residues, self.length_, first_row=first_row)
        columns = np.arange(self.length_) * 21 + codes
        starts = np.arange(len(codes) + 1) * self.length_
        ones = np.ones(columns.size, np.float32)
        return csr_array((ones, columns.ravel(), starts), shape=(len(codes), self.length_ * 21))

    def _number_arrays(self) -> dict[str, NDArray[Any]]:
        return {"length": np.array([self.length_])}

    def _restore_numbers(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.length_ = int(arrays["length"][0])
