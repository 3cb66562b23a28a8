"""Leakage: what the rows of a split share with the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedstore.store.store import Store
from embedstore.types import Digests
from heads.evaluation.metrics import Interval, Outcomes, wilson_interval
from heads.evaluation.metrics.classification import ClassOutcomes
from heads.evaluation.metrics.regression import NumberOutcomes
from heads.evaluation.nearest_training import Nearest, nearest_training
from heads.tasks.keys import isin_keys

SAMPLE_ROWS = 1000
"""Rows of a split whose nearest training protein is searched for, unless another number is asked for."""

NEAR_DUPLICATE = 0.9
"""Smallest identity of a near duplicate of a training protein."""

EDGES = tuple(step / 10 for step in range(11))
"""Edges of ten bins of identity, as in Bileschi et al. 2022."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageReport:
    """Exact and near duplicates of training rows in a split.

    Attributes
    ----------
    n_exact
        Distinct sequences (or pairs) of the split that are also in training.
    n_exact_rows
        Rows of the split with one of those.
    n_sampled
        Rows whose nearest training protein was searched for; 0 without a search.
    n_near
        Number of these that are near duplicates, exact ones included.
    near_share
        Their share, with Wilson's 95% interval; None without a search.
    identity
        Smallest identity of a near duplicate.
    method
        How the nearest training protein was found, or why it was not searched for.
    """

    n_exact: int
    n_exact_rows: int
    n_sampled: int = 0
    n_near: int = 0
    near_share: Interval | None = None
    identity: float = NEAR_DUPLICATE
    method: str = "not asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityBin:
    """Rows with similar identity to the nearest training protein.

    Attributes
    ----------
    start, stop
        Identity; the start belongs to the bin, and 1 to the last bin. None for rows without a match.
    n
        Number of rows.
    value, low, high
        Accuracy, or mean absolute error of regression, with a 95% interval.
    """

    start: float | None
    stop: float | None
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relatives:
    """The nearest training protein of a sample of a split.

    Attributes
    ----------
    rows
        (m,) int64 indices of the rows among those of the split.
    nearest
        Of each row; of a pair, of the protein that is less similar to training.
    each
        (k, m) float64 identity of each of the k proteins of a row to its own nearest; NaN without a match.
    """

    rows: NDArray[np.int64]
    nearest: Nearest
    each: NDArray[np.float64]


def sample_relatives(
    store: Store,
    split: Sequence[Digests],
    training: Sequence[Digests],
    *,
    method: str = "words",
    limit: int = SAMPLE_ROWS,
    seed: int = 0,
) -> Relatives | str:
    """The nearest training protein of a sample of rows, or the reason why there is none.

    Parameters
    ----------
    store
        Holds the sequences.
    split, training
        (n, 24) and (N, 24) keys; for pairs those of the first and of the second proteins.
    method
        See `heads.evaluation.nearest_training.METHODS`.
    limit
        Most rows of the sample.
    seed
        Of the sample.
    """
    n_rows = len(split[0])
    rows = np.arange(n_rows)
    if n_rows > limit:
        rows = np.sort(np.random.default_rng(seed).choice(n_rows, limit, replace=False))
    reference = np.unique(np.concatenate(training), axis=0)
    queries = [keys[rows] for keys in split]
    if not all(store.sequences.contains(keys).all() for keys in (reference, *queries)):
        return "not searched for: the store does not hold all the sequences"
    distinct, inverse = np.unique(np.concatenate(queries), axis=0, return_inverse=True)
    nearest = nearest_training(store.sequences.take(distinct), store.sequences.take(reference), method=method)
    index = inverse.reshape(len(split), -1)
    each = nearest.identity[index]
    least_similar = np.where(np.isnan(each), -1.0, each).argmin(axis=0)
    index = index[least_similar, np.arange(len(rows))]
    return Relatives(
        rows=rows, nearest=replace(nearest, identity=nearest.identity[index], row=nearest.row[index]), each=each
    )


def leakage_report(split: Digests, training: Digests, relatives: Relatives | str | None) -> LeakageReport:
    """Exact and near duplicates, from (n, 24) and (N, 24) keys that identify rows."""
    is_duplicate = isin_keys(split, training)
    exact = LeakageReport(n_exact=len(np.unique(split[is_duplicate], axis=0)), n_exact_rows=int(is_duplicate.sum()))
    if relatives is None:
        return exact
    if isinstance(relatives, str):
        return replace(exact, method=relatives)
    n, n_near = len(relatives.rows), int((relatives.nearest.identity >= NEAR_DUPLICATE).sum())
    low, high = wilson_interval(n_near, n)
    share = Interval(value=n_near / n, low=low, high=high)
    return replace(exact, n_sampled=n, n_near=n_near, near_share=share, method=relatives.nearest.method)


def by_identity(outcomes: Outcomes, relatives: Relatives) -> tuple[IdentityBin, ...]:
    """Accuracy (exact match of label sets; mean absolute error of regression) by identity to training.

    Parameters
    ----------
    outcomes
        One for each row of the split.
    relatives
        Of some of the rows.
    """
    identity = relatives.nearest.identity
    score = row_scores(outcomes)[relatives.rows]
    bins = np.minimum((np.where(np.isnan(identity), 0, identity) * 10).astype(np.int64), 9)
    bins[np.isnan(identity)] = -1
    table = []
    for number in np.unique(bins).tolist():
        inside = score[bins == number]
        value = float(inside.mean())
        if isinstance(outcomes, NumberOutcomes):
            half = 1.96 * float(inside.std(ddof=1)) / len(inside) ** 0.5 if len(inside) > 1 else float("nan")
            low, high = value - half, value + half
        else:
            low, high = wilson_interval(round(inside.sum()), len(inside))
        start, stop = (None, None) if number < 0 else (EDGES[number], EDGES[number + 1])
        table.append(IdentityBin(start=start, stop=stop, n=len(inside), value=value, low=low, high=high))
    return tuple(table)


def row_scores(outcomes: Outcomes) -> NDArray[np.float64]:
    """(N,) 1 for a correct row, else 0; the absolute error of regression."""
    if isinstance(outcomes, NumberOutcomes):
        return np.abs(outcomes.true - outcomes.predicted)
    return (outcomes.right if isinstance(outcomes, ClassOutcomes) else outcomes.exact).astype(np.float64)
