"""Batches: of anything by count, and of sequences under a budget of padded residues."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to ``size`` items.

    >>> list(batched("ABCDE", 2))
    [['A', 'B'], ['C', 'D'], ['E']]
    """
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def plan_batches(lengths: NDArray[np.int64], *, budget: int) -> list[NDArray[np.int64]]:
    """Split sequences into batches of similar length.

    Sequences are sorted by length (ties by position), and each batch takes as many as keep
    ``n * longest <= budget``. A sequence that is longer than the budget goes alone. The longest come first, so that
    a run that will not fit into memory fails at its start.

    Parameters
    ----------
    lengths
        (N,) int64: length of each sequence in residues.
    budget
        Most residues in a batch, padding counted.

    Returns
    -------
    list of ndarray
        Index arrays, int64: together a permutation of ``0 .. N - 1``. The same input gives the same plan.

    Raises
    ------
    InputError
        If ``budget`` or a length is below 1.

    Examples
    --------
    >>> [batch.tolist() for batch in plan_batches(np.array([3, 9, 2, 3]), budget=8)]
    [[1], [0, 3], [2]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if budget < 1:
        raise InputError(f"The batch budget is {budget} residues; expected at least 1.")
    if lengths.size and int(lengths.min()) < 1:
        row = int(np.argmin(lengths))
        raise InputError(f"Sequence {row} has {int(lengths[row])} residues; expected at least 1. Drop empty sequences.")
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    batches = []
    start = 0
    while start < len(order):
        # Descending order: the first of a batch is its longest.
        n_rows = max(1, budget // int(lengths[order[start]]))
        batches.append(order[start : start + n_rows])
        start += n_rows
    return batches
