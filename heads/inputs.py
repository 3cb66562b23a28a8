"""The rows of a task as a head sees them: vectors of proteins, of residues, of pairs, each with its target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.store.spaces import Space
from heads.features import SpaceFeatures, with_vectors
from heads.streams import Features
from heads.tasks.base import TaskData


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitRows:
    """Rows of a split that have vectors.

    Attributes
    ----------
    features
        Their vectors; for residues a row each.
    y
        Their targets, as `heads.base.Head.fit` takes them.
    rows
        (n,) int64: which rows of the task they are.
    n_without_vector
        Rows of the split that the build skipped.
    """

    features: Features
    y: Any
    rows: NDArray[np.int64]
    n_without_vector: int


def split_rows(space: Space, data: TaskData, split: str) -> SplitRows:
    """Vectors and targets of a split.

    Raises
    ------
    InputError
        If the split has no row, or the build skipped all of them.
    StoreError
        If rows were never embedded; the message has the command that does it.
    """
    return rows_of(space, data, data.rows(split), what=f"{split} row")


def rows_of(space: Space, data: TaskData, rows: NDArray[np.int64], *, what: str = "row") -> SplitRows:
    """As `split_rows`, of any rows of the task."""
    present = with_vectors(space, data.digests[rows], source=data.source)
    if not present.any():
        raise InputError(f"No {what} of {data.source} has a vector in space {space.id}: the build skipped them all.")
    kept = rows[present]
    return SplitRows(
        features=SpaceFeatures(space, data.digests[kept]),
        y=data.targets(kept),
        rows=kept,
        n_without_vector=int((~present).sum()),
    )
