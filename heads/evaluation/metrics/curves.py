"""Areas under the ROC and precision-recall curves, with a bootstrap that sorts once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from heads.evaluation.metrics.bootstrap import N_RESAMPLES, Float64, Part, Weighted, ratio
from heads.features.base import Float32

MAX_SCORES = 2**22
"""Most scores (rows times classes) that are kept for curves: 16 MiB."""

MAX_CURVES = 100
"""Most classes with curves; one costs milliseconds, and the mean of a thousand says little."""

_DRAWS = 2**26
_FEWEST = 100


class Curve:
    """Scores and truth of one class, sorted once for all resamples.

    Parameters
    ----------
    scores
        (n,) numbers.
    positive
        (n,) bool, with both values.
    rows
        (n,) int64 row of each entry, for its weight; None for 0 to n - 1.
    """

    def __init__(
        self, scores: NDArray[np.floating], positive: NDArray[np.bool_], rows: NDArray[np.int64] | None = None
    ) -> None:
        order = np.argsort(-scores, kind="stable")
        self._rows = order if rows is None else rows[order]
        self._positive = positive[order]
        is_new = np.append(True, np.diff(scores[order]) != 0)
        self._starts = np.flatnonzero(is_new)

    def areas(self, weights: Float64) -> tuple[Float64, Float64]:
        """(r,) AUROC and average precision of (r, rows) weights; NaN where a resample lacks positives or negatives."""
        counts = weights[:, self._rows]
        positives = np.add.reduceat(counts * self._positive, self._starts, axis=1)
        negatives = np.add.reduceat(counts * ~self._positive, self._starts, axis=1)
        true, false = positives.cumsum(axis=1), negatives.cumsum(axis=1)
        n_true, n_false = true[:, -1], false[:, -1]
        above = (positives * (n_false[:, None] - false + negatives / 2)).sum(axis=1)
        precise = (positives * ratio(true, true + false)).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return above / (n_true * n_false), np.where(n_false > 0, precise / n_true, np.nan)


def one_against_rest(scores: Float32, true: NDArray[np.int64], *, n_classes: int) -> list[Part]:
    """AUROC and AUPRC of the second of two classes, or the mean over more than two.

    Parameters
    ----------
    scores
        (N, C) probabilities.
    true
        (N,) codes.
    n_classes
        C.
    """
    columns = [1] if n_classes == 2 else range(n_classes)
    return mean_over(scores, lambda column: true == column, list(columns), prefix="" if n_classes == 2 else "macro_")


def mean_over(
    scores: Float32, is_positive: Callable[[int], NDArray[np.bool_]], columns: list[int], *, prefix: str
) -> list[Part]:
    """Mean areas over the columns of (N, C) scores with positives and negatives; none for more than `MAX_CURVES`."""
    if len(columns) > MAX_CURVES:
        return []
    curves, rocs, precisions = [], [], []
    for column in columns:
        positive = is_positive(column)
        if positive.any() and not positive.all():
            curves.append(Curve(scores[:, column], positive))
            rocs.append(float(roc_auc_score(positive, scores[:, column])))
            precisions.append(float(average_precision_score(positive, scores[:, column])))
    if not curves:
        return []

    def statistic(weights: Float64) -> Mapping[str, Float64]:
        total, n = np.zeros((2, len(weights))), np.zeros(len(weights))
        for curve in curves:
            areas = np.stack(curve.areas(weights))
            is_defined = np.isfinite(areas).all(axis=0)
            total[:, is_defined] += areas[:, is_defined]
            n += is_defined
        with np.errstate(invalid="ignore"):
            return {f"{prefix}auroc": total[0] / n, f"{prefix}auprc": total[1] / n}

    return [
        Weighted(
            values={f"{prefix}auroc": float(np.mean(rocs)), f"{prefix}auprc": float(np.mean(precisions))},
            statistic=statistic,
            limit=draws_for(scores.shape[0] * len(curves)),
            shifted=frozenset({f"{prefix}auprc"}),
        )
    ]


def draws_for(n_scores: int) -> int:
    """Number of resamples for so many sorted scores: fewer for more scores."""
    return int(np.clip(_DRAWS // max(n_scores, 1), _FEWEST, N_RESAMPLES))
