"""How the discriminant is found: its shrinkages and its temperature on rows to choose on, and a descent from there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heads.base import LabelledExamples
from heads.calibration.temperature import fit_temperature
from heads.vectors.discriminant import DiscriminantSpectrum
from heads.vectors.fit_ridge import (
    LEAST_GAIN,
    MIN_ROWS,
    Descent,
    FitResult,
    Float64,
    LinearFit,
    Rows,
    rotated_rows,
    start_of,
)
from heads.vectors.gradient_refine import refine
from heads.vectors.sufficient_statistics import Statistics

DEFAULT_SHRINKAGE = 0.1
DEFAULT_MEAN_SHRINKAGE = 1.0
"""Used where there is no validation split to choose on."""

_CLASS_CELLS = 2**24
_SEARCH_ROWS, _SEARCH_CELLS = 400, 2**20
"""Rows, and rows times classes, that pairs are told apart by, where there are as many."""


def fit_class(
    statistics: Statistics,
    train: LabelledExamples | None,
    valid: LabelledExamples | None,
    shrinkages: tuple[float, ...],
    mean_shrinkages: tuple[float, ...],
    *,
    class_weights: Float64 | None,
    descent: Descent,
    seed: int,
) -> FitResult:
    """The discriminant with the shrinkages of the least log-loss on validation rows, and its temperature.

    Where a softmax regression that starts from it is better on these rows, that one is the refined fit.
    """
    counts = None if class_weights is None else statistics.amounts / class_weights
    spectrum = DiscriminantSpectrum(statistics, counts)
    if valid is None:
        pair = (
            shrinkages[0] if len(shrinkages) == 1 else DEFAULT_SHRINKAGE,
            mean_shrinkages[0] if len(mean_shrinkages) == 1 else DEFAULT_MEAN_SHRINKAGE,
        )
        fit = _class_fit(spectrum, pair, 1.0, None)
        return FitResult(fit, 0.0, lambda: fit)
    limit = max(MIN_ROWS, _CLASS_CELLS // len(statistics.classes))
    rows = rotated_rows(valid, statistics, spectrum.axes, limit=limit, seed=seed)
    codes = rows.targets.require_codes()
    weights = None if class_weights is None else class_weights[codes]

    # With very many classes a pair is judged on some of the rows, and its temperature found on all.
    step = max(1, len(rows) // max(_SEARCH_ROWS, _SEARCH_CELLS // len(statistics.classes)))

    def judge(pair: tuple[float, float], step: int = step) -> tuple[float, float]:
        coef, intercept = spectrum.rotated(*pair)
        some = slice(None, None, step)
        own = None if weights is None else weights[some]
        temperature, log_loss = fit_temperature(rows.rotated[some] @ coef.T + intercept, codes[some], own)
        return log_loss, temperature

    pair, (log_loss, temperature) = best_pair(judge, shrinkages, mean_shrinkages)
    if step > 1:
        log_loss, temperature = judge(pair, 1)
    fit = _class_fit(spectrum, pair, temperature, log_loss)

    def refined() -> LinearFit:
        if train is None or not descent.applies(train, valid):
            return fit
        return _refined_class(
            fit, spectrum, statistics, train, rows, class_weights=class_weights, descent=descent, seed=seed
        )

    return FitResult(fit, log_loss, refined)


def best_pair(
    judge: Callable[[tuple[float, float]], tuple[float, float]],
    shrinkages: tuple[float, ...],
    mean_shrinkages: tuple[float, ...],
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The pair of least loss, and what `judge` says of it: half of one with the default of the other, then around it.

    Not all pairs: of each, the valley is narrow in one and shallow in the other.
    """
    firsts, seconds = tuple(sorted(set(shrinkages))), tuple(sorted(set(mean_shrinkages)))
    start = DEFAULT_MEAN_SHRINKAGE if DEFAULT_MEAN_SHRINKAGE in seconds else seconds[0]
    tried = {(first, start): judge((first, start)) for first in firsts[::2]}
    while True:
        best = min(tried, key=lambda pair: tried[pair])
        place = firsts.index(best[0])
        nearby = [(best[0], second) for second in seconds]
        nearby += [(first, best[1]) for first in firsts[max(place - 1, 0) : place + 2]]
        fresh = [pair for pair in nearby if pair not in tried]
        if not fresh:
            return best, tried[best]
        tried |= {pair: judge(pair) for pair in fresh}


def _class_fit(
    spectrum: DiscriminantSpectrum, pair: tuple[float, float], temperature: float, log_loss: float | None
) -> LinearFit:
    settings = {
        "shrinkage": pair[0],
        "mean_shrinkage": pair[1],
        "temperature": temperature,
        "valid_log_loss": log_loss,
        "n_epochs": 0,
    }
    return LinearFit(**spectrum.discriminant(*pair)._asdict(), settings=settings)


def _refined_class(
    fit: LinearFit,
    spectrum: DiscriminantSpectrum,
    statistics: Statistics,
    train: LabelledExamples,
    rows: Rows,
    *,
    class_weights: Float64 | None,
    descent: Descent,
    seed: int,
) -> LinearFit:
    """A softmax regression that starts from a discriminant, or the discriminant where it is no better."""
    pair, temperature = (fit.settings["shrinkage"], fit.settings["mean_shrinkage"]), fit.settings["temperature"]
    codes = rows.targets.require_codes()
    coef, intercept = spectrum.rotated(*pair)
    room = spectrum.variances(pair[0])
    start = start_of(statistics, spectrum.axes, room, coef / temperature, intercept / temperature)
    found = refine(
        train.features, train.targets, start, rows.rotated, rows.targets,
        weights=None if class_weights is None else (class_weights, class_weights),
        seed=seed, max_epochs=descent.max_epochs,
    )  # fmt: skip
    logits = rows.rotated @ (found.weights / np.sqrt(start.room)).T + found.offsets
    weights = None if class_weights is None else class_weights[codes]
    temperature, log_loss = fit_temperature(logits, codes, weights)
    # The log-loss of a poor start is easily improved; not at the price of labels that were right.
    before = rows.rotated @ coef.T + intercept
    holds = (logits.argmax(axis=1) == codes).sum() >= (before.argmax(axis=1) == codes).sum()
    if not holds or log_loss >= (1 - LEAST_GAIN) * fit.settings["valid_log_loss"]:
        return fit
    settings = fit.settings | {"temperature": temperature, "valid_log_loss": log_loss, "n_epochs": found.n_epochs}
    return LinearFit(coef=start.coef(found.weights), intercept=found.offsets, settings=settings)
