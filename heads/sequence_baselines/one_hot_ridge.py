"""Ridge regression on one-hot residues, for variants of one protein."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from heads.sequence_baselines.linear_baseline import LinearBaseline
from heads.sequence_baselines.variants import aligned_codes

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class OneHotRidgeHead(LinearBaseline):
    """Ridge regression on the residue at each position, for variants of one protein, all of one length.

    The parameters are those of `heads.sequence_baselines.linear_baseline.LinearBaseline`.
    """

    target_types = ("regression",)
    default_penalties = (10.0, 3.0, 1.0, 0.3, 0.1)

    length_: int

    def __init__(
        self, *, penalty: float | None = None, penalties: Sequence[float] | None = None, target_type: str = "regression"
    ) -> None:
        super().__init__(penalty=penalty, penalties=penalties, target_type=target_type)

    def _fit_features(self, residues: Sequence[str]) -> csr_array:
        self.length_ = len(residues[0])
        return self._features(residues)

    def _features(self, residues: Sequence[str], first_row: int = 0) -> csr_array:
        from scipy.sparse import csr_array

        codes = aligned_codes(residues, self.length_, first_row=first_row)
        columns = np.arange(self.length_) * 21 + codes
        starts = np.arange(len(codes) + 1) * self.length_
        ones = np.ones(columns.size, np.float32)
        return csr_array((ones, columns.ravel(), starts), shape=(len(codes), self.length_ * 21))

    def _feature_arrays(self) -> dict[str, NDArray[Any]]:
        return {"length": np.array([self.length_])}

    def _restore_features(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.length_ = int(arrays["length"][0])
