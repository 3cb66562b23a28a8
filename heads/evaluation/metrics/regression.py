"""Metrics of regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from heads.evaluation.metrics.bootstrap import Float64, Part, Weighted, ratio


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NumberOutcomes:
    """Predicted and true numbers of N examples.

    Attributes
    ----------
    true, predicted
        (N,) float64.
    """

    true: Float64
    predicted: Float64

    def __len__(self) -> int:
        return len(self.true)

    def parts(self) -> list[Part]:
        """Correlations and errors; the correlation with a constant is 0."""
        return [_moments(self.true, self.predicted), _ranks(self.true, self.predicted)]


def _moments(true: Float64, predicted: Float64) -> Weighted:
    # Centred, for the precision of sums of squares.
    x, y = true - true.mean(), predicted - true.mean()
    error = y - x
    columns = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y, error**2, np.abs(error)], axis=1)

    def statistic(weights: Float64) -> Mapping[str, Float64]:
        n, sx, sy, sxx, syy, sxy, squares, absolute = (weights @ columns).T
        spread = np.maximum(sxx - sx * sx / n, 0)
        pearson = ratio(sxy - sx * sy / n, np.sqrt(spread * np.maximum(syy - sy * sy / n, 0)))
        return {
            "pearson": np.clip(pearson, -1, 1),
            "rmse": np.sqrt(squares / n),
            "mae": absolute / n,
            "r2": np.where(spread > 0, 1 - ratio(squares, spread), 0.0),
        }

    values = {
        "pearson": float(stats.pearsonr(true, predicted).statistic) if _vary(true, predicted) else 0.0,
        "rmse": float(root_mean_squared_error(true, predicted)),
        "mae": float(mean_absolute_error(true, predicted)),
        "r2": float(r2_score(true, predicted)) if _vary(true) else 0.0,
    }
    return Weighted(values=values, statistic=statistic)


def _ranks(true: Float64, predicted: Float64) -> Weighted:
    first, second = _Ranks(true), _Ranks(predicted)

    def statistic(weights: Float64) -> Mapping[str, Float64]:
        x, y = first.centred(weights), second.centred(weights)
        upper = (weights * x * y).sum(axis=1)
        return {"spearman": ratio(upper, np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1)))}

    value = float(stats.spearmanr(true, predicted).statistic) if _vary(true, predicted) else 0.0
    return Weighted(values={"spearman": value}, statistic=statistic)


class _Ranks:
    """Ranks of resampled numbers, which are sorted once; ties share their mean rank."""

    def __init__(self, values: Float64) -> None:
        self._order = np.argsort(values, kind="stable")
        new = np.append(True, np.diff(values[self._order]) != 0)
        self._starts = np.flatnonzero(new)
        self._group = np.empty(len(values), np.int64)
        self._group[self._order] = np.cumsum(new) - 1

    def centred(self, weights: Float64) -> Float64:
        """(r, n) ranks minus their mean."""
        sizes = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        middle = sizes.cumsum(axis=1) - sizes / 2
        ranks: Float64 = middle[:, self._group] - weights.sum(axis=1, keepdims=True) / 2
        return ranks


def _vary(*columns: Float64) -> bool:
    return all(len(column) > 1 and np.ptp(column) > 0 for column in columns)
