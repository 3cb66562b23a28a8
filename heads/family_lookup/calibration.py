"""What a lookup's votes are worth: learned on labelled proteins that are not searched, whole families held out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.calibration.risk_control import (
    CalibrationSet,
    Calibrator,
    RiskThreshold,
    effective_size,
    find_threshold,
    fit_calibrator,
    min_error,
    min_examples,
)
from heads.family_lookup.reference import NeighbourResult, Reference
from heads.family_lookup.voting import N_RISING, LabelVotes
from heads.features.base import Float32

SHARPNESSES = (0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
"""Tried on the calibration rows."""

DEFAULT_SHARPNESS = 50.0
"""Where there is nothing to choose it on."""

UNKNOWN_SHARE = 0.1
"""Share of queries assumed to be of a family that the reference lacks."""

MAX_ROWS = 4096
"""Calibration rows that are searched for; more would sharpen little and cost time."""

MIN_ROWS = 30
"""With fewer no probability is given."""

_FOLDS = 10
"""A tenth of the families is out of the reference at a time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationRows:
    """Labelled queries that are not in the reference.

    Attributes
    ----------
    vectors
        (n, D).
    sets
        Label codes of each row.
    rule
        Where they come from, in words.
    """

    vectors: Float32
    sets: list[list[int]]
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """How votes become probabilities and answers.

    Attributes
    ----------
    sharpness
        Of the vote.
    calibrator
        None where probabilities cannot be learned; `reason` says why.
    reason
        Why not, or nothing.
    rule
        Where the calibration rows come from, in words.
    n_known, n_unknown
        Rows asked with their family in the reference, and with it left out.
    n_families
        Families, or labels, among them.
    unknown_share
        Share of unknown families that probabilities and thresholds assume; None for tasks of several labels.
    evidence, logits
        The calibration rows and their cross-fitted scores.
    """

    sharpness: float
    calibrator: Calibrator | None
    reason: str
    rule: str
    n_known: int
    n_unknown: int
    n_families: int
    unknown_share: float | None
    evidence: CalibrationSet | None
    logits: NDArray[np.float64]

    def risk_threshold(self, max_error: float, confidence: float) -> RiskThreshold:
        """From which score on at most `max_error` of the answers are wrong, with the stated confidence.

        Raises
        ------
        InputError
            If there is no calibration, or it has too few rows to prove so small an error.
        """
        if self.evidence is None:
            raise InputError(
                f"An error of at most {max_error:g} cannot be guaranteed: {self.reason} Leave max_error out."
            )
        needed, there = min_examples(max_error, confidence), effective_size(self.evidence.weights)
        if there < needed:
            raise InputError(
                f"An error of at most {max_error:g} needs {needed:,} or more calibration rows; there are {there:,.0f} "
                f"({self.rule}). Add labelled validation rows, or ask for {min_error(there, confidence):.2g} or more "
                "(max_error=, --max-error)."
            )
        return find_threshold(self.logits, self.evidence, max_error=max_error, confidence=confidence)

    def to_dict(self) -> dict[str, Any]:
        """What there is to say of it, for JSON."""
        return {
            "rule": self.rule,
            "n_known": self.n_known,
            "n_unknown": self.n_unknown,
            "n_families": self.n_families,
            "unknown_share": self.unknown_share,
            "sharpness": self.sharpness,
            "reason": self.reason,
        }


def uncalibrated(reason: str) -> Calibration:
    """A lookup without probabilities."""
    return Calibration(
        sharpness=DEFAULT_SHARPNESS,
        calibrator=None,
        reason=reason,
        rule="none",
        n_known=0,
        n_unknown=0,
        n_families=0,
        unknown_share=None,
        evidence=None,
        logits=np.zeros(0),
    )


def calibrate(
    reference: Reference, rows: CalibrationRows, *, k: int, several: bool, unknown_share: float, seed: int = 0
) -> Calibration:
    """Learn what votes are worth.

    Each calibration row is asked twice: of the whole reference, and of the reference without its family and nine
    tenths of the others kept, where every answer is wrong. Rows of the second kind count as much as
    `unknown_share` says. With several labels a protein there are no unknown families, and each label that a neighbour
    has is a row.

    Parameters
    ----------
    reference
        What is searched; the calibration rows are not in it.
    rows
        The queries.
    k
        Neighbours that vote.
    several
        Whether a protein can have several labels.
    unknown_share
        From 0 to less than 1.
    seed
        Of the families that are left out together.
    """
    n_rows = len(rows.sets)
    if n_rows < MIN_ROWS:
        return uncalibrated(
            f"there are {n_rows} labelled rows besides the reference ({rows.rule}), and {MIN_ROWS} are needed."
        )
    found = reference.find(rows.vectors, k)
    sharpness = _choose_sharpness(found, rows.sets)
    known = _evidence(reference, found, rows.sets, sharpness, several=several)
    unknown: list[_Judged] = []
    evidence: CalibrationSet | None
    if several:
        evidence = _weighed([known], [1.0], [known.query])
    else:
        unknown = _held_out(reference, rows, k, sharpness, seed)
        evidence = _mixed(known, unknown, reference, rows, unknown_share)
    if evidence is None:
        return uncalibrated("the reference has one family, and none is left when it is held out.")
    calibrator, logits = fit_calibrator(evidence, n_monotone=N_RISING)
    return Calibration(
        sharpness=sharpness,
        calibrator=calibrator,
        reason="",
        rule=rows.rule,
        n_known=n_rows,
        n_unknown=sum(len(part.right) for part in unknown),
        n_families=len({code for labels in rows.sets for code in labels}),
        unknown_share=None if several else unknown_share,
        evidence=evidence,
        logits=logits,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """Features (m, F) of voted labels, whether they are right (m,), and which row was asked (m,)."""

    features: NDArray[np.float64]
    right: NDArray[np.bool_]
    query: NDArray[np.int64]


def _evidence(
    reference: Reference, found: NeighbourResult, sets: list[list[int]], sharpness: float, *, several: bool
) -> _Judged:
    """Every label that neighbours have, or the winner alone."""
    ballots = found.ballots(sharpness=sharpness)
    if not several:
        ballots = ballots.take(ballots.winners())
    return _Judged(
        features=ballots.features(reference.cohesion(found, ballots)),
        right=_is_right(ballots, sets),
        query=ballots.query,
    )


def _held_out(reference: Reference, rows: CalibrationRows, k: int, sharpness: float, seed: int) -> list[_Judged]:
    """Each row asked of a reference that lacks its family; rows whose family it lacks anyway are not asked again."""
    family = np.array([labels[0] for labels in rows.sets])
    there = np.flatnonzero(reference.table.sizes)
    n_folds = min(_FOLDS, len(there))
    if n_folds < 2:
        return []
    fold = np.full(len(reference.table.sizes), -1)
    fold[np.random.default_rng(seed).permutation(there)] = np.arange(len(there)) % n_folds
    parts = []
    for number in range(n_folds):
        asked = np.flatnonzero(fold[family] == number)
        if not len(asked):
            continue
        rest = reference.without_labels(fold == number)
        if not len(rest.table.digests):
            continue
        found = rest.find(rows.vectors[asked], k)
        judged = _evidence(rest, found, [[] for _ in asked], sharpness, several=False)
        parts.append(_Judged(features=judged.features, right=judged.right, query=asked))
    return parts


def _mixed(
    known: _Judged, unknown: list[_Judged], reference: Reference, rows: CalibrationRows, unknown_share: float
) -> CalibrationSet | None:
    """Rows of both kinds, weighed so that unknown families have their share."""
    family = np.array([labels[0] for labels in rows.sets])
    # A validation row of a family that the reference does not have is an unknown one by itself.
    unseen = reference.table.sizes[family] == 0
    parts = [_take(known, ~unseen), _take(known, unseen), *unknown]
    n_known, n_unknown = int((~unseen).sum()), sum(len(part.right) for part in parts[1:])
    if not n_known or not unknown:
        return None
    weights = [(1 - unknown_share) / n_known] + [unknown_share / n_unknown] * (len(parts) - 1)
    # Known families are the reference's own, whoever asks; an unknown family is one of many that could come.
    clusters = [len(reference.table.sizes) + parts[0].query] + [family[part.query] for part in parts[1:]]
    if unknown_share == 0:
        parts, weights, clusters = parts[:1], weights[:1], clusters[:1]
    evidence = _weighed(parts, weights, clusters)
    groups = family[np.concatenate([part.query for part in parts])]
    return CalibrationSet(
        features=evidence.features,
        right=evidence.right,
        weights=evidence.weights,
        groups=groups,
        clusters=evidence.clusters,
    )


def _weighed(parts: list[_Judged], weights: list[float], clusters: list[NDArray[np.int64]]) -> CalibrationSet:
    joined = np.concatenate(clusters)
    return CalibrationSet(
        features=np.concatenate([part.features for part in parts]),
        right=np.concatenate([part.right for part in parts]),
        weights=np.concatenate([np.full(len(p.right), weight) for p, weight in zip(parts, weights, strict=True)]),
        groups=joined,
        clusters=joined,
    )


def _take(judged: _Judged, rows: NDArray[np.bool_]) -> _Judged:
    return _Judged(features=judged.features[rows], right=judged.right[rows], query=judged.query[rows])


def _is_right(ballots: LabelVotes, sets: list[list[int]]) -> NDArray[np.bool_]:
    """Whether each ballot's label is one of its query's own."""
    true = {(row, code) for row, labels in enumerate(sets) for code in labels}
    pairs = zip(ballots.query.tolist(), ballots.label.tolist(), strict=True)
    return np.array([pair in true for pair in pairs], np.bool_)


def _choose_sharpness(found: NeighbourResult, sets: list[list[int]]) -> float:
    """The sharpness with which the true labels get the most of the vote, by log-loss."""
    n_true = sum(map(len, sets))
    losses = []
    for sharpness in SHARPNESSES:
        ballots = found.ballots(sharpness=sharpness)
        vote = ballots.vote[_is_right(ballots, sets)]
        # Laplace's estimate of how often the true label is not among the neighbours'.
        background = (n_true - len(vote) + 1) / (n_true + 2)
        prior = 1 / max(1, len(found.table.sizes))
        loss = -np.log((1 - background) * vote + background * prior).sum()
        losses.append(float(loss) - (n_true - len(vote)) * math.log(background * prior))
    return SHARPNESSES[int(np.argmin(losses))]
