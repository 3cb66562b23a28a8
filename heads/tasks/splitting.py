"""Train, validation and test rows; rows held out of training; and folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.types import Digests
from heads.tasks.keys import isin_keys, uniform_by_key
from heads.tasks.targets import Targets

SPLITS = ("train", "valid", "test")
"""The three parts, as they are called everywhere."""

SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
"""What sources call the three parts; compared in lower case."""

FRACTIONS = (0.8, 0.1, 0.1)
"""Share of the keys in each part of a random split."""


def split_by_column(
    values: Sequence[str], *, names: Mapping[str, str] | None = None, column: str = "split"
) -> dict[str, NDArray[np.int64]]:
    """Rows of each part, by the text of a column; rows with an empty text are in none.

    Parameters
    ----------
    values
        Text of each row.
    names
        What the texts mean, ``{"holdout": "test"}``, besides `SPLIT_NAMES`.
    column
        Name of the column, for messages.

    Returns
    -------
    dict
        ``train``, ``valid`` and ``test``, each with ascending row numbers, perhaps none.

    Raises
    ------
    InputError
        If a text is none of the names.

    Examples
    --------
    >>> {name: rows.tolist() for name, rows in split_by_column(["train", "dev", "", "train"]).items()}
    {'train': [0, 3], 'valid': [1], 'test': []}
    """
    known = {**SPLIT_NAMES, **{name.lower(): part for name, part in (names or {}).items()}}
    texts, codes = np.unique(np.asarray(values, dtype=np.str_), return_inverse=True)
    parts: dict[str, list[NDArray[np.int64]]] = {name: [] for name in SPLITS}
    for code, text in enumerate(texts.tolist()):
        if not text:
            continue
        if known.get(text.lower()) not in SPLITS:
            raise InputError(
                f"Column {column!r} says {text!r} for {int((codes == code).sum()):,} rows; expected one of "
                f"{', '.join(known)}, or nothing for a row to leave out. Rename it in the source."
            )
        parts[known[text.lower()]].append(np.flatnonzero(codes == code))
    return {name: np.sort(np.concatenate([np.zeros(0, np.int64), *rows])) for name, rows in parts.items()}


def split_by_key(
    keys: Digests, *, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS
) -> dict[str, NDArray[np.int64]]:
    """Rows of each part, drawn by a hash of the key, so that equal sequences are always in one part.

    A row's part depends on its key and the seed alone: adding rows moves none.

    Parameters
    ----------
    keys
        (N, 24) uint8.
    seed
        Another seed, another split.
    fractions
        Share of train, valid and test; they sum to 1.
    """
    _check_fractions(fractions)
    draws = uniform_by_key(keys, seed)
    part = np.searchsorted(np.cumsum(fractions)[:2], draws, side="right")
    return {name: np.flatnonzero(part == code) for code, name in enumerate(SPLITS)}


def split_by_clusters(
    clusters: NDArray[np.int64],
    keys: Digests,
    *,
    seed: int = 0,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> dict[str, NDArray[np.int64]]:
    """Rows of each part, so that every cluster is whole in one of them.

    Clusters come in an order drawn from the keys in each and the seed. Each goes to test while it fits there, else
    to validation while it fits there, else to train: a cluster that is larger than a part always trains.

    Parameters
    ----------
    clusters
        (N,) int64 number of each row's cluster.
    keys
        (N, 24) uint8.
    seed
        Another seed, another split.
    fractions
        Share of train, valid and test of the rows; train gets what fits in neither of the others.

    Examples
    --------
    >>> keys = np.arange(10 * 24, dtype=np.uint8).reshape(10, 24)
    >>> parts = split_by_clusters(np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 2]), keys)
    >>> sorted(len(rows) for rows in parts.values()), parts["train"].tolist()
    ([1, 1, 8], [0, 1, 2, 3, 4, 5, 6, 7])
    """
    _check_fractions(fractions)
    names, members, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    draws = np.full(len(names), 2.0)
    np.minimum.at(draws, members, uniform_by_key(keys, seed))
    room = {"test": fractions[2] * len(clusters), "valid": fractions[1] * len(clusters)}
    home = np.zeros(len(names), np.int64)
    for cluster in np.argsort(draws, kind="stable").tolist():
        for part, left in room.items():
            if sizes[cluster] <= left:
                room[part] -= float(sizes[cluster])
                home[cluster] = SPLITS.index(part)
                break
    return {name: np.flatnonzero(home[members] == code) for code, name in enumerate(SPLITS)}


def _check_fractions(fractions: tuple[float, float, float]) -> None:
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise InputError(f"The fractions are {fractions}; expected three numbers of at least 0 that sum to 1.")


HELD_OUT_SHARE = 0.1
"""Share of the training rows that a head holds out where it needs validation rows and is given none."""


def hold_out(
    keys: Digests, targets: Targets, *, seed: int, share: float = HELD_OUT_SHARE, from_top: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows held out, both ascending; the latter may be empty.

    Equal keys are on one side, and no class loses all its rows to learn from.

    Parameters
    ----------
    keys
        (N, 24) uint8, equal for rows that stay together; see `heads.features.base.Features.group_keys`.
    targets
        Of the N rows.
    seed
        Another seed, other rows.
    share
        Of the rows to hold out, from 0 to less than 1.
    from_top
        Whether rows with the highest draws are held out in place of the lowest; checkpoints of networks name those.
    """
    if not share:
        return np.arange(len(keys)), np.zeros(0, np.int64)
    draws = uniform_by_key(keys, seed)
    held = draws >= 1 - share if from_top else draws < share
    if targets.codes is not None:
        left = np.bincount(targets.codes[~held & targets.known], minlength=len(targets.classes))
        held &= left[targets.codes] > 0
    # Another row of the same sequence may be needed.
    held &= ~isin_keys(keys, keys[~held])
    if held.all():
        held[:] = False
    return np.flatnonzero(~held), np.flatnonzero(held)


def folds(keys: Digests, n_folds: int, *, seed: int) -> NDArray[np.int64]:
    """Fold of each row, (N,) from 0 to n_folds - 1, drawn by key: equal keys are in one fold."""
    fold: NDArray[np.int64] = (uniform_by_key(keys, seed) * n_folds).astype(np.int64)
    return fold
