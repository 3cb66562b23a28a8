"""A linear model on tf-idf weights of k-mers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.features.base import Float32
from heads.features.encoding import kmer_counts
from heads.sequence_baselines.linear_baseline import LinearBaseline

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MAX_K = 4


class KmerHead(LinearBaseline):
    """Logistic or ridge regression on tf-idf weights of all k-mers of length 1 to `k`.

    Counts are multiplied by ``1 + ln((1 + N) / (1 + n))``, where n of the N training proteins have the k-mer, and rows
    are scaled to length 1, as in scikit-learn's ``TfidfVectorizer(analyzer="char", ngram_range=(1, k))``. Letters other
    than the twenty residues count as one letter. K-mers of no training protein are left out.

    Parameters
    ----------
    k
        Length of the longest k-mers.
    penalty, penalties, target_type
        See `heads.sequence_baselines.linear_baseline.LinearBaseline`.

    Attributes
    ----------
    words_
        (F,) int64 indices of the k-mers in training.
    idf_
        (F,) float32 their weights.
    """

    default_penalties = (1.0, 0.1, 0.01)

    words_: NDArray[np.int64]
    idf_: Float32

    def __init__(
        self,
        *,
        k: int = 3,
        penalty: float | None = None,
        penalties: Sequence[float] | None = None,
        target_type: str = "class",
    ) -> None:
        super().__init__(penalty=penalty, penalties=penalties, target_type=target_type)
        self.k = k

    def _fit_features(self, residues: Sequence[str]) -> csr_array:
        if self.k not in range(1, MAX_K + 1):
            raise InputError(f"k is {self.k}; expected a whole number from 1 to {MAX_K}.")
        counts = kmer_counts(residues, self.k)
        n_with = np.bincount(counts.indices, minlength=counts.shape[1])
        self.words_ = np.flatnonzero(n_with)
        self.idf_ = (1 + np.log((1 + len(residues)) / (1 + n_with[self.words_]))).astype(np.float32)
        return self._weighted(counts)

    def _features(self, residues: Sequence[str], first_row: int = 0) -> csr_array:
        return self._weighted(kmer_counts(residues, self.k))

    def _weighted(self, counts: csr_array) -> csr_array:
        weighted = counts[:, self.words_]
        weighted.data *= self.idf_[weighted.indices]
        norms = np.sqrt(weighted.multiply(weighted).sum(axis=1))
        weighted.data /= np.repeat(np.where(norms > 0, norms, 1), np.diff(weighted.indptr)).astype(np.float32)
        return weighted

    def _feature_arrays(self) -> dict[str, NDArray[Any]]:
        return {"words": self.words_, "idf": self.idf_}

    def _restore_features(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.words_, self.idf_ = arrays["words"], arrays["idf"]
