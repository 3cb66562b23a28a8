"""What a head was seen to do on its validation rows, from which it can promise: a rate of errors, an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import Head, has_prediction
from heads.calibration.risk_control import CalibrationSet, RiskThreshold, find_threshold, rows_needed
from heads.features.base import Features
from heads.tasks.targets import encode

CONFIDENCE = 0.95
"""Of a promise, unless said otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValidationPredictions:
    """Answers on validation rows that were not trained on.

    They are the rows on which the head chose its settings too: of a head that tried much on few rows they flatter.

    Attributes
    ----------
    confidences
        (n,) float32 probability of each answer: a row's class, a residue's letter, or each label that was given.
        Empty for numbers.
    right
        (n,) bool.
    clusters
        (n,) int64: answers on one protein, which are not independent.
    residuals
        (m,) float32: for numbers the absolute error of each row; else empty.
    """

    confidences: NDArray[np.float32]
    right: NDArray[np.bool_]
    clusters: NDArray[np.int64]
    residuals: NDArray[np.float32]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in self.__slots__}

    def promise(self, max_error: float, confidence: float = CONFIDENCE) -> RiskThreshold:
        """From which probability on at most `max_error` of the answers are wrong, with the stated confidence.

        Raises
        ------
        InputError
            For a rate outside 0 to 1, for numbers, or where there are too few validation rows to prove it.
        """
        if not 0 < max_error < 1:
            raise InputError(f"max_error is {max_error:g}; expected a share of wrong answers over 0 and under 1.")
        if len(self.residuals):
            raise InputError("This head predicts numbers, which are not right or wrong. Leave max_error out.")
        n, needed = len(np.unique(self.clusters)), rows_needed(max_error, confidence)
        if n < needed:
            raise InputError(
                f"An error of at most {max_error:g} needs {needed:,} or more validation proteins; this head was fitted "
                f"with {n:,} that were not trained on. Fit with more, or allow more errors (max_error=, --max-error)."
            )
        scores = self.confidences.astype(np.float64)
        evidence = CalibrationSet(
            features=scores[:, None],
            right=self.right,
            weights=np.ones(len(scores)),
            groups=self.clusters,
            clusters=self.clusters,
        )
        return find_threshold(scores, evidence, max_error=max_error, confidence=confidence)

    def half_width(self, level: float = 0.95) -> float | None:
        """Half of the interval that holds at least `level` of new numbers (split conformal, Papadopoulos et al. 2002).

        None where there are too few rows: 19 for 95%.
        """
        rank = self.rank(level)
        return None if rank is None else float(np.sort(self.residuals)[rank - 1])

    def rank(self, level: float) -> int | None:
        """Which of the ascending residuals is `half_width`, counted from 1."""
        rank = math.ceil((len(self.residuals) + 1) * level)
        return rank if rank <= len(self.residuals) else None


def validation_predictions(
    head: Head, features: Features, y: Any, clusters: NDArray[np.int64]
) -> ValidationPredictions:
    """Ask a fitted head for its validation rows.

    Parameters
    ----------
    head
        Fitted.
    features, y
        (N, D) vectors of rows that were not trained on, and their targets; a residue without a label has an empty one.
    clusters
        (N,) int64 which rows are of one protein.
    """
    nothing = np.zeros(0, np.float32)
    if head.target_type == "regression":
        predicted = np.concatenate([np.zeros(0), *map(head.decide, head.outputs(features))])
        residuals = np.abs(predicted - np.asarray(y, np.float64)).astype(np.float32)
        return ValidationPredictions(
            confidences=nothing, right=np.zeros(0, np.bool_), clusters=np.zeros(0, np.int64), residuals=residuals
        )
    targets = encode(y, target_type=head.target_type, n_rows=features.shape[0], classes=head.classes_)
    confidences, right, owners, start = [nothing], [np.zeros(0, np.bool_)], [np.zeros(0, np.int64)], 0
    for shares in head.outputs(features):
        rows = np.arange(start, start + len(shares))
        start += len(shares)
        if head.target_type == "multilabel":
            row, label = np.nonzero(head.decide(shares))
            confidences.append(shares[row, label])
            right.append(targets.require_members()[rows].toarray()[row, label].astype(np.bool_))
            owners.append(clusters[rows[row]])
            continue
        codes = (
            shares.argmax(axis=1)
            if head.target_type == "class"
            else np.searchsorted(head.classes_, head.decide(shares))
        )
        # A residue without a label is no row; a class that was not trained on is a wrong one.
        there = np.ones(len(rows), np.bool_) if head.target_type == "ordinal" else np.asarray(y)[rows] != ""
        there &= has_prediction(shares)
        confidences.append(shares[np.arange(len(rows)), codes][there])
        right.append((codes == targets.require_codes()[rows])[there])
        owners.append(clusters[rows][there])
    return ValidationPredictions(
        confidences=np.concatenate(confidences),
        right=np.concatenate(right),
        clusters=np.concatenate(owners),
        residuals=nothing,
    )
