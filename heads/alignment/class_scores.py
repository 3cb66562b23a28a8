"""Scores of classes from hits, and their probabilities, calibrated on validation rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.numerics import tanh_sigmoid
from heads.alignment.hits import Hits
from heads.features.base import Float32
from heads.tasks.targets import Codes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DEFAULT_SLOPE = 10.0
DEFAULT_FLOOR = 15.0
"""Used without validation rows; close to the fits of BLASTp, DIAMOND and MMseqs2 on SCOP2. See `ScoreSoftmax`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassScores:
    """Scores of the classes that each query hits, by query, the best first.

    Attributes
    ----------
    n_queries
        Number of queries.
    query, code
        (m,) int64 row of the query, ascending, and code of the class.
    score
        (m,) float64 bits of the class's best hit, or the sum of its hits that vote.
    """

    n_queries: int
    query: NDArray[np.int64]
    code: NDArray[np.int64]
    score: NDArray[np.float64]


def class_scores(hits: Hits, members: csr_array, *, n_votes: int = 1) -> ClassScores:
    """Score of each class that is hit.

    Parameters
    ----------
    hits
        Of queries among targets.
    members
        (targets, C) sparse bool, the classes of each target.
    n_votes
        1: the score of a class is that of its best hit. More: the sum of its hits among the query's best `n_votes`.
    """
    voting = hits.top(n_votes) if n_votes > 1 else hits
    counts = np.diff(members.indptr)[voting.target]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    code = members.indices[np.repeat(members.indptr[voting.target], counts) + within].astype(np.int64)
    query, score = np.repeat(voting.query, counts), np.repeat(voting.score, counts).astype(np.float64)
    n_classes = members.shape[1]
    _, first, inverse = np.unique(query * n_classes + code, return_index=True, return_inverse=True)
    if n_votes > 1:
        total = np.bincount(inverse, weights=score, minlength=len(first))
        # Stable: of classes with the same sum the one with the better hit leads.
        order = np.lexsort((first, -total, query[first]))
        first, summed = first[order], np.asarray(total[order], np.float64)
        return ClassScores(n_queries=hits.n_queries, query=query[first], code=code[first], score=summed)
    first = np.sort(first)
    return ClassScores(n_queries=hits.n_queries, query=query[first], code=code[first], score=score[first])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSoftmax:
    """Probabilities of classes, proportional to ``score ** slope``.

    A class without a hit counts as if its score were `floor` bits (or the query's best score, if that is less), so that
    both a weak best hit and a close second class lower the probability. A query without a hit gets a row of zeros. The
    most probable class is always that of the best hit.
    """

    slope: float = DEFAULT_SLOPE
    floor: float = DEFAULT_FLOOR

    def probabilities(self, scores: ClassScores, n_classes: int) -> Float32:
        """(n, C) float32 probabilities."""
        out = np.zeros((scores.n_queries, n_classes), np.float32)
        if not len(scores.query):
            return out
        rows, starts, logits, absent, total = _softmax_parts(scores, self.slope, np.log(self.floor), n_classes)
        out[rows] = np.exp(absent - total)[:, None]
        row = np.repeat(np.arange(len(rows)), np.diff(np.append(starts, len(logits))))
        out[scores.query, scores.code] = np.exp(logits - total[row])
        # Equal scores, or probabilities equal in float32: the program's first hit leads.
        best = scores.code[starts]
        highest = out[rows].max(axis=1)
        is_behind = out[rows].argmax(axis=1) != best
        out[rows[is_behind], best[is_behind]] = np.nextafter(highest[is_behind], np.float32(2))
        return out


def fit_softmax(scores: ClassScores, codes: Codes, n_classes: int) -> ScoreSoftmax:
    """The softmax with the lowest log-loss on rows with a hit; the defaults if there is none.

    A normal prior around the defaults, with the weight of one observation, keeps the slope finite where all rows are
    correct.
    """
    from scipy.optimize import minimize

    if not len(scores.query):
        return ScoreSoftmax()
    rows = np.unique(scores.query)
    truth = codes[rows]
    is_true = scores.code == codes[scores.query]
    true_row = np.searchsorted(rows, scores.query[is_true])

    def loss(point: NDArray[np.float64]) -> float:
        log_slope, log_floor = np.clip(point, -7, 7)
        _, _, logits, absent, total = _softmax_parts(scores, np.exp(log_slope), log_floor, n_classes)
        true = absent.copy()
        true[true_row] = logits[is_true]
        prior = (log_slope - np.log(DEFAULT_SLOPE)) ** 2 + (log_floor - np.log(DEFAULT_FLOOR)) ** 2
        return float((total - true).sum() + prior / 2) / len(truth)

    starts = [(np.log(slope), np.log(floor)) for slope in (0.3, 3.0, 10.0) for floor in (3.0, 20.0)]
    start = min(starts, key=lambda point: loss(np.array(point)))
    fitted = np.clip(minimize(loss, start, method="Nelder-Mead", options={"maxiter": 200, "xatol": 1e-3}).x, -7, 7)
    return ScoreSoftmax(slope=float(np.exp(fitted[0])), floor=float(np.exp(fitted[1])))


def _softmax_parts(
    scores: ClassScores, slope: float, log_floor: float, n_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rows with a hit, first entry of each, logits of entries, logit of classes without a hit, log of the sum."""
    rows, starts = np.unique(scores.query, return_index=True)
    logits = slope * np.log(np.maximum(scores.score, 1e-3))
    peak = np.maximum.reduceat(logits, starts)
    absent = np.minimum(slope * log_floor, peak)
    sizes = np.diff(np.append(starts, len(logits)))
    sums = np.add.reduceat(np.exp(logits - np.repeat(peak, sizes)), starts)
    total = peak + np.log(sums + (n_classes - sizes) * np.exp(absent - peak))
    return rows, starts, logits, absent, total


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSigmoid:
    """Probability of each label: a sigmoid of the logarithms of its score and of its share of the best score.

    A label without a hit has probability 0.
    """

    on_score: float = 1.0
    on_share: float = 3.0
    intercept: float = -3.0

    def probabilities(self, scores: ClassScores, n_classes: int) -> Float32:
        """(n, C) float32 probabilities."""
        out = np.zeros((scores.n_queries, n_classes), np.float32)
        logits = _log_scores(scores) @ [self.on_score, self.on_share] + self.intercept
        out[scores.query, scores.code] = tanh_sigmoid(logits)
        return out


def fit_sigmoid(scores: ClassScores, members: Any) -> ScoreSigmoid:
    """The sigmoid with the lowest log-loss over the labels with a hit; the default where it cannot be fitted.

    Parameters
    ----------
    members
        (n, C) sparse bool, the labels of the queries.
    """
    from sklearn.linear_model import LogisticRegression

    if not len(scores.query):
        return ScoreSigmoid()
    truth = np.asarray(members.tocsr()[scores.query, scores.code]).ravel().astype(bool)
    if truth.all() or not truth.any():
        return ScoreSigmoid()
    model = LogisticRegression().fit(_log_scores(scores), truth)
    on_score, on_share = model.coef_[0].tolist()
    return ScoreSigmoid(on_score=on_score, on_share=on_share, intercept=float(model.intercept_[0]))


def _log_scores(scores: ClassScores) -> NDArray[np.float64]:
    """(m, 2): logarithm of each score, and of its share of the query's best."""
    if not len(scores.query):
        return np.zeros((0, 2))
    _, starts, inverse = np.unique(scores.query, return_index=True, return_inverse=True)
    logs = np.log(np.maximum(scores.score, 1e-3))
    return np.stack([logs, logs - np.maximum.reduceat(logs, starts)[inverse]], axis=1)
