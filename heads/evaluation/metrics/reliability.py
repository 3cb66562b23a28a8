"""Reliability of probabilities: bins, and the expected calibration error."""

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
    """Answers with similar probabilities.

    Attributes
    ----------
    start, stop
        Of the probabilities; the start belongs to the previous bin.
    n
        Number of answers.
    confidence
        Their mean probability.
    right, low, high
        Share of correct answers, with Wilson's 95% interval.
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
    return np.asarray(np.clip(np.ceil(probabilities * N_BINS).astype(np.int64) - 1, 0, N_BINS - 1))


def reliability_part(probabilities: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> Sums:
    """The expected calibration error of (N,) answers."""
    gap = probabilities.astype(np.float64) - right
    columns = csr_array((gap, (np.arange(len(gap)), bins_of(probabilities))), shape=(len(gap), N_BINS))
    ones = csr_array(np.ones((len(gap), 1)))
    # Noise only adds to a sum of absolute gaps, so resamples are biased upwards.
    return Sums(columns=hstack([ones, columns], format="csr"), statistic=ece_of, shifted=frozenset({"ece"}))


def ece_of(sums: Float64) -> dict[str, Float64]:
    """From (r, 1 + N_BINS) sums of the number of answers, then of the gap in each bin."""
    return {"ece": np.abs(sums[:, 1:]).sum(axis=1) / np.maximum(sums[:, 0], 1)}


def reliability(probabilities: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> list[Bin]:
    """The bins that are not empty, for a reliability plot."""
    number = bins_of(probabilities)
    sums = [np.bincount(number, weights=w, minlength=N_BINS) for w in (None, probabilities, right.astype(np.float64))]
    return reliability_of(*sums)


def reliability_of(counts: NDArray[Any], probabilities: NDArray[Any], right: NDArray[Any]) -> list[Bin]:
    """As `reliability`, from (N_BINS,) sums of answers, probabilities and correct answers."""
    bins = []
    for number in np.flatnonzero(counts).tolist():
        n, n_right = int(counts[number]), round(float(right[number]))
        low, high = wilson_interval(n_right, n)
        start, stop, confidence = number / N_BINS, (number + 1) / N_BINS, float(probabilities[number]) / n
        bins.append(Bin(start=start, stop=stop, n=n, confidence=confidence, right=n_right / n, low=low, high=high))
    return bins
