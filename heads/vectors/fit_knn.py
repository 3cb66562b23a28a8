"""How neighbours vote: the parameters that are best on validation rows, and outputs that are calibrated there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedstore.numerics import log_odds, sigmoid, softmax
from heads.calibration.temperature import fit_labels, fit_temperature
from heads.features.base import Float32
from heads.tasks.targets import Targets
from heads.vectors.neighbour_targets import KeyTargets

DEFAULT_K = 10
DEFAULT_SHARPNESS = 50.0
DEFAULT_BACKGROUND = 0.01
"""Used where there is no validation split to choose on; chosen on the validation rows of a Pfam random split."""

_LEAST = 1e-6
"""Shares are kept this far from 0 and 1 before their logarithm is taken."""

_CHOOSING_CELLS = 2**20

Float64 = NDArray[np.float64]
Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vote:
    """Parameters of a vote.

    Attributes
    ----------
    k, sharpness
        Neighbours, and how fast their weights fall.
    background
        Weight of the mean over all training rows.
    temperature
        For classes and levels: what logarithms of shares are divided by.
    slopes, offsets
        (C,) float32 for labels: what log-odds of shares are multiplied by, and what is added. Else empty.
    log_loss, rmse
        On the rows that it was chosen on; None elsewhere.
    """

    k: int
    sharpness: float
    background: float
    temperature: float
    slopes: Float32
    offsets: Float32
    log_loss: float | None
    rmse: float | None

    @property
    def loss(self) -> float:
        """Whichever of the two there is; 0 where there is none."""
        return self.log_loss or self.rmse or 0.0

    def outputs(self, target_type: str, keys: KeyTargets, scores: Float32, positions: Positions) -> Float32:
        """What the (n, k) neighbours say: (n, C) float32."""
        mixed = self.mixed(keys, scores, positions)
        if target_type == "regression":
            return mixed.astype(np.float32)
        if target_type == "multilabel":
            return sigmoid(log_odds(mixed, smallest=_LEAST) * self.slopes + self.offsets).astype(np.float32)
        return softmax(_logarithms(mixed) / self.temperature)

    def mixed(self, keys: KeyTargets, scores: Float32, positions: Positions) -> Float64:
        """The vote of the first k neighbours, drawn towards the mean of all rows."""
        votes = keys.vote(positions[:, : self.k], weights_of(scores[:, : self.k], self.sharpness))
        return (1 - self.background) * votes + self.background * keys.centre


def default_vote(target_type: str, n_classes: int, k: int, sharpness: float) -> Vote:
    """A vote that was chosen on nothing."""
    n_labels = n_classes if target_type == "multilabel" else 0
    return Vote(
        k=k,
        sharpness=sharpness,
        background=DEFAULT_BACKGROUND,
        temperature=1.0,
        slopes=np.ones(n_labels, np.float32),
        offsets=np.zeros(n_labels, np.float32),
        log_loss=None,
        rmse=None,
    )


def fit_vote(
    keys: KeyTargets,
    scores: Float32,
    positions: Positions,
    targets: Targets,
    ks: tuple[int, ...],
    sharpnesses: tuple[float, ...],
) -> Vote:
    """The vote that is best on some rows, calibrated on them.

    Parameters
    ----------
    keys
        What neighbours have.
    scores, positions
        (n, k) similarities of the rows' neighbours and where they stand in `keys`, for the largest of `ks`.
    targets
        Of the n rows.
    ks, sharpnesses
        What to choose from.
    """
    losses = {
        "regression": _number_losses,
        "multilabel": _label_losses,
        "class": _class_losses,
        "ordinal": _class_losses,
    }[targets.target_type]
    candidates = [(k, sharpness) for k in ks for sharpness in sharpnesses]
    found = losses(keys, scores, positions, targets, candidates)
    (loss, background), (k, sharpness) = min(zip(found, candidates, strict=True))
    vote = replace(default_vote(targets.target_type, len(targets.classes), k, sharpness), background=background)
    if targets.target_type == "regression":
        return replace(vote, rmse=loss**0.5)
    mixed = vote.mixed(keys, scores, positions)
    if targets.target_type == "multilabel":
        curves = fit_labels(log_odds(mixed, smallest=_LEAST), targets.require_members())
        return replace(
            vote,
            slopes=curves.slopes.astype(np.float32),
            offsets=curves.offsets.astype(np.float32),
            log_loss=curves.log_loss,
        )
    temperature, log_loss = fit_temperature(_logarithms(mixed), targets.require_codes())
    return replace(vote, temperature=temperature, log_loss=log_loss)


def weights_of(scores: Float32, sharpness: float) -> Float64:
    """Weight of each neighbour; the best has 1."""
    return np.exp(sharpness * (scores.astype(np.float64) - scores[:, :1]))


def _logarithms(shares: Float64) -> Float64:
    return np.asarray(np.log(np.maximum(shares, np.finfo(np.float64).tiny)))


def _class_losses(
    keys: KeyTargets, scores: Float32, positions: Positions, targets: Targets, candidates: list[tuple[int, float]]
) -> Iterator[tuple[float, float]]:
    """Log-loss and background of each candidate."""
    codes = targets.require_codes()
    right, prior = keys.amounts_of(positions, codes), keys.centre[codes]
    for k, sharpness in candidates:
        weights = weights_of(scores[:, :k], sharpness)
        vote = (weights * right[:, :k]).sum(axis=1) / weights.sum(axis=1)
        # Laplace's estimate of how often the true class is not among the neighbours.
        background = (int((vote == 0).sum()) + 1) / (len(vote) + 2)
        yield float(-np.log((1 - background) * vote + background * prior).mean()), background


def _number_losses(
    keys: KeyTargets, scores: Float32, positions: Positions, targets: Targets, candidates: list[tuple[int, float]]
) -> Iterator[tuple[float, float]]:
    """Mean squared error and background of each candidate."""
    true = targets.require_values() - keys.centre
    numbers = keys.amounts[positions] - keys.centre
    for k, sharpness in candidates:
        weights = weights_of(scores[:, :k], sharpness)
        vote = (weights * numbers[:, :k]).sum(axis=1) / weights.sum(axis=1)
        # The share of the vote's deviation that is worth keeping, by least squares.
        kept = float(np.clip(vote @ true / max(float(vote @ vote), 1e-300), 0.0, 1.0))
        yield float(((kept * vote - true) ** 2).mean()), 1 - kept


def _label_losses(
    keys: KeyTargets, scores: Float32, positions: Positions, targets: Targets, candidates: list[tuple[int, float]]
) -> Iterator[tuple[float, float]]:
    """Log-loss over rows and labels, and background, of each candidate."""
    # Every candidate looks at every cell, so that fewer rows must do where there are many labels.
    rows = slice(max(256, _CHOOSING_CELLS // max(1, len(keys.centre))))
    is_member = targets.require_members()[rows].toarray()
    for k, sharpness in candidates:
        votes = keys.vote(positions[rows, :k], weights_of(scores[rows, :k], sharpness))
        background = (int((votes[is_member] == 0).sum()) + 1) / (int(is_member.sum()) + 2)
        shares = np.clip((1 - background) * votes + background * keys.centre, _LEAST, 1 - _LEAST)
        yield float(-np.log(np.where(is_member, shares, 1 - shares)).mean()), background
