"""Linear heads on protein vectors: Pfam families, localisation in one of ten places and in several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from benchmarks.judge_mini.intervals import Statistic, interval
from benchmarks.judge_mini.measures import MINI, Measure, shares
from benchmarks.judge_mini.models import VectorFinder
from benchmarks.judge_mini.sets import Data, Proteins
from benchmarks.train_mini.data import order
from heads.features.base import ArrayFeatures
from heads.vectors.linear import LinearHead

ALPHAS = (0.1, 1.0, 10.0, 100.0)
"""Tried on the validation split."""

CHOSEN_ON_SHARE = 10
"""One training row in so many chooses the shrinkage where a set has no validation split to spare."""


def pfam(data: Data, models: Sequence[VectorFinder]) -> list[Measure]:
    """Families by the linear discriminant, its shrinkage chosen on ``valid``, and on a tenth of ``hard_train``."""
    hard = data.split("pfam", "hard_train")
    spare = np.array([order(name)[0] * 256 + order(name)[1] for name in hard.columns["id"]]) % CHOSEN_ON_SHARE == 0
    sets = {
        "test": (data.split("pfam", "train"), data.split("pfam", "valid"), data.split("pfam", "test", asked=True)),
        "hard_valid": (hard.take(~spare), hard.take(spare), data.split("pfam", "hard_valid", asked=True)),
    }
    return [_classified(f"pfam/{name}: family by linear head", *parts, models) for name, parts in sets.items()]


def scl(data: Data, models: Sequence[VectorFinder]) -> list[Measure]:
    """One of ten places in the cell, DeepLoc 1.0."""
    parts = data.split("scl", "train"), data.split("scl", "valid"), data.split("scl", "test", asked=True)
    return [_classified("scl/test: localisation by linear head", *parts, models)]


def _classified(name: str, train: Proteins, valid: Proteins, test: Proteins, models: Sequence[VectorFinder]) -> Measure:
    right: dict[str, NDArray[np.bool_]] = {}
    notes: dict[str, dict[str, float]] = {}
    for model in models:
        x, x_valid = (ArrayFeatures(model.vectors(part.sequences), part.digests) for part in (train, valid))
        head = LinearHead().fit(x, train.labels, x_valid, valid.labels)
        right[model.name] = head.predict(model.vectors(test.sequences)) == test.labels
        notes[model.name] = {"shrinkage": head.shrinkage_}
    return shares(name, right, notes=notes)


def deeploc2(data: Data, models: Sequence[VectorFinder]) -> list[Measure]:
    """Several places in the cell, DeepLoc 2.0: a ridge regression for each place.

    Its threshold and the penalty are chosen on ``valid``.
    """
    train, valid, test = (data.split("deeploc2", split, asked=split == "test") for split in ("train", "valid", "test"))
    places = sorted({place for text in train.labels for place in text.split("|")})
    y, y_valid, y_test = (_indicators(part.labels, places) for part in (train, valid, test))
    micro = Measure("deeploc2/test: micro F1 of ten places", len(test))
    macro = Measure("deeploc2/test: macro F1 of ten places", len(test))
    columns: dict[str, NDArray[np.float64]] = {}
    for model in models:
        x, x_valid, x_test = (model.vectors(part.sequences) for part in (train, valid, test))
        tried = [_chosen(Ridge(alpha=alpha).fit(x, y), x_valid, y_valid) for alpha in ALPHAS]
        score, fitted, thresholds = max(tried, key=lambda one: one[0])
        predicted = fitted.predict(x_test) >= thresholds
        columns[model.name] = _f1_columns(predicted, y_test)
        for measure in (micro, macro):
            measure.notes[model.name] = {"alpha": fitted.alpha, "valid_macro_f1": round(score, 4)}
    for measure, statistic in ((micro, _micro_f1), (macro, _macro_f1)):
        for name, held in columns.items():
            measure.figures[name] = interval(held, statistic)
            if name != MINI and MINI in columns:
                both = np.concatenate([columns[MINI], held], axis=1)
                measure.minus[name] = interval(both, _less(statistic))
    return [micro, macro]


def _indicators(labels: NDArray[np.str_], places: list[str]) -> NDArray[np.float32]:
    """(N, places): 1 where a protein is in a place."""
    return np.array([[place in text.split("|") for place in places] for text in labels], np.float32)


def _chosen(fitted: Ridge, x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[float, Ridge, NDArray[np.float64]]:
    """Macro F1 on validation with the best threshold of each place, the model, the thresholds."""
    scores = fitted.predict(x)
    best = [_best_threshold(scores[:, place], y[:, place] > 0) for place in range(y.shape[1])]
    return float(np.mean([f1 for f1, _ in best])), fitted, np.array([threshold for _, threshold in best])


def _best_threshold(scores: NDArray[np.float64], true: NDArray[np.bool_]) -> tuple[float, float]:
    """The largest F1 of ``score >= threshold``, and the threshold."""
    falling = np.argsort(-scores, kind="stable")
    found = np.cumsum(true[falling])
    f1 = 2 * found / (np.arange(1, len(scores) + 1) + max(1, int(true.sum())))
    best = int(f1.argmax())
    return float(f1[best]), float(scores[falling[best]])


def _f1_columns(predicted: NDArray[np.bool_], true: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, 2 x places): true positives of each place, and true and predicted ones together."""
    return np.concatenate([predicted * true, predicted.astype(np.float64) + true], axis=1)


def _micro_f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    half = sums.shape[1] // 2
    return np.asarray(2 * sums[:, :half].sum(axis=1) / sums[:, half:].sum(axis=1), np.float64)


def _macro_f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    half = sums.shape[1] // 2
    return np.asarray((2 * sums[:, :half] / np.maximum(sums[:, half:], 1)).mean(axis=1), np.float64)


def _less(statistic: Statistic) -> Statistic:
    def less(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        half = sums.shape[1] // 2
        return statistic(sums[:, :half]) - statistic(sums[:, half:])

    return less
