"""What every index does: nearest vectors by cosine similarity, in one order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.types import Digests, Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """A row of the index catalog."""

    name: str
    target: str
    exact: bool
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Nearest neighbours of each query, best first; equal scores are ordered by key.

    Attributes
    ----------
    digests
        (n, k, 24) uint8 keys; k is smaller than asked for where the index has fewer rows.
    scores
        (n, k) float32 cosine similarities; a larger score is closer.
    """

    digests: Digests
    scores: NDArray[np.float32]

    @property
    def k(self) -> int:
        """Neighbours a query."""
        return int(self.scores.shape[1])


class Index(Protocol):
    """An index over the vectors of one space, made as ``Kind(blocks, n_rows=, dim=)``; see `FlatIndex`."""

    dim: int

    @property
    def n_rows(self) -> int:
        """Vectors searched."""
        ...

    def search(self, queries: Vectors, k: int) -> Neighbours:
        """The ``min(k, n_rows)`` nearest rows of each of the (n, D) queries."""
        ...


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Rows scaled to length 1, in float32; a zero row stays zero and is near to nothing."""
    rows = np.asarray(vectors, np.float32)
    # Each row is summed by itself, so that a row's bits do not depend on its neighbours in a batch.
    norms = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1)).astype(np.float32)
    norms[norms == 0] = 1
    unit: NDArray[np.float32] = rows / norms[:, None]
    return unit


def check_queries(queries: Vectors, k: int, dim: int) -> None:
    """Refuse what cannot be searched.

    Raises
    ------
    InputError
        If the queries have another dimension than the index, are not finite, or ``k`` < 1.
    """
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise InputError(
            f"Queries have shape {queries.shape}; this index holds vectors of {dim} numbers: pass (n, {dim})."
        )
    if k < 1:
        raise InputError(f"k is {k}; it must be at least 1.")
    if not np.isfinite(queries).all():
        row = int(np.flatnonzero(~np.isfinite(queries).all(axis=1))[0])
        raise InputError(f"Query {row} holds NaN or infinity; its embedding is broken.")
