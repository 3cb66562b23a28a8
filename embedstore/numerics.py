"""Small numerical functions, each defined once: softmax, sigmoid, log-odds, L2 normalisation, an integer hash.

Stored heads depend on the bits of these functions: change none of them without a test of old heads (tests/formats).
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatT = TypeVar("FloatT", bound=np.floating[Any])


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Probabilities of each row, (N, C) float32, computed in the dtype of the logits.

    The logits are overwritten. Pass a copy to keep them.

    >>> softmax(np.array([[0.0, 0.0], [1e4, 0.0]])).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits.astype(np.float32, copy=False)


def sigmoid(logits: NDArray[FloatT]) -> NDArray[FloatT]:
    """``1 / (1 + exp(-logits))`` in the dtype of the logits, without overflow: below -80 the value at -80.

    >>> sigmoid(np.array([-1e4, 0.0, 1e4])).round(9).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.asarray(1 / (1 + np.exp(-np.maximum(logits, -80))))


def tanh_sigmoid(logits: NDArray[FloatT]) -> NDArray[FloatT]:
    """The sigmoid as ``(1 + tanh(logits / 2)) / 2``, in the dtype of the logits.

    It equals :func:`sigmoid` up to rounding and is 0 where that is below half the spacing of floats at 1. The answers
    of stored `mlp` heads and sequence baselines depend on its bits; new code takes :func:`sigmoid`.

    >>> tanh_sigmoid(np.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))


def log_odds(probabilities: NDArray[np.float64], *, smallest: float = 1e-6) -> NDArray[np.float64]:
    """``log(p / (1 - p))`` of probabilities that are first clipped to [smallest, 1 - smallest], so that it is finite.

    >>> log_odds(np.array([0.0, 0.5])).round(3).tolist()
    [-13.816, 0.0]
    """
    clipped = np.clip(probabilities, smallest, 1 - smallest)
    return np.asarray(np.log(clipped / (1 - clipped)))


def l2_normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of an (N, D) matrix scaled to the length sqrt(D), so that a coordinate is about 1; zeros stay zero.

    >>> l2_normalise(np.array([[3, 4], [0, 0]], np.float32)).astype(float).round(3).tolist()
    [[0.849, 1.131], [0.0, 0.0]]
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors) / np.float32(vectors.shape[1]))
    return np.asarray(vectors / np.where(lengths > 0, lengths, np.float32(1))[:, None])


def splitmix64(counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 of each counter (Steele, Lea and Flood 2014, OOPSLA): the same on every machine and numpy release.

    >>> [hex(word) for word in splitmix64(np.array([0, 1], dtype=np.uint64)).tolist()]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    # Array arithmetic on uint64 wraps around without a warning, as the generator wants.
    state = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return state ^ state >> np.uint64(31)
