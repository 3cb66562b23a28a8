"""Simulated vectors of families, in memory or in a memory-mapped file of float16."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 8192


class Families:
    """Rows around one centre a class; sizes follow a power law, variances fall along the axes, members share noise.

    Parameters
    ----------
    n_rows, dim, n_classes
        Size. Every class has a row at least.
    noise
        Of members about their centre, in units of the spread of the centres.
    """

    def __init__(self, n_rows: int, dim: int, n_classes: int, *, noise: float = 1.0) -> None:
        rng = np.random.default_rng(0)
        self.n_rows, self.dim, self.n_classes, self.noise = n_rows, dim, n_classes, noise
        self._scale = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
        self._centres = rng.normal(size=(n_classes, dim)).astype(np.float32) * self._scale
        self._origin = rng.normal(size=dim).astype(np.float32)
        self._shares = 1 / np.arange(1, n_classes + 1) ** 0.8
        self._shares /= self._shares.sum()

    def codes(self, n_rows: int, seed: int) -> NDArray[np.int64]:
        """Class of each row; of the training rows (seed 0) the first ones go through all classes."""
        codes = np.random.default_rng((2, seed)).choice(self.n_classes, n_rows, p=self._shares)
        if seed == 0:
            codes[: self.n_classes] = np.arange(self.n_classes)
        return codes.astype(np.int64)

    def blocks(self, codes: NDArray[np.int64], seed: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Vectors of the rows, a block at a time."""
        for start in range(0, len(codes), BLOCK):
            part = codes[start : start + BLOCK]
            rng = np.random.default_rng((3, seed, start))
            noise = rng.standard_normal((len(part), self.dim), dtype=np.float32) * self._scale
            yield slice(start, start + len(part)), self._origin + self._centres[part] + self.noise * noise

    def array(self, n_rows: int, seed: int) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Vectors and classes in memory."""
        codes = self.codes(n_rows, seed)
        X = np.empty((n_rows, self.dim), np.float16)
        for rows, block in self.blocks(codes, seed):
            X[rows] = block
        return X, codes

    def file(self, path: Path) -> NDArray[np.int64]:
        """Write the training vectors as raw float16, (n_rows, dim), and give their classes."""
        codes = self.codes(self.n_rows, 0)
        with path.open("wb") as file:
            for _, block in self.blocks(codes, 0):
                file.write(block.astype(np.float16).tobytes())
        return codes
