"""Metrics of classification and of ordered levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from embedstore.errors import InputError
from heads.evaluation.metrics.bootstrap import N_RESAMPLES, Float64, Interval, Part, Sums, measure, ratio
from heads.evaluation.metrics.curves import one_against_rest
from heads.evaluation.metrics.reliability import reliability_part
from heads.features.base import Float32

TOPS = (3, 5)
"""Values of k of the top-k accuracies."""

_TINY = 1e-15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassOutcomes:
    """Predicted and true classes of N examples; of the (N, C) probabilities only what metrics need.

    Attributes
    ----------
    names
        (C + U,) the head's classes, then true classes that it does not know.
    n_known
        C.
    true, predicted
        (N,) int64 codes; -1 for no prediction, which counts as an error.
    confidence, p_true
        (N,) float32 probability of the predicted and of the true class.
    rank
        (N,) int64 number of classes that are more probable than the true one; C where the head does not know it.
    squares
        (N,) float32 sum of the squared probabilities.
    scores
        (N, C) float32 probabilities, or None where there would be too many.
    ordered
        Whether the classes are ordered levels.
    """

    names: NDArray[Any]
    n_known: int
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: Float32
    p_true: Float32
    rank: NDArray[np.int64]
    squares: Float32
    scores: Float32 | None = None
    ordered: bool = False

    def __len__(self) -> int:
        return len(self.true)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(N,) whether the prediction is correct."""
        return np.asarray(self.true == self.predicted)

    def parts(self) -> list[Part]:
        """All metrics."""
        # Unknown levels come last among the names, but are compared by their order.
        rank = np.argsort(np.argsort(self.names)) if self.ordered else np.arange(len(self.names))
        predicted = np.where(self.predicted >= 0, rank[self.predicted], -1)
        parts: list[Part] = [
            confusion_part(rank[self.true], predicted, n_classes=len(self.names), ordered=self.ordered),
            _probability_part(self),
            reliability_part(self.confidence, self.right),
        ]
        if self.scores is not None:
            parts += one_against_rest(self.scores, self.true, n_classes=self.n_known)
        return parts

    def worst_pairs(self, n: int = 20) -> list[dict[str, Any]]:
        """The most frequent confusions: true and predicted class, number of rows, share of the true class."""
        wrong = ~self.right & (self.predicted >= 0)
        cells, counts = np.unique(self.true[wrong] * len(self.names) + self.predicted[wrong], return_counts=True)
        sizes = np.bincount(self.true, minlength=len(self.names))
        pairs = []
        for index in np.lexsort((cells, -counts))[:n].tolist():
            true, predicted = divmod(int(cells[index]), len(self.names))
            pairs.append(confused_pair(self.names[true], self.names[predicted], counts[index], sizes[true]))
        return pairs


def confused_pair(true: Any, predicted: Any, n: Any, size: Any) -> dict[str, Any]:
    """A confusion for JSON: the two classes, the number of rows and its share of the true class."""
    return {"true": true.item(), "predicted": predicted.item(), "n": int(n), "share": float(n / size)}


def classification_metrics(
    y_true: ArrayLike,
    y_predicted: ArrayLike,
    *,
    no_prediction: str | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Metrics of predicted labels: accuracy, error rate, balanced accuracy, macro-F1, MCC, each with its interval.

    They agree with scikit-learn's: macro-F1 is the mean over the true and the predicted classes, balanced accuracy over
    the true ones. They are not computed by scikit-learn, whose confusion matrix of Pfam's classes takes gigabytes.

    Parameters
    ----------
    y_true, y_predicted
        (N,) labels.
    no_prediction
        The predicted label that stands for no prediction: an error, and not a class.
    n_resamples
        Number of resamples.
    seed
        Seed of the resampling.

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
    true, predicted = np.asarray(y_true), np.asarray(y_predicted)
    if true.shape != predicted.shape or true.ndim != 1 or not len(true):
        raise InputError(
            f"There are {true.shape} true and {predicted.shape} predicted labels; expected one of each a row, "
            "and at least one row."
        )
    classes, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    predicted_codes = codes[len(true) :].astype(np.int64)
    if no_prediction is not None:
        predicted_codes[predicted == no_prediction] = -1
    part = confusion_part(codes[: len(true)].astype(np.int64), predicted_codes, n_classes=len(classes))
    metrics = measure([part], len(true), n_resamples=n_resamples, seed=seed)
    return {name: estimate.interval for name, estimate in metrics.items()}


def confusion_part(
    true: NDArray[np.int64], predicted: NDArray[np.int64], *, n_classes: int, ordered: bool = False
) -> Sums:
    """Metrics of the counts of (true, predicted) codes; -1 is no prediction, codes of ordered levels are ranks."""
    if not ordered:
        # Only the classes that occur: each resample has sums over all of them.
        given = predicted >= 0
        present, codes = np.unique(np.concatenate([true, predicted[given]]), return_inverse=True)
        n_classes, true = len(present), codes[: len(true)]
        predicted = predicted.copy()
        predicted[given] = codes[len(true) :]
    pairs, cell = np.unique(true * (n_classes + 1) + predicted + 1, return_inverse=True)
    confusion = _Confusion(pairs // (n_classes + 1), pairs % (n_classes + 1) - 1, n_classes)
    columns = csr_array((np.ones(len(true)), (np.arange(len(true)), cell)), shape=(len(true), len(pairs)))
    return Sums(
        columns=columns,
        statistic=confusion.ordinal if ordered else confusion.nominal,
        shifted=frozenset({"macro_f1", "balanced_accuracy"}),
        proportions=frozenset({"accuracy", "error_rate"}),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Confusion:
    """Distinct (true, predicted) pairs of class codes, sorted by the true one."""

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    n_classes: int

    def nominal(self, draws: Float64) -> Mapping[str, Float64]:
        """Metrics of each resample; `draws` is (resamples, pairs)."""
        right = self.true == self.predicted
        hits = np.zeros((len(draws), self.n_classes))
        hits[:, self.true[right]] = draws[:, right]
        of_true = _sums_by(self.true, draws, self.n_classes)
        order = np.argsort(self.predicted, kind="stable")
        given = order[self.predicted[order] >= 0]
        of_predicted = _sums_by(self.predicted[given], draws[:, given], self.n_classes)
        either, n, n_right = of_true + of_predicted, draws.sum(axis=1), hits.sum(axis=1)
        # Correlation of the two partitions (Gorodkin 2004); rows without a prediction are one class.
        left_over = n - of_predicted.sum(axis=1)
        covariance = n_right * n - (of_true * of_predicted).sum(axis=1)
        spread = (n**2 - (of_true**2).sum(axis=1)) * (n**2 - (of_predicted**2).sum(axis=1) - left_over**2)
        accuracy = n_right / n
        return {
            "accuracy": accuracy,
            "error_rate": 1 - accuracy,
            "balanced_accuracy": ratio(hits, of_true).sum(axis=1) / (of_true > 0).sum(axis=1),
            # F1 = 2 TP / (true + predicted); a class in neither is left out of the mean.
            "macro_f1": ratio(2 * hits, either).sum(axis=1) / (either > 0).sum(axis=1),
            "mcc": ratio(covariance, np.sqrt(np.maximum(spread, 0))),
        }

    def ordinal(self, draws: Float64) -> Mapping[str, Float64]:
        """As `nominal`, and the mean absolute error in levels, and Cohen's kappa with quadratic weights."""
        given = self.predicted >= 0
        counts, true, predicted = draws[:, given], self.true[given], self.predicted[given]
        n = counts.sum(axis=1)
        off = counts @ np.abs(true - predicted).astype(np.float64)
        seen = counts @ ((true - predicted) ** 2).astype(np.float64)
        squares = counts @ (true**2 + predicted**2).astype(np.float64)
        expected = squares - 2 * ratio((counts @ true.astype(np.float64)) * (counts @ predicted.astype(np.float64)), n)
        return dict(self.nominal(draws)) | {
            "mae_levels": ratio(off, n),
            "quadratic_kappa": np.where(expected > 0, 1 - ratio(seen, expected), 0.0),
        }


def _probability_part(outcomes: ClassOutcomes) -> Sums:
    """Top-k accuracies, log-loss and Brier score (over both classes halved where there are two, as scikit-learn's)."""
    tops = [k for k in TOPS if k < outcomes.n_known]
    half = 0.5 if outcomes.n_known == 2 else 1.0
    own = np.where(outcomes.true < outcomes.n_known, 2 * outcomes.p_true.astype(np.float64), 0.0)
    columns = np.stack(
        [
            np.ones(len(outcomes)),
            -np.log(np.maximum(outcomes.p_true.astype(np.float64), _TINY)),
            half * (outcomes.squares.astype(np.float64) - own + 1),
            *((outcomes.rank < k).astype(np.float64) for k in tops),
        ],
        axis=1,
    )
    names = ["log_loss", "brier", *(f"top{k}_accuracy" for k in tops)]

    def statistic(sums: Float64) -> dict[str, Float64]:
        return {name: sums[:, place + 1] / sums[:, 0] for place, name in enumerate(names)}

    return Sums(columns=columns, statistic=statistic, proportions=frozenset(names[2:]))


def _sums_by(codes: NDArray[np.int64], draws: Float64, n_classes: int) -> Float64:
    """Sum the columns of `draws` that have the same of the sorted `codes`."""
    out = np.zeros((len(draws), n_classes))
    if len(codes):
        present, starts = np.unique(codes, return_index=True)
        out[:, present] = np.add.reduceat(draws, starts, axis=1)
    return out
