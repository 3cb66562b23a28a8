"""How linear coefficients are found for each kind of target, from statistics and from rows to choose on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import Labelled
from heads.calibrate import fit_labels, fit_levels, fit_temperature
from heads.discriminant import DiscriminantSpectrum
from heads.ridge import RidgeSpectrum
from heads.statistics import Statistics
from heads.streams import Float32, take_rows
from heads.targets import Targets

DEFAULT_SHRINKAGE = 0.1
"""Used where there is no validation split to choose on."""

_CELLS = 2**23
_CLASS_CELLS = 2**25
_MIN_ROWS = 2048
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows to choose on: vectors in the basis of a spectrum, less the mean, and their targets."""

    rotated: Float32
    targets: Targets

    def __len__(self) -> int:
        return len(self.rotated)


def rotated_rows(rows: Labelled, statistics: Statistics, axes: Float64, *, limit: int, seed: int) -> Rows:
    """At most `limit` of some rows, in the basis of `axes`."""
    chosen = rows.sample(limit, seed=seed)
    vectors = take_rows(chosen.features, np.arange(len(chosen)), n_features=len(statistics.origin))
    vectors -= (statistics.origin + statistics.mean()).astype(np.float32)
    return Rows(rotated=vectors @ axes.astype(np.float32), targets=chosen.targets)


def fit_class(
    statistics: Statistics,
    valid: Labelled | None,
    shrinkages: tuple[float, ...],
    *,
    class_weights: Float64 | None,
    seed: int,
) -> LinearFit:
    """The discriminant with the shrinkage of the least log-loss on validation rows, and its temperature."""
    spectrum = DiscriminantSpectrum(statistics)
    n_classes = len(statistics.classes)
    if valid is None:
        shrinkage = shrinkages[0] if len(shrinkages) == 1 else DEFAULT_SHRINKAGE
        settings = {"shrinkage": shrinkage, "temperature": 1.0, "valid_log_loss": None}
    else:
        limit = max(_MIN_ROWS, _CLASS_CELLS // n_classes)
        rows = rotated_rows(valid, statistics, spectrum.axes, limit=limit, seed=seed)
        codes = rows.targets.require_codes()
        weights = None if class_weights is None else class_weights[codes]
        tried = []
        for shrinkage in shrinkages:
            coef, intercept = spectrum.rotated(shrinkage)
            temperature, log_loss = fit_temperature(rows.rotated @ coef.T + intercept, codes, weights)
            tried.append((log_loss, temperature, shrinkage))
        log_loss, temperature, shrinkage = min(tried)
        settings = {"shrinkage": shrinkage, "temperature": temperature, "valid_log_loss": log_loss}
    coef, intercept = spectrum.discriminant(shrinkage)
    return LinearFit(coef=coef, intercept=intercept, settings=settings)


def fit_regression(
    statistics: Statistics, valid: Labelled | None, alphas: tuple[float, ...] | None, *, seed: int
) -> LinearFit:
    """Ridge with the penalty of the least error on validation rows; by generalised cross-validation without them."""
    spectrum = RidgeSpectrum(statistics)
    alpha, error, chosen_by = _ridge_choice(spectrum, statistics, valid, alphas or spectrum.alphas(), seed=seed)
    return LinearFit(
        coef=spectrum.coef(alpha).astype(np.float32),
        intercept=spectrum.centres.astype(np.float32),
        settings={"alpha": alpha, "valid_rmse": error**0.5, "chosen_by": chosen_by},
    )


def fit_ordinal(
    statistics: Statistics,
    train: Labelled | None,
    valid: Labelled | None,
    alphas: tuple[float, ...] | None,
    *,
    seed: int,
) -> LinearFit:
    """Ridge on the ranks of levels, and the cut points of proportional odds.

    The cuts are fitted on validation rows; without them on training rows, each scored by a regression on the others.
    """
    ranked = statistics.scored(np.arange(len(statistics.classes), dtype=np.float64))
    spectrum = RidgeSpectrum(ranked)
    alpha, _, chosen_by = _ridge_choice(spectrum, ranked, valid, alphas or spectrum.alphas(), seed=seed)
    rows = _calibration_rows(spectrum, ranked, train, valid, limit=_MOST_ROWS, seed=seed)
    codes = rows.targets.require_codes()
    if valid is None:
        scores = spectrum.left_out(rows.rotated, codes[:, None].astype(np.float64), alpha)[:, 0]
    else:
        scores = rows.rotated @ spectrum.rotated(alpha)[0] + spectrum.centres[0]
    levels = fit_levels(scores, codes, statistics.amounts)
    return LinearFit(
        coef=(levels.slope * spectrum.coef(alpha)).astype(np.float32),
        intercept=(levels.slope * spectrum.centres).astype(np.float32),
        cuts=levels.cuts.astype(np.float32),
        settings={
            "alpha": alpha,
            "valid_log_loss": None if valid is None else levels.log_loss,
            "chosen_by": chosen_by,
        },
    )


def fit_multilabel(
    statistics: Statistics,
    train: Labelled | None,
    valid: Labelled | None,
    alphas: tuple[float, ...] | None,
    *,
    balanced: bool,
    seed: int,
) -> LinearFit:
    """Ridge to the indicators of all labels at once, and a logistic curve for each.

    Penalty and curves are those of the least log-loss on validation rows. Without them the penalty is that of
    generalised cross-validation, and the curves are fitted on training rows, each scored by a regression on the others.
    """
    spectrum = RidgeSpectrum(statistics)
    candidates = alphas or spectrum.alphas()
    weights = label_weights(statistics) if balanced else None
    limit = min(_MOST_ROWS, max(_MIN_ROWS, _CELLS // max(1, len(statistics.classes))))
    rows = _calibration_rows(spectrum, statistics, train, valid, limit=limit, seed=seed) if train or valid else None
    if valid is not None and rows is not None:
        members = rows.targets.require_members()
        tried = []
        for alpha in candidates:
            scores = rows.rotated @ spectrum.rotated(alpha).T.astype(np.float32)
            slopes, offsets = moment_curves(spectrum, statistics, alpha, balanced=balanced)
            curves = fit_labels(scores * slopes + offsets, members, label_weights=weights)
            tried.append((curves.log_loss, alpha))
        alpha = min(tried)[1]
    else:
        alpha = min(candidates, key=lambda alpha: float(spectrum.validation_error(alpha).sum()))
    slopes, offsets = moment_curves(spectrum, statistics, alpha, balanced=balanced)
    log_loss = None
    if rows is not None:
        members = rows.targets.require_members()
        if valid is None:
            found = spectrum.left_out(rows.rotated, members.toarray().astype(np.float64), alpha) - spectrum.centres
        else:
            found = rows.rotated @ spectrum.rotated(alpha).T
        curves = fit_labels(found * slopes + offsets, members, label_weights=weights)
        slopes, offsets = slopes * curves.slopes, offsets * curves.slopes + curves.offsets
        log_loss = None if valid is None else curves.log_loss
    return LinearFit(
        coef=(spectrum.coef(alpha) * slopes[:, None]).astype(np.float32),
        intercept=offsets.astype(np.float32),
        settings={
            "alpha": alpha,
            "valid_log_loss": log_loss,
            "chosen_by": "generalised cross-validation" if valid is None else "validation rows",
        },
    )


def moment_curves(
    spectrum: RidgeSpectrum, statistics: Statistics, alpha: float, *, balanced: bool
) -> tuple[Float64, Float64]:
    """Slope and offset (K,) that make a label's ridge score, less its mean, a log-odds.

    As if the scores of the rows with a label and of those without were normal, with one variance.
    """
    n_rows = statistics.weight
    share = np.clip(statistics.amounts / n_rows, 0.5 / n_rows, 1 - 0.5 / n_rows)
    weights = spectrum.coef(alpha)
    means = np.einsum("kd,kd->k", weights, statistics.class_means() - statistics.mean())
    others = -means * share / (1 - share)
    variance = spectrum.score_variances(alpha)
    within = np.maximum(variance - share * (1 - share) * (means - others) ** 2, 1e-3 * variance)
    slopes = np.where(within > 0, (means - others) / np.where(within > 0, within, 1.0), 0.0)
    prior = np.zeros_like(share) if balanced else np.log(share / (1 - share))
    return slopes, prior - slopes * (means + others) / 2


def label_weights(statistics: Statistics) -> tuple[Float64, Float64]:
    """Weight of rows with and without each label, (K,) each, so that both sides of a label count the same."""
    n_rows, have = statistics.weight, statistics.amounts
    return n_rows / (2 * np.maximum(have, 1)), n_rows / (2 * np.maximum(n_rows - have, 1))


def _ridge_choice(
    spectrum: RidgeSpectrum,
    statistics: Statistics,
    valid: Labelled | None,
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
        true = rows.targets.require_values() if rows.targets.kind == "regression" else rows.targets.require_codes()
        known = np.asarray(true, np.float64) - spectrum.centres[0]
        errors = [float(np.mean((rows.rotated @ spectrum.rotated(alpha)[0] - known) ** 2)) for alpha in alphas]
        chosen_by = "validation rows"
    best = int(np.argmin(errors))
    return alphas[best], errors[best], chosen_by


def _calibration_rows(
    spectrum: RidgeSpectrum,
    statistics: Statistics,
    train: Labelled | None,
    valid: Labelled | None,
    *,
    limit: int,
    seed: int,
) -> Rows:
    chosen = train if valid is None else valid
    if chosen is None:
        raise InputError(
            "There are statistics alone and no rows to find the cut points of the levels on. Give validation rows."
        )
    return rotated_rows(chosen, statistics, spectrum.axes, limit=limit, seed=seed)
