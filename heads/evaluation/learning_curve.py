"""The learning curve of a head: its main metric by the number of training rows."""

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
    """A head fitted on a fraction of the training rows.

    Attributes
    ----------
    fraction, n_rows
        Share and number of training rows.
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
    """Fit heads with the same parameters on fractions of the training rows, and score each on a split.

    Parameters
    ----------
    head
        Its parameters are used; it is not changed.
    source, data, split
        The rows to fit and to score on.
    fractions
        Shares of the training rows, over 0 to 1; smaller subsets are contained in larger ones.
    metric
        The metric.
    seed
        Of the order of the rows, and of the bootstrap.

    Raises
    ------
    InputError
        For a share outside 0 to 1.
    """
    if any(not 0 < fraction <= 1 for fraction in fractions):
        raise InputError(f"The fractions are {tuple(fractions)}; expected shares over 0 to 1, such as 0.1,0.3,1.")
    if not fractions:
        return ()
    order = np.random.default_rng(seed).permutation(data.rows("train"))
    valid = validation_rows(source, data)
    params = head.get_params()
    if "checkpoint" in params:
        # It belongs to the training on all rows.
        params["checkpoint"] = None
    points = []
    for fraction in sorted(fractions):
        rows = np.sort(order[: max(2, round(fraction * len(order)))])
        train = source.examples(data, rows, what="training row")
        model = type(head)(**params)
        with measure_cost() as cost:
            model.fit(train.features, train.y, *(() if valid is None else (valid.features, valid.y)))
        interval = score_head(model, source, data, split, seed=seed).metrics[metric].interval
        points.append(
            CurvePoint(fraction=fraction, n_rows=len(train.rows), fit_seconds=cost.seconds, **interval.to_dict())
        )
    return tuple(points)
