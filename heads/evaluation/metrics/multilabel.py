"""Metrics of multilabel predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack
from sklearn.metrics import average_precision_score

from heads.evaluation.metrics.bootstrap import Float64, Part, Sums, Weighted, ratio
from heads.evaluation.metrics.classification import confused_pair
from heads.evaluation.metrics.curves import Curve, draws_for, mean_over
from heads.evaluation.metrics.reliability import N_BINS, bins_of, ece_of
from heads.features.base import Float32

N_THRESHOLDS = 101
"""Thresholds 0.00, 0.01 … 1.00 for Fmax, as in CAFA."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelOutcomes:
    """Predicted and true labels of N examples, of C labels.

    Attributes
    ----------
    names
        (C,) the head's labels.
    true, predicted
        (N, C) sparse bool.
    n_unseen
        (N,) int64 number of labels of each example that the head does not know.
    n_over, n_right_over
        (N, N_THRESHOLDS) float32 number of labels with at least that probability, and of correct ones among them.
    bins
        (N, 3, N_BINS) float32, for the probabilities in each bin: number, sum, and number of true labels.
    scores
        (N, C) float32 probabilities, or None where there would be too many.
    """

    names: NDArray[Any]
    true: csr_array
    predicted: csr_array
    n_unseen: NDArray[np.int64]
    n_over: Float32
    n_right_over: Float32
    bins: Float32
    scores: Float32 | None = None

    def __len__(self) -> int:
        return len(self.n_unseen)

    @property
    def n_true(self) -> Float64:
        """(N,) number of true labels."""
        return np.asarray(self.true.sum(axis=1), np.float64).ravel() + self.n_unseen

    @property
    def exact(self) -> NDArray[np.bool_]:
        """(N,) whether the predicted labels are exactly the true ones."""
        right = np.asarray(self.true.multiply(self.predicted).sum(axis=1), np.float64).ravel()
        given = np.asarray(self.predicted.sum(axis=1), np.float64).ravel()
        exact: NDArray[np.bool_] = (right == given) & (right == self.n_true)
        return exact

    def parts(self) -> list[Part]:
        """Micro and macro F1, Fmax, Jaccard index, exact match, calibration error, areas under curves."""
        parts: list[Part] = [_decided_part(self), _macro_part(self), _fmax_part(self), _ece_part(self)]
        if self.scores is not None:
            members = self.true.toarray().astype(np.bool_)
            columns = list(range(len(self.names)))
            parts += mean_over(self.scores, lambda column: members[:, column], columns, prefix="macro_")
            parts += _micro_curve(self.scores, members)
        return parts

    def worst_pairs(self, n: int = 20) -> list[dict[str, Any]]:
        """Pairs of a missed and a wrongly predicted label: number of rows, share of the missed label's rows."""
        true, predicted = self.true.astype(np.float64), self.predicted.astype(np.float64)
        both = true.multiply(predicted)
        pairs = ((true - both).T @ (predicted - both)).tocoo()
        sizes = np.asarray(true.sum(axis=0)).ravel()
        order = np.lexsort((pairs.col, pairs.row, -pairs.data))[:n]
        rows, columns, counts = pairs.row[order], pairs.col[order], pairs.data[order]
        return [
            confused_pair(self.names[true], self.names[wrong], n, sizes[true])
            for true, wrong, n in zip(rows, columns, counts, strict=True)
            if n > 0
        ]


def threshold_counts(scores: Float32, members: NDArray[np.bool_]) -> tuple[Float32, Float32]:
    """Number of labels at or over each threshold, and of correct ones among them: (n, N_THRESHOLDS) each."""
    # 0.29 as float32 is a little less than the threshold 0.29.
    place = np.clip(np.floor(scores * (N_THRESHOLDS - 1) + 1e-4).astype(np.int64), 0, N_THRESHOLDS - 1)
    cell = np.arange(len(scores))[:, None] * N_THRESHOLDS + place
    size = len(scores) * N_THRESHOLDS

    def over(cells: NDArray[np.int64]) -> Float32:
        counts = np.bincount(cells, minlength=size).reshape(len(scores), N_THRESHOLDS)
        return counts[:, ::-1].cumsum(axis=1)[:, ::-1].astype(np.float32)

    return over(cell.ravel()), over(cell[members])


def bin_sums(scores: Float32, members: NDArray[np.bool_]) -> Float32:
    """(n, 3, N_BINS) of a block: see `LabelOutcomes.bins`."""
    cell = (np.arange(len(scores))[:, None] * N_BINS + bins_of(scores)).ravel()
    size = len(scores) * N_BINS
    sums = [np.bincount(cell, weights=w, minlength=size) for w in (None, scores.ravel(), members.ravel())]
    return np.stack([counts.reshape(len(scores), N_BINS) for counts in sums], axis=1).astype(np.float32)


def _decided_part(outcomes: LabelOutcomes) -> Sums:
    right = np.asarray(outcomes.true.multiply(outcomes.predicted).sum(axis=1), np.float64).ravel()
    given = np.asarray(outcomes.predicted.sum(axis=1), np.float64).ravel()
    either = outcomes.n_true + given - right
    columns = np.stack(
        [
            np.ones(len(outcomes)),
            right,
            given,
            outcomes.n_true,
            np.where(either > 0, ratio(right, either), 1.0),
            outcomes.exact,
        ],
        axis=1,
    ).astype(np.float64)

    def statistic(sums: Float64) -> dict[str, Float64]:
        n, n_right, n_given, n_true, jaccard, exact = sums.T
        return {
            "micro_f1": ratio(2 * n_right, n_given + n_true),
            "micro_precision": ratio(n_right, n_given),
            "micro_recall": ratio(n_right, n_true),
            "jaccard": jaccard / n,
            "subset_accuracy": exact / n,
        }

    return Sums(columns=columns, statistic=statistic, proportions=frozenset({"subset_accuracy"}))


def _macro_part(outcomes: LabelOutcomes) -> Sums:
    """Mean F1 over the head's labels; a label that is neither true nor predicted counts as 0."""
    true, predicted = outcomes.true.astype(np.float64), outcomes.predicted.astype(np.float64)
    n_labels = len(outcomes.names)

    def statistic(sums: Float64) -> dict[str, Float64]:
        right, either = sums[:, :n_labels], sums[:, n_labels:]
        return {"macro_f1": ratio(2 * right, either).mean(axis=1)}

    columns = hstack([true.multiply(predicted), true + predicted], format="csr")
    return Sums(columns=columns, statistic=statistic, shifted=frozenset({"macro_f1"}))


def _fmax_part(outcomes: LabelOutcomes) -> Sums:
    """Protein-centric Fmax (Radivojac et al. 2013).

    Precision is over rows with a prediction, recall over rows with a label. Threshold 0.00, at which everything is
    predicted, is left out.
    """
    over = outcomes.n_over[:, 1:].astype(np.float64)
    right = outcomes.n_right_over[:, 1:].astype(np.float64)
    has_label = (outcomes.n_true > 0).astype(np.float64)
    columns = np.concatenate(
        [ratio(right, over), (over > 0).astype(np.float64), ratio(right, outcomes.n_true[:, None]), has_label[:, None]],
        axis=1,
    )
    width = N_THRESHOLDS - 1

    def statistic(sums: Float64) -> dict[str, Float64]:
        precision = ratio(sums[:, :width], sums[:, width : 2 * width])
        recall = ratio(sums[:, 2 * width : 3 * width], sums[:, -1:])
        return {"fmax": ratio(2 * precision * recall, precision + recall).max(axis=1)}

    return Sums(columns=columns, statistic=statistic)


def _ece_part(outcomes: LabelOutcomes) -> Sums:
    """The expected calibration error over all probabilities of all labels."""
    counts, probabilities, right = (outcomes.bins[:, place].astype(np.float64) for place in range(3))
    columns = np.concatenate([counts.sum(axis=1, keepdims=True), probabilities - right], axis=1)
    return Sums(columns=columns, statistic=ece_of, shifted=frozenset({"ece"}))


def _micro_curve(scores: Float32, members: NDArray[np.bool_]) -> list[Part]:
    """Average precision over all labels of all rows."""
    flat = members.ravel()
    if not flat.any() or flat.all():
        return []
    rows = np.repeat(np.arange(len(scores)), scores.shape[1])
    curve = Curve(scores.ravel(), flat, rows)

    def statistic(weights: Float64) -> Mapping[str, Float64]:
        return {"micro_auprc": curve.areas(weights)[1]}

    value = float(average_precision_score(members, scores, average="micro"))
    return [Weighted(values={"micro_auprc": value}, statistic=statistic, limit=draws_for(scores.size))]
