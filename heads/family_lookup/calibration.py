"""Calibration of a lookup on labelled proteins outside the reference, with and without their family in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

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
from heads.family_lookup.voting import N_MONOTONE, LabelVotes
from heads.features.base import Float32

SHARPNESSES = (0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
"""Candidates; one is selected on the calibration queries."""

DEFAULT_SHARPNESS = 50.0
"""Used without calibration queries."""

UNKNOWN_SHARE = 0.1
"""Assumed share of queries whose family is not in the reference."""

MAX_QUERIES = 4096
"""Most calibration queries; more cost time and improve little."""

MIN_QUERIES = 30
"""Fewest calibration queries; with fewer there are no probabilities."""

_N_FOLDS = 10
"""Families are left out of the reference a tenth at a time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationQueries:
    """Labelled proteins that are not in the reference.

    Attributes
    ----------
    vectors
        (n, D).
    label_sets
        Label codes of each.
    source
        Where they come from, in words.
    """

    vectors: Float32
    label_sets: list[list[int]]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """How votes become probabilities and answers.

    Attributes
    ----------
    sharpness
        Of the vote.
    calibrator
        None where there are no probabilities.
    reason
        Why there are none; else empty.
    source
        Where the calibration queries come from, in words.
    n_known, n_unknown
        Number of lookups with the query's family in the reference, and without it.
    n_families
        Number of families, or labels, of the queries.
    unknown_share
        Assumed share of queries of unknown families; None where a protein can have several labels.
    examples, logits
        The answers, and their cross-fitted logits.
    """

    sharpness: float = DEFAULT_SHARPNESS
    calibrator: Calibrator | None = None
    reason: str = ""
    source: str = "none"
    n_known: int = 0
    n_unknown: int = 0
    n_families: int = 0
    unknown_share: float | None = None
    examples: CalibrationSet | None = None
    logits: NDArray[np.float64] | None = None

    def risk_threshold(self, max_error: float, confidence: float) -> RiskThreshold:
        """The lowest logit from which, with the stated confidence, at most `max_error` of the answers are wrong.

        Raises
        ------
        InputError
            Without a calibration, or with too few calibration queries for so small an error.
        """
        if self.examples is None or self.logits is None:
            raise InputError(
                f"An error of at most {max_error:g} cannot be guaranteed: {self.reason} Leave max_error out."
            )
        needed, n = min_examples(max_error, confidence), effective_size(self.examples.weights)
        if n < needed:
            raise InputError(
                f"An error of at most {max_error:g} needs {needed:,} or more calibration rows; there are {n:,.0f} "
                f"({self.source}). Add labelled validation rows, or ask for {min_error(n, confidence):.2g} or more "
                "(max_error=, --max-error)."
            )
        return find_threshold(self.logits, self.examples, max_error=max_error, confidence=confidence)


def calibrate(
    reference: Reference,
    queries: CalibrationQueries,
    *,
    k: int,
    is_multilabel: bool,
    unknown_share: float,
    seed: int = 0,
) -> Calibration:
    """Fit the probability that a label is correct.

    Each query is looked up twice: in the whole reference, and in a reference without its family and a tenth of the
    others, where every answer is wrong. Answers of the second kind are weighted to `unknown_share`. With several labels
    a protein there are no unknown families, and each label of a neighbour is an example.

    Parameters
    ----------
    reference
        The reference, without the queries.
    queries
        The calibration queries.
    k
        Number of neighbours.
    is_multilabel
        Whether a protein can have several labels.
    unknown_share
        From 0 to less than 1.
    seed
        Of the division of families into tenths.
    """
    n_queries = len(queries.label_sets)
    if n_queries < MIN_QUERIES:
        return Calibration(
            reason=f"there are {n_queries} labelled rows besides the reference ({queries.source}), and {MIN_QUERIES} "
            "are needed."
        )
    result = reference.search(queries.vectors, k)
    sharpness = _select_sharpness(result, queries.label_sets)
    known = _answers(reference, result, queries.label_sets, sharpness, is_multilabel=is_multilabel)
    unknown: list[_Answers] = []
    examples: CalibrationSet | None
    if is_multilabel:
        examples = _calibration_set([known], [1.0], [known.query])
    else:
        unknown = _answers_without_family(reference, queries, k, sharpness, seed)
        examples = _mix(known, unknown, reference, queries, unknown_share)
    if examples is None:
        return Calibration(reason="the reference has one family, and none is left when it is held out.")
    calibrator, logits = fit_calibrator(examples, n_monotone=N_MONOTONE)
    return Calibration(
        sharpness=sharpness,
        calibrator=calibrator,
        source=queries.source,
        n_known=n_queries,
        n_unknown=sum(len(part.right) for part in unknown),
        n_families=len({code for labels in queries.label_sets for code in labels}),
        unknown_share=None if is_multilabel else unknown_share,
        examples=examples,
        logits=logits,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """Features (m, F) of labels, whether they are correct (m,), and the query of each (m,)."""

    features: NDArray[np.float64]
    right: NDArray[np.bool_]
    query: NDArray[np.int64]

    def subset(self, mask: NDArray[np.bool_]) -> _Answers:
        return _Answers(features=self.features[mask], right=self.right[mask], query=self.query[mask])


def _answers(
    reference: Reference,
    result: NeighbourResult,
    label_sets: list[list[int]],
    sharpness: float,
    *,
    is_multilabel: bool,
) -> _Answers:
    """Every label of the neighbours, or the top label only."""
    votes = result.votes(sharpness=sharpness)
    if not is_multilabel:
        votes = votes.subset(votes.top_label())
    return _Answers(
        features=votes.features(reference.within_label_similarity(result, votes)),
        right=_is_right(votes, label_sets),
        query=votes.query,
    )


def _answers_without_family(
    reference: Reference, queries: CalibrationQueries, k: int, sharpness: float, seed: int
) -> list[_Answers]:
    """Answers of references without the query's family; queries whose family is never in the reference are left out."""
    family = np.array([labels[0] for labels in queries.label_sets])
    present = np.flatnonzero(reference.table.sizes)
    n_folds = min(_N_FOLDS, len(present))
    if n_folds < 2:
        return []
    fold = np.full(len(reference.table.sizes), -1)
    fold[np.random.default_rng(seed).permutation(present)] = np.arange(len(present)) % n_folds
    parts = []
    for number in range(n_folds):
        held_out = np.flatnonzero(fold[family] == number)
        if not len(held_out):
            continue
        rest = reference.without_labels(fold == number)
        if not len(rest.table.digests):
            continue
        result = rest.search(queries.vectors[held_out], k)
        answers = _answers(rest, result, [[] for _ in held_out], sharpness, is_multilabel=False)
        parts.append(replace(answers, query=held_out))
    return parts


def _mix(
    known: _Answers, unknown: list[_Answers], reference: Reference, queries: CalibrationQueries, unknown_share: float
) -> CalibrationSet | None:
    """Answers of both kinds, weighted so that unknown families have their share."""
    family = np.array([labels[0] for labels in queries.label_sets])
    # A query of a family that the reference lacks is of an unknown family anyway.
    is_unseen = reference.table.sizes[family] == 0
    parts = [known.subset(~is_unseen), known.subset(is_unseen), *unknown]
    n_known, n_unknown = int((~is_unseen).sum()), sum(len(part.right) for part in parts[1:])
    if not n_known or not unknown:
        return None
    weights = [(1 - unknown_share) / n_known] + [unknown_share / n_unknown] * (len(parts) - 1)
    # Known families are those of the reference, so queries are the sample; unknown families are a sample themselves.
    clusters = [len(reference.table.sizes) + parts[0].query] + [family[part.query] for part in parts[1:]]
    if unknown_share == 0:
        parts, weights, clusters = parts[:1], weights[:1], clusters[:1]
    groups = family[np.concatenate([part.query for part in parts])]
    return replace(_calibration_set(parts, weights, clusters), groups=groups)


def _calibration_set(parts: list[_Answers], weights: list[float], clusters: list[NDArray[np.int64]]) -> CalibrationSet:
    joined = np.concatenate(clusters)
    return CalibrationSet(
        features=np.concatenate([part.features for part in parts]),
        right=np.concatenate([part.right for part in parts]),
        weights=np.repeat(weights, [len(part.right) for part in parts]),
        groups=joined,
        clusters=joined,
    )


def _is_right(votes: LabelVotes, label_sets: list[list[int]]) -> NDArray[np.bool_]:
    """Whether the label of each entry is one of its query's own."""
    true = {(query, code) for query, labels in enumerate(label_sets) for code in labels}
    pairs = zip(votes.query.tolist(), votes.label.tolist(), strict=True)
    return np.array([pair in true for pair in pairs], np.bool_)


def _select_sharpness(result: NeighbourResult, label_sets: list[list[int]]) -> float:
    """The sharpness at which the vote for the true labels has the lowest log-loss."""
    n_true = sum(map(len, label_sets))
    prior = 1 / max(1, len(result.table.sizes))
    losses = []
    for sharpness in SHARPNESSES:
        votes = result.votes(sharpness=sharpness)
        vote = votes.vote[_is_right(votes, label_sets)]
        # Laplace's estimate of how often the true label is not among the neighbours'.
        background = (n_true - len(vote) + 1) / (n_true + 2)
        loss = -np.log((1 - background) * vote + background * prior).sum()
        losses.append(float(loss) - (n_true - len(vote)) * math.log(background * prior))
    return SHARPNESSES[int(np.argmin(losses))]
