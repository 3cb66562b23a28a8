"""Whether what is said to be probable to a degree is right as often: bins, and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from heads.evaluation.metrics.bootstrap import Float64, Sums, wilson_interval

N_BINS = 15
"""Bins of equal width (Guo et al. 2017)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Answers of about the same probability.

    Attributes
    ----------
    start, stop
        Of the probabilities; the start belongs to the bin before.
    n
        Answers.
    confidence
        Their mean probability.
    right, low, high
        Share that is right, and Wilson's 95% interval.
    """

    start: float
    stop: float
    n: int
    confidence: float
    right: float
    low: float
    high: float


def bins_of(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Bin of each probability, int64 from 0."""
    place: NDArray[np.int64] = np.clip(np.ceil(probabilities * N_BINS).astype(np.int64) - 1, 0, N_BINS - 1)
    return place


def reliability_part(probabilities: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> Sums:
    """The expected calibration error of (N,) answers: the mean gap between probability and share, over bins."""
    gap = probabilities.astype(np.float64) - right
    columns = csr_array((gap, (np.arange(len(gap)), bins_of(probabilities))), shape=(len(gap), N_BINS))
    # A row of the (1, N_BINS) sums has no count of its own: every row has one answer.
    ones = csr_array(np.ones((len(gap), 1)))
    # Noise only adds to a sum of gaps: resamples lie above the value.
    return Sums(columns=hstack([ones, columns], format="csr"), statistic=ece_of, shifted=frozenset({"ece"}))


def ece_of(sums: Float64) -> dict[str, Float64]:
    """From (r, 1 + N_BINS) sums: the number of answers, then the gap of each bin."""
    return {"ece": np.abs(sums[:, 1:]).sum(axis=1) / np.maximum(sums[:, 0], 1)}


def reliability(probabilities: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> list[Bin]:
    """The bins that hold an answer, for a reliability plot."""
    place = bins_of(probabilities)
    sums = [np.bincount(place, weights=w, minlength=N_BINS) for w in (None, probabilities, right.astype(np.float64))]
    return reliability_of(*sums)


def reliability_of(counts: NDArray[Any], probabilities: NDArray[Any], right: NDArray[Any]) -> list[Bin]:
    """As `reliability`, from (N_BINS,) sums of the answers, their probabilities, and the right ones."""
    found = []
    for place in np.flatnonzero(counts).tolist():
        n, n_right = int(counts[place]), round(float(right[place]))
        low, high = wilson_interval(n_right, n)
        found.append(
            Bin(
                start=place / N_BINS,
                stop=(place + 1) / N_BINS,
                n=n,
                confidence=float(probabilities[place]) / n,
                right=n_right / n,
                low=low,
                high=high,
            )
        )
    return found
