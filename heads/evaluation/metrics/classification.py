"""Metrics of one class a row: from the counts of (true, predicted) pairs, from probabilities, from ranks."""

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
"""How many of the most probable classes the true one is looked for among."""

_TINY = 1e-15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassOutcomes:
    """What a head made of N rows that have one class each; of an (N, C) array only what metrics need.

    Attributes
    ----------
    names
        (C + U,) the classes that the head knows, then those that stand among the true ones alone.
    n_known
        C.
    true, predicted
        (N,) int64 positions among the names; -1 for no prediction, which is wrong and no class.
    confidence, p_true
        (N,) float32 probability of the predicted and of the true class.
    rank
        (N,) int64: how many classes are more probable than the true one; C where the head does not know it.
    squares
        (N,) float32: sum of the squared probabilities of the row.
    scores
        (N, C) float32 probabilities, or None where they would be many.
    ordered
        Whether the classes are levels, ascending.
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
        """(N,) whether the prediction is the true class."""
        right: NDArray[np.bool_] = self.true == self.predicted
        return right

    def parts(self) -> list[Part]:
        """Everything that can be measured of them."""
        # Classes that training never saw stand after the others; levels count by their order.
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
        """The most frequent confusions: true and predicted class, number of rows, share of the true class's rows."""
        wrong = ~self.right & (self.predicted >= 0)
        cells, counts = np.unique(self.true[wrong] * len(self.names) + self.predicted[wrong], return_counts=True)
        sizes = np.bincount(self.true, minlength=len(self.names))
        found = []
        for place in np.lexsort((cells, -counts))[:n].tolist():
            true, predicted = divmod(int(cells[place]), len(self.names))
            found.append(
                {
                    "true": self.names[true].item(),
                    "predicted": self.names[predicted].item(),
                    "n": int(counts[place]),
                    "share": float(counts[place] / sizes[true]),
                }
            )
        return found


def classification_metrics(
    y_true: ArrayLike,
    y_predicted: ArrayLike,
    *,
    no_prediction: str | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Metrics of predicted labels: accuracy, error rate, balanced accuracy, macro-F1, MCC, each with its interval.

    As in scikit-learn (with which they agree), macro-F1 is the mean over the classes that stand among the true or the
    predicted labels, balanced accuracy over those among the true. They are not computed by it: it builds a matrix of
    all classes by all classes for some, which at Pfam's size is gigabytes.

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
    found = codes[len(true) :].astype(np.int64)
    if no_prediction is not None:
        found[predicted == no_prediction] = -1
    part = confusion_part(codes[: len(true)].astype(np.int64), found, n_classes=len(classes))
    measured = measure([part], len(true), n_resamples=n_resamples, seed=seed)
    return {name: one.interval for name, one in measured.items()}


def confusion_part(
    true: NDArray[np.int64], predicted: NDArray[np.int64], *, n_classes: int, ordered: bool = False
) -> Sums:
    """Metrics of the counts of (true, predicted) pairs; a predicted code of -1 is no class, ordered ones are ranks."""
    if not ordered:
        # Of thousands of classes a few stand among the rows, and each resample has sums of all.
        given = predicted >= 0
        there, codes = np.unique(np.concatenate([true, predicted[given]]), return_inverse=True)
        n_classes, true = len(there), codes[: len(true)]
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
        # Correlation of the two partitions (Gorodkin 2004); rows without a prediction are a class of their own.
        left_over = n - of_predicted.sum(axis=1)
        covariance = n_right * n - (of_true * of_predicted).sum(axis=1)
        spread = (n**2 - (of_true**2).sum(axis=1)) * (n**2 - (of_predicted**2).sum(axis=1) - left_over**2)
        accuracy = n_right / n
        return {
            "accuracy": accuracy,
            "error_rate": 1 - accuracy,
            "balanced_accuracy": ratio(hits, of_true).sum(axis=1) / (of_true > 0).sum(axis=1),
            # F1 = 2 TP / (true + predicted); a class that stands in neither is no part of the mean.
            "macro_f1": ratio(2 * hits, either).sum(axis=1) / (either > 0).sum(axis=1),
            "mcc": ratio(covariance, np.sqrt(np.maximum(spread, 0))),
        }

    def ordinal(self, draws: Float64) -> Mapping[str, Float64]:
        """As `nominal`, and how far off: the mean number of levels, and Cohen's kappa with quadratic weights."""
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


def _probability_part(found: ClassOutcomes) -> Sums:
    """Top-k accuracies, log-loss and Brier score (over both classes halved where there are two, as scikit-learn's)."""
    tops = [k for k in TOPS if k < found.n_known]
    half = 0.5 if found.n_known == 2 else 1.0
    own = np.where(found.true < found.n_known, 2 * found.p_true.astype(np.float64), 0.0)
    columns = np.stack(
        [
            np.ones(len(found)),
            -np.log(np.maximum(found.p_true.astype(np.float64), _TINY)),
            half * (found.squares.astype(np.float64) - own + 1),
            *((found.rank < k).astype(np.float64) for k in tops),
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
