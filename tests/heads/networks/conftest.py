"""Proteins of a few families, small enough for every network."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)


class Proteins(NamedTuple):
    X: list[str]
    y: NDArray[np.str_]


@pytest.fixture(scope="session")
def proteins() -> Callable[..., Proteins]:
    """Make proteins of 20 to 30 residues of four families, every third residue changed."""

    def make(n: int, *, seed: int = 0, n_families: int = 4) -> Proteins:
        ancestors = np.random.default_rng(5).choice(LETTERS, (n_families, 30))
        rng = np.random.default_rng(seed)
        texts, labels = [], []
        for number in range(n):
            family = number % n_families
            changed = np.where(rng.random(30) < 0.33, rng.choice(LETTERS, 30), ancestors[family])
            texts.append(changed[: rng.integers(20, 31)].tobytes().decode())
            labels.append(f"family {family}")
        return Proteins(texts, np.array(labels))

    return make
