"""Accuracy, error rate and macro-F1, with bootstrap intervals over proteins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.errors import InputError

N_RESAMPLES = 1000
_LEVEL = 0.95
_BATCH_DRAWS = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A value with its 95% interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """The three numbers by name, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, slots=True, eq=False)
class _Confusion:
    """Distinct (true, predicted) pairs of class codes, sorted by the true one, and how often each stands."""

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    counts: NDArray[np.int64]
    n_classes: int
    no_class: NDArray[np.int64]

    @property
    def n_rows(self) -> int:
        return int(self.counts.sum())


def classification_metrics(
    y_true: ArrayLike,
    y_predicted: ArrayLike,
    *,
    no_prediction: str | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, Metric]:
    """Accuracy, error rate and macro-F1 of predicted labels.

    Macro-F1 is the mean of F1 over the classes that stand among the true or the predicted labels, as in
    scikit-learn: a class that the test rows lack counts as 0 if it was predicted and not at all if it was not.

    Intervals are percentiles of a bootstrap over rows. A resample is drawn as counts of the distinct
    (true, predicted) pairs, which has the same distribution as drawing rows and costs no more for more rows.
    Where every row is right, or none, the bootstrap has no spread, and Wilson's interval is given. A resample lacks
    rare classes that the rows have, which pulls its macro-F1 down; the interval is shifted back by that bias.

    Parameters
    ----------
    y_true, y_predicted
        (N,) labels.
    no_prediction
        What stands among the predicted labels for "none": wrong, and no class of its own.
    n_resamples
        Number of resamples.
    seed
        Seed of the resampling.

    Returns
    -------
    dict
        ``accuracy``, ``error_rate`` (1 - accuracy) and ``macro_f1``.

    Raises
    ------
    InputError
        If there is no row, or the two differ in length.

    Examples
    --------
    >>> metrics = classification_metrics(["a", "a", "b", "b"], ["a", "a", "b", "a"])
    >>> metrics["accuracy"].value, round(metrics["macro_f1"].value, 4)
    (0.75, 0.7333)
    """
    confusion = _confusion(np.asarray(y_true), np.asarray(y_predicted), no_prediction)
    point_accuracy, point_f1 = _scores(confusion, confusion.counts[None].astype(np.float64))
    accuracies, f1s = [point_accuracy[:0]], [point_f1[:0]]
    rng = np.random.default_rng(seed)
    shares = confusion.counts / confusion.n_rows
    batch = max(1, _BATCH_DRAWS // (len(shares) + confusion.n_classes))
    for start in range(0, n_resamples, batch):
        draws = rng.multinomial(confusion.n_rows, shares, size=min(batch, n_resamples - start))
        accuracy, f1 = _scores(confusion, draws.astype(np.float64))
        accuracies.append(accuracy)
        f1s.append(f1)
    accuracy = np.concatenate(accuracies)
    macro_f1 = np.concatenate(f1s)
    unbiased = np.clip(macro_f1 + (point_f1[0] - macro_f1.mean()), 0, 1) if n_resamples else macro_f1
    share = _metric(point_accuracy[0], accuracy)
    if n_resamples and share.value in (0, 1):
        low, high = wilson_interval(round(share.value * confusion.n_rows), confusion.n_rows)
        share = Metric(value=share.value, low=low, high=high)
    return {
        "accuracy": share,
        "error_rate": Metric(value=1 - share.value, low=1 - share.high, high=1 - share.low),
        "macro_f1": _metric(point_f1[0], unbiased),
    }


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95% score interval of a proportion (Wilson 1927), which has a width at 0 and at ``n`` too.

    >>> low, high = wilson_interval(100, 100)
    >>> round(low, 4), round(high, 4)
    (0.963, 1.0)
    """
    z = 1.959963984540054
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return max(0.0, centre - half), min(1.0, centre + half)


def _metric(value: float, resampled: NDArray[np.float64]) -> Metric:
    if not len(resampled):
        return Metric(value=float(value), low=float("nan"), high=float("nan"))
    low, high = np.quantile(resampled, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Metric(value=float(value), low=float(low), high=float(high))


def _confusion(y_true: NDArray[Any], y_predicted: NDArray[Any], no_prediction: str | None) -> _Confusion:
    if y_true.shape != y_predicted.shape or y_true.ndim != 1 or not len(y_true):
        raise InputError(
            f"There are {y_true.shape} true and {y_predicted.shape} predicted labels; expected one of each a row, "
            "and at least one row."
        )
    classes, codes = np.unique(np.concatenate([y_true, y_predicted]), return_inverse=True)
    n_classes = len(classes)
    pairs, counts = np.unique(codes[: len(y_true)] * n_classes + codes[len(y_true) :], return_counts=True)
    true, predicted = np.divmod(pairs, n_classes)
    no_class = np.flatnonzero(classes == no_prediction) if no_prediction is not None else np.zeros(0, np.int64)
    return _Confusion(true, predicted, counts, n_classes, no_class)


def _scores(confusion: _Confusion, draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy and macro-F1 of each resample; `draws` is (resamples, pairs)."""
    right = confusion.true == confusion.predicted
    hits = np.zeros((len(draws), confusion.n_classes))
    hits[:, confusion.true[right]] = draws[:, right]
    either = _sums_by(confusion.true, draws, confusion.n_classes)
    order = np.argsort(confusion.predicted, kind="stable")
    either += _sums_by(confusion.predicted[order], draws[:, order], confusion.n_classes)
    either[:, confusion.no_class] = 0
    # F1 = 2 TP / (true + predicted); a class that stands in neither is no part of the mean.
    f1 = np.divide(2 * hits, either, out=np.zeros_like(hits), where=either > 0)
    return hits.sum(axis=1) / confusion.n_rows, f1.sum(axis=1) / (either > 0).sum(axis=1)


def _sums_by(codes: NDArray[np.int64], draws: NDArray[np.float64], n_classes: int) -> NDArray[np.float64]:
    """Sum the columns of `draws` that have the same of the sorted `codes`."""
    present, starts = np.unique(codes, return_index=True)
    out = np.zeros((len(draws), n_classes))
    out[:, present] = np.add.reduceat(draws, starts, axis=1)
    return out
