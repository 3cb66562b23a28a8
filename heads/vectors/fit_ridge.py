"""How linear coefficients of numbers, levels and labels are found: from statistics, rows to choose on, a descent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import LabelledExamples
from heads.calibration.temperature import fit_labels, fit_levels
from heads.features.base import Float32, vectors_at
from heads.tasks.targets import Targets
from heads.vectors.gradient_refine import AUTO_PRODUCT, Start, refine
from heads.vectors.ridge import RidgeSpectrum
from heads.vectors.sufficient_statistics import Statistics

LEAST_GAIN = 0.005
"""Share of the log-loss that a refinement must take off the validation rows: it was stopped on them too."""

_CELLS = 2**23
MIN_ROWS = 1024
_MOST_ROWS = 2**16

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearFit:
    """A linear map ``(x - mean) @ coef.T + intercept`` and what is to be known of it.

    Attributes
    ----------
    coef, intercept
        (K, D) and (K,) float32.
    cuts
        (C - 1,) float32 cut points of an ordered scale; empty elsewhere.
    settings
        What was chosen, for JSON.
    """

    coef: Float32
    intercept: Float32
    cuts: Float32 = field(default_factory=lambda: np.zeros(0, np.float32))
    settings: dict[str, Any]


class FitResult(NamedTuple):
    """A fit, its loss on the validation rows (0 without them), and what makes a refined one of it where that pays."""

    fit: LinearFit
    loss: float
    refined: Callable[[], LinearFit]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows to choose on: vectors in the basis of a spectrum, less the mean, and their targets."""

    rotated: Float32
    targets: Targets

    def __len__(self) -> int:
        return len(self.rotated)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """Whether to refine by gradient descent, and for how long.

    Attributes
    ----------
    asked
        True, False, or ``"auto"``: where there are validation rows and an epoch takes about a second at most.
    max_epochs
        Passes over the training rows at most.
    """

    asked: bool | str
    max_epochs: int

    def applies(self, train: LabelledExamples | None, valid: LabelledExamples | None) -> bool:
        """Whether to refine, given these rows."""
        if train is None or valid is None or not self.asked:
            return False
        product = len(train) * train.targets.n_outputs * train.features.shape[1]
        return self.asked is True or product <= AUTO_PRODUCT


def rotated_rows(rows: LabelledExamples, statistics: Statistics, axes: Float64, *, limit: int, seed: int) -> Rows:
    """At most `limit` of some rows, in the basis of `axes`."""
    chosen = rows.random_subset(limit, seed=seed)
    vectors = vectors_at(chosen.features, np.arange(len(chosen)), n_features=len(statistics.origin))
    vectors -= (statistics.origin + statistics.mean()).astype(np.float32)
    return Rows(rotated=vectors @ axes.astype(np.float32), targets=chosen.targets)


def fit_regression(
    statistics: Statistics, valid: LabelledExamples | None, alphas: tuple[float, ...] | None, *, seed: int
) -> FitResult:
    """Ridge with the penalty of the least error on validation rows; by generalised cross-validation without them."""
    spectrum = RidgeSpectrum(statistics)
    alpha, error, chosen_by = _ridge_choice(spectrum, statistics, valid, alphas or spectrum.alphas(), seed=seed)
    fit = LinearFit(
        coef=spectrum.coef(alpha).astype(np.float32),
        intercept=spectrum.centres.astype(np.float32),
        settings={"alpha": alpha, "valid_rmse": error**0.5, "chosen_by": chosen_by},
    )
    return FitResult(fit, error, lambda: fit)


def fit_ordinal(
    statistics: Statistics,
    train: LabelledExamples | None,
    valid: LabelledExamples | None,
    alphas: tuple[float, ...] | None,
    *,
    seed: int,
) -> FitResult:
    """Ridge on the ranks of levels, and the cut points of proportional odds.

    The cuts are fitted on validation rows; without them on training rows, each scored by a regression on the others.
    """
    ranked = statistics.scored(np.arange(len(statistics.classes), dtype=np.float64))
    spectrum = RidgeSpectrum(ranked)
    alpha, _, chosen_by = _ridge_choice(spectrum, ranked, valid, alphas or spectrum.alphas(), seed=seed)
    chosen = train if valid is None else valid
    if chosen is None:
        raise InputError(
            "There are statistics alone and no rows to find the cut points of the levels on. Give validation rows."
        )
    rows = rotated_rows(chosen, ranked, spectrum.axes, limit=_MOST_ROWS, seed=seed)
    codes = rows.targets.require_codes()
    if valid is None:
        scores = spectrum.left_out(rows.rotated, codes[:, None].astype(np.float64), alpha)[:, 0]
    else:
        scores = rows.rotated @ spectrum.rotated(alpha)[0] + spectrum.centres[0]
    levels = fit_levels(scores, codes, statistics.amounts)
    fit = LinearFit(
        coef=(levels.slope * spectrum.coef(alpha)).astype(np.float32),
        intercept=(levels.slope * spectrum.centres).astype(np.float32),
        cuts=levels.cuts.astype(np.float32),
        settings={
            "alpha": alpha,
            "valid_log_loss": None if valid is None else levels.log_loss,
            "chosen_by": chosen_by,
        },
    )
    return FitResult(fit, levels.log_loss, lambda: fit)


def fit_multilabel(
    statistics: Statistics,
    train: LabelledExamples | None,
    valid: LabelledExamples | None,
    alphas: tuple[float, ...] | None,
    *,
    balanced: bool,
    descent: Descent,
    seed: int,
) -> FitResult:
    """Ridge to the indicators of all labels at once, and a logistic curve for each.

    Penalty and curves are those of the least log-loss on validation rows; where a logistic regression that starts from
    them is better on these rows, that one is the refined fit. Without such rows the penalty is that of generalised
    cross-validation, and the curves are fitted on training rows, each scored by a regression on the others.
    """
    labels = _LabelFits(statistics, balanced=balanced)
    candidates = alphas or labels.spectrum.alphas()
    limit = min(_MOST_ROWS, max(MIN_ROWS, _CELLS // len(statistics.classes)))
    if valid is None:
        alpha = min(candidates, key=lambda alpha: float(labels.spectrum.validation_error(alpha).sum()))
        settings = {"alpha": alpha, "valid_log_loss": None, "n_epochs": 0, "chosen_by": "generalised cross-validation"}
        slopes, offsets = labels.moment_curves(alpha)
        if train is not None:
            rows = rotated_rows(train, statistics, labels.spectrum.axes, limit=limit, seed=seed)
            slopes, offsets, _ = labels.curves(rows, alpha, left_out=True)
        fit = labels.fit(alpha, slopes, offsets, settings)
        return FitResult(fit, 0.0, lambda: fit)
    rows = rotated_rows(valid, statistics, labels.spectrum.axes, limit=limit, seed=seed)
    log_loss, alpha = min((labels.curves(rows, alpha)[2], alpha) for alpha in candidates)
    slopes, offsets, _ = labels.curves(rows, alpha)
    settings = {"alpha": alpha, "valid_log_loss": log_loss, "n_epochs": 0, "chosen_by": "validation rows"}
    fit = labels.fit(alpha, slopes, offsets, settings)

    def refined() -> LinearFit:
        if train is None or not descent.applies(train, valid):
            return fit
        return labels.refined(fit, slopes, train, rows, descent=descent, seed=seed)

    return FitResult(fit, log_loss, refined)


class _LabelFits:
    """Ridge scores of labels and the curves that make them log-odds."""

    def __init__(self, statistics: Statistics, *, balanced: bool) -> None:
        self.spectrum = RidgeSpectrum(statistics)
        self.weights = label_weights(statistics) if balanced else None
        self._statistics = statistics

    def fit(self, alpha: float, slopes: Float64, offsets: Float64, settings: dict[str, Any]) -> LinearFit:
        return LinearFit(
            coef=(self.spectrum.coef(alpha) * slopes[:, None]).astype(np.float32),
            intercept=offsets.astype(np.float32),
            settings=settings,
        )

    def refined(
        self, fit: LinearFit, slopes: Float64, train: LabelledExamples, rows: Rows, *, descent: Descent, seed: int
    ) -> LinearFit:
        """A logistic regression that starts from a fit, or the fit where it is no better."""
        alpha = fit.settings["alpha"]
        room = (self.spectrum.values + alpha) / self._statistics.weight
        weights = self.spectrum.rotated(alpha) * slopes[:, None]
        start = start_of(self._statistics, self.spectrum.axes, room, weights, fit.intercept)
        found = refine(
            train.features, train.targets, start, rows.rotated, rows.targets,
            weights=self.weights, seed=seed, max_epochs=descent.max_epochs,
        )  # fmt: skip
        logits = rows.rotated @ (found.weights / np.sqrt(start.room)).T + found.offsets
        curves = fit_labels(logits, rows.targets.require_members(), label_weights=self.weights)
        if curves.log_loss >= (1 - LEAST_GAIN) * fit.settings["valid_log_loss"]:
            return fit
        return LinearFit(
            coef=(start.coef(found.weights) * curves.slopes[:, None]).astype(np.float32),
            intercept=(found.offsets * curves.slopes + curves.offsets).astype(np.float32),
            settings=fit.settings | {"valid_log_loss": curves.log_loss, "n_epochs": found.n_epochs},
        )

    def curves(self, rows: Rows, alpha: float, *, left_out: bool = False) -> tuple[Float64, Float64, float]:
        """Slopes, offsets and log-loss on some rows; ``left_out`` scores training rows by the others."""
        slopes, offsets = self.moment_curves(alpha)
        members = rows.targets.require_members()
        scores: NDArray[np.floating[Any]]
        if left_out:
            scores = self.spectrum.left_out(rows.rotated, members.toarray().astype(np.float64), alpha)
            scores = scores - self.spectrum.centres
        else:
            scores = rows.rotated @ self.spectrum.rotated(alpha).T.astype(np.float32)
        curves = fit_labels(scores * slopes + offsets, members, label_weights=self.weights)
        return slopes * curves.slopes, offsets * curves.slopes + curves.offsets, curves.log_loss

    def moment_curves(self, alpha: float) -> tuple[Float64, Float64]:
        """Slope and offset (K,) that make a label's ridge score, less its mean, a log-odds.

        As if the scores of the rows with a label and of those without were normal, with one variance.
        """
        statistics, n_rows = self._statistics, self._statistics.weight
        share = np.clip(statistics.amounts / n_rows, 0.5 / n_rows, 1 - 0.5 / n_rows)
        centred = statistics.class_means() - statistics.mean()
        means = np.einsum("kd,kd->k", self.spectrum.coef(alpha), centred)
        others = -means * share / (1 - share)
        variance = self.spectrum.score_variances(alpha)
        within = np.maximum(variance - share * (1 - share) * (means - others) ** 2, 1e-3 * variance)
        slopes = np.where(within > 0, (means - others) / np.where(within > 0, within, 1.0), 0.0)
        prior = np.log(share / (1 - share)) if self.weights is None else np.zeros_like(share)
        return slopes, prior - slopes * (means + others) / 2


def label_weights(statistics: Statistics) -> tuple[Float64, Float64]:
    """Weight of rows with and without each label, (K,) each, so that both sides of a label count the same."""
    n_rows, have = statistics.weight, statistics.amounts
    return n_rows / (2 * np.maximum(have, 1)), n_rows / (2 * np.maximum(n_rows - have, 1))


def start_of(statistics: Statistics, axes: Float64, room: Float64, weights: Any, offsets: Any) -> Start:
    """Weights in the basis of `axes` as a refinement takes them."""
    kept = np.maximum(room, 1e-6 * max(float(room.mean()), 1e-30)).astype(np.float32)
    return Start(
        mean=(statistics.origin + statistics.mean()).astype(np.float32),
        axes=axes.astype(np.float32),
        room=kept,
        weights=np.asarray(weights * np.sqrt(kept), np.float32),
        offsets=np.asarray(offsets, np.float32),
    )


def _ridge_choice(
    spectrum: RidgeSpectrum,
    statistics: Statistics,
    valid: LabelledExamples | None,
    alphas: tuple[float, ...],
    *,
    seed: int,
) -> tuple[float, float, str]:
    """Penalty, mean squared error with it, and what it was chosen by."""
    if valid is None:
        errors = [float(spectrum.validation_error(alpha)[0]) for alpha in alphas]
        chosen_by = "generalised cross-validation"
    else:
        rows = rotated_rows(valid, statistics, spectrum.axes, limit=_MOST_ROWS, seed=seed)
        true = (
            rows.targets.require_values() if rows.targets.target_type == "regression" else rows.targets.require_codes()
        )
        known = np.asarray(true, np.float64) - spectrum.centres[0]
        errors = [float(np.mean((rows.rotated @ spectrum.rotated(alpha)[0] - known) ** 2)) for alpha in alphas]
        chosen_by = "validation rows"
    best = int(np.argmin(errors))
    return alphas[best], errors[best], chosen_by
