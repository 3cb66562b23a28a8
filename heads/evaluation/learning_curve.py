"""How much better a head gets with more training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedstore.errors import InputError
from heads.base import Head
from heads.evaluation.resources import measure_cost
from heads.evaluation.scoring import score_head, validation_rows
from heads.features.sources import Source
from heads.tasks.data import TaskData


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A head that was fitted on a part of the training rows.

    Attributes
    ----------
    fraction, n_rows
        The part.
    value, low, high
        The main metric, with its 95% interval.
    fit_seconds
        Of the fit.
    """

    fraction: float
    n_rows: int
    value: float
    low: float
    high: float
    fit_seconds: float


def learning_curve(
    head: Head,
    source: Source,
    data: TaskData,
    split: str,
    *,
    fractions: Sequence[float],
    metric: str,
    seed: int = 0,
) -> tuple[CurvePoint, ...]:
    """Fit heads with the same parameters on parts of the training rows, and measure each on a split.

    Parameters
    ----------
    head
        Whose parameters to use; it is left as it is.
    source, data, split
        What to fit and to measure on.
    fractions
        Shares of the training rows, over 0 to 1. A smaller part is a part of a larger one.
    metric
        What to measure.
    seed
        Of the order in which rows are taken.

    Raises
    ------
    InputError
        For a share outside 0 to 1.
    """
    if any(not 0 < fraction <= 1 for fraction in fractions):
        raise InputError(f"The fractions are {tuple(fractions)}; expected shares over 0 to 1, such as 0.1,0.3,1.")
    if not fractions:
        return ()
    trained = np.random.default_rng(seed).permutation(data.rows("train"))
    valid = validation_rows(source, data)
    params = head.get_params()
    if "checkpoint" in params:
        # That of the whole training: parts of its rows are others.
        params["checkpoint"] = None
    points = []
    for fraction in sorted(fractions):
        rows = np.sort(trained[: max(2, round(fraction * len(trained)))])
        train = source.rows(data, rows, what="training row")
        fresh = type(head)(**params)
        with measure_cost() as cost:
            fresh.fit(train.features, train.y, *(() if valid is None else (valid.features, valid.y)))
        found = score_head(fresh, source, data, split, seed=seed).measured[metric].interval
        points.append(
            CurvePoint(
                fraction=fraction,
                n_rows=len(train.rows),
                value=found.value,
                low=found.low,
                high=found.high,
                fit_seconds=cost.seconds,
            )
        )
    return tuple(points)
