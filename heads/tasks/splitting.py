"""Which rows are trained on, chosen on and tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.numerics import splitmix64
from embedstore.types import Digests

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
    digests: Digests, *, seed: int = 0, fractions: tuple[float, float, float] = FRACTIONS
) -> dict[str, NDArray[np.int64]]:
    """Rows of each part, drawn by a hash of the key, so that equal sequences are always in one part.

    A row's part depends on its key and the seed alone: adding rows moves none.

    Parameters
    ----------
    digests
        (N, 24) uint8.
    seed
        Another seed, another split.
    fractions
        Share of train, valid and test; they sum to 1.
    """
    _check_fractions(fractions)
    draws = uniform_by_key(digests, seed)
    part = np.searchsorted(np.cumsum(fractions)[:2], draws, side="right")
    return {name: np.flatnonzero(part == code) for code, name in enumerate(SPLITS)}


def split_by_clusters(
    clusters: NDArray[np.int64],
    digests: Digests,
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
    digests
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
    np.minimum.at(draws, members, uniform_by_key(digests, seed))
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


def uniform_by_key(digests: Digests, seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each key: its three words chained through SplitMix64 (Steele et al. 2014)."""
    words = np.ascontiguousarray(digests).view(">u8").reshape(-1, 3).astype(np.uint64)
    state = np.full(len(words), seed % 2**64, np.uint64)
    for word in words.T:
        state = splitmix64(state ^ word)
    uniform: NDArray[np.float64] = (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform
