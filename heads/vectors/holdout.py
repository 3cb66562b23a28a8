"""Rows of the training set that are set aside to choose on, drawn by key."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedstore.types import Digests
from heads.base import LabelledExamples
from heads.features.base import Features, Rows
from heads.features.residues import LooseResidues, ResidueFeatures
from heads.tasks.leakage import isin_keys
from heads.tasks.splitting import uniform_by_key
from heads.tasks.targets import Targets
from heads.vectors.neighbour_targets import row_keys

HELD_OUT_SHARE = 0.1
"""Share of the training rows that a head sets aside where it is given no validation rows and needs some."""


def hold_out(train: LabelledExamples, *, seed: int, share: float = HELD_OUT_SHARE) -> tuple[Rows, Rows]:
    """Rows to learn from and rows to choose on, both ascending; the latter are perhaps none.

    Equal sequences, and the residues of one protein, are on one side. A class keeps a row to learn from.
    """
    keys = group_keys(train.features)
    held = uniform_by_key(keys, seed) < share
    held &= ~_needed(train.targets, held)
    # Another row of the same sequence may be needed.
    held &= ~isin_keys(keys, keys[~held])
    return np.flatnonzero(~held), np.flatnonzero(held)


def folds(features: Features, n_folds: int, *, seed: int) -> NDArray[np.int64]:
    """Fold of each row, (N,) from 0 to n_folds - 1, drawn by key."""
    fold: NDArray[np.int64] = (uniform_by_key(group_keys(features), seed) * n_folds).astype(np.int64)
    return fold


def of_seen_classes(rows: LabelledExamples, train: LabelledExamples) -> LabelledExamples | None:
    """Those of some rows whose class is among those of the training rows; None if there are none.

    Targets have the classes of all rows; a class of one row is perhaps not in a part of them.
    """
    if rows.targets.codes is None:
        return rows
    seen = np.isin(rows.targets.codes, train.targets.require_codes())
    return rows.select(np.flatnonzero(seen)) if seen.any() else None


def group_keys(features: Features) -> Digests:
    """A key for each row, (N, 24), the same for rows that must not be parted."""
    if isinstance(features, LooseResidues):
        return features.whole.proteins[features.owners]
    if features.offsets is not None:
        sizes = np.diff(features.offsets)
        proteins = features.proteins if isinstance(features, ResidueFeatures) else row_keys(len(sizes))
        return np.repeat(proteins, sizes, axis=0)
    return row_keys(features.shape[0]) if features.digests is None else features.digests


def n_groups(features: Features) -> int:
    """How many groups of rows there are that must not be parted: proteins, where rows are residues."""
    return len(np.unique(group_keys(features), axis=0))


def _needed(targets: Targets, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows of the classes that would have none left."""
    if targets.codes is None:
        return np.zeros(len(held), np.bool_)
    left = np.bincount(targets.codes[~held & targets.known], minlength=len(targets.classes))
    needed: NDArray[np.bool_] = left[targets.codes] == 0
    return needed
