"""A hash of whole numbers that is the same on every machine and in every release of numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def splitmix64(counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output for each counter (Steele, Lea and Flood 2014, OOPSLA): the same on every machine.

    >>> [hex(word) for word in splitmix64(np.array([0, 1], dtype=np.uint64)).tolist()]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    # Array arithmetic on uint64 wraps around without a warning, as the generator wants.
    state = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ state >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ state >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return state ^ state >> np.uint64(31)
