"""What the test rows have in common with the training rows: the same sequences, near duplicates, relatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.store.store import Store
from embedstore.types import Digests
from heads.evaluation.metrics import Outcomes, wilson_interval
from heads.evaluation.metrics.bootstrap import Interval
from heads.evaluation.metrics.classification import ClassOutcomes
from heads.evaluation.metrics.regression import NumberOutcomes
from heads.evaluation.nearest_training import Nearest, nearest_training
from heads.tasks.leakage import isin_keys

SAMPLE_ROWS = 1000
"""Test rows whose nearest training protein is looked for, unless said otherwise."""

NEAR_DUPLICATE = 0.9
"""Identity from which on a test protein counts as a near duplicate of a training protein."""

EDGES = tuple(step / 10 for step in range(11))
"""Ten bins of identity, as Bileschi et al. 2022 report them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakageReport:
    """Leakage between the training rows and those of a split.

    Attributes
    ----------
    n_exact
        Distinct sequences (pairs, where rows are pairs) of the split that stand in the training rows too.
    n_exact_rows
        Rows of the split that have one of those.
    n_sampled
        Rows whose nearest training protein was looked for; 0 where that was not asked for.
    n_near
        Those of them that are near duplicates, exact ones included.
    near_share
        Their share, with Wilson's 95% interval; None without a sample.
    identity
        From which on a row is one.
    method
        How relatives were found, or why they were not looked for.
    """

    n_exact: int
    n_exact_rows: int
    n_sampled: int = 0
    n_near: int = 0
    near_share: Interval | None = None
    identity: float = NEAR_DUPLICATE
    method: str = "not asked for"

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityBin:
    """Rows of about the same identity to the nearest training protein.

    Attributes
    ----------
    start, stop
        Identity; the start belongs to the bin, and 1 to the last. None for rows without any relative.
    n
        Rows.
    value, low, high
        Share of right rows, or their mean absolute error for numbers, with a 95% interval.
    """

    start: float | None
    stop: float | None
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relatives:
    """The nearest training protein of some rows of a split.

    Attributes
    ----------
    rows
        (m,) int64: which rows of the split.
    nearest
        Of them.
    each
        (k, m) float64 identity of each of the k proteins of a row to its own nearest; NaN where none was found.
    """

    rows: NDArray[np.int64]
    nearest: Nearest
    each: NDArray[np.float64]


def relatives_of(
    store: Store,
    split: Sequence[Digests],
    training: Sequence[Digests],
    *,
    method: str = "words",
    limit: int = SAMPLE_ROWS,
    seed: int = 0,
) -> Relatives | str:
    """The nearest training protein of a sample of rows, or why there is none.

    Parameters
    ----------
    store
        That holds the sequences.
    split, training
        (n, 24) and (N, 24) keys; of pairs those of the first and of the second proteins. A pair is as near as the one
        of its proteins that is less near to any training protein.
    method
        See `heads.evaluation.nearest_training.METHODS`.
    limit
        Most rows of the split.
    seed
        Of the sample.
    """
    n_rows = len(split[0])
    rows = np.arange(n_rows)
    if n_rows > limit:
        rows = np.sort(np.random.default_rng(seed).choice(n_rows, limit, replace=False))
    known = np.unique(np.concatenate(training), axis=0)
    asked = [keys[rows] for keys in split]
    if not all(store.sequences.contains(keys).all() for keys in (known, *asked)):
        return "not looked for: the store does not hold all the sequences"
    trained = store.sequences.take(known)
    distinct, back = np.unique(np.concatenate(asked), axis=0, return_inverse=True)
    found = nearest_training(store.sequences.take(distinct), trained, method=method)
    place = back.reshape(len(split), -1)
    each = found.identity[place]
    less = np.where(np.isnan(each), -1.0, each).argmin(axis=0)
    chosen = place[less, np.arange(len(rows))]
    return Relatives(
        rows=rows,
        nearest=Nearest(identity=found.identity[chosen], row=found.row[chosen], method=found.method),
        each=each,
    )


def leakage_report(split: Digests, training: Digests, relatives: Relatives | str | None) -> LeakageReport:
    """Exact and near duplicates; both (n, 24) and (N, 24) keys that tell rows apart."""
    among = isin_keys(split, training)
    n_exact = len(np.unique(split[among], axis=0))
    exact = LeakageReport(n_exact=n_exact, n_exact_rows=int(among.sum()))
    if relatives is None:
        return exact
    if isinstance(relatives, str):
        return replace(exact, method=relatives)
    n, near = len(relatives.rows), int((relatives.nearest.identity >= NEAR_DUPLICATE).sum())
    low, high = wilson_interval(near, n)
    return replace(
        exact,
        n_sampled=n,
        n_near=near,
        near_share=Interval(value=near / n, low=low, high=high),
        method=relatives.nearest.method,
    )


def by_identity(outcomes: Outcomes, relatives: Relatives) -> tuple[IdentityBin, ...]:
    """Share of right rows (rows with exactly the right labels, mean absolute error of numbers) by identity.

    Parameters
    ----------
    outcomes
        Of the rows of the split; a row a protein or a pair.
    relatives
        Of some of them.
    """
    identity = relatives.nearest.identity
    score = row_scores(outcomes)[relatives.rows]
    bins = np.minimum((np.where(np.isnan(identity), 0, identity) * 10).astype(np.int64), 9)
    bins[np.isnan(identity)] = -1
    found = []
    for place in np.unique(bins).tolist():
        held = score[bins == place]
        value = float(held.mean())
        if isinstance(outcomes, NumberOutcomes):
            half = 1.96 * float(held.std(ddof=1)) / len(held) ** 0.5 if len(held) > 1 else float("nan")
            low, high = value - half, value + half
        else:
            low, high = wilson_interval(round(held.sum()), len(held))
        start, stop = (None, None) if place < 0 else (EDGES[place], EDGES[place + 1])
        found.append(IdentityBin(start=start, stop=stop, n=len(held), value=value, low=low, high=high))
    return tuple(found)


def row_scores(outcomes: Outcomes) -> NDArray[np.float64]:
    """(N,) 1 for a row that is right, else 0; the absolute error for numbers."""
    if isinstance(outcomes, NumberOutcomes):
        return np.abs(outcomes.true - outcomes.predicted)
    if isinstance(outcomes, ClassOutcomes):
        return outcomes.right.astype(np.float64)
    return outcomes.exact.astype(np.float64)
