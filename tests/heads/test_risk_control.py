"""Probabilities mean what they say, and a guaranteed error rate holds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from heads.calibration.risk_control import CalibrationSet, effective_size, find_threshold, fit_calibrator, min_examples


def drawn(n: int, *, seed: int, offset: float = 1.5) -> tuple[CalibrationSet, np.ndarray]:
    """Rows that are right with a known probability, each a family of its own."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 3))
    chance = expit(features @ [2.0, 0.5, 0.0] + offset)
    rows = np.arange(n)
    examples = CalibrationSet(
        features=features, right=rng.random(n) < chance, weights=np.ones(n), groups=rows % 97, clusters=rows
    )
    return examples, chance


def test_probabilities_are_near_the_true_ones() -> None:
    calibrator, _ = fit_calibrator(drawn(3000, seed=1)[0], n_monotone=2)
    fresh, chance = drawn(5000, seed=2)
    found = calibrator.probabilities(calibrator.logits(fresh.features))
    assert np.abs(found - chance).mean() < 0.03
    assert ((found > 0) & (found < 1)).all()


def test_a_probability_grows_with_each_rising_feature_even_where_the_rows_say_otherwise() -> None:
    examples, _ = drawn(500, seed=1)
    contrary = replace(examples, features=-examples.features)
    calibrator, _ = fit_calibrator(contrary, n_monotone=2)
    assert (calibrator.slopes[:2] >= 0).all()
    assert (np.diff(calibrator.heights) >= 0).all()


def test_no_row_is_scored_by_a_calibrator_that_saw_its_family() -> None:
    examples, _ = drawn(300, seed=3)
    own = examples.groups == examples.groups[0]
    _, logits = fit_calibrator(examples, n_monotone=2)
    turned = replace(examples, right=np.where(own, ~examples.right, examples.right))
    np.testing.assert_allclose(fit_calibrator(turned, n_monotone=2)[1][own], logits[own])


@pytest.mark.parametrize("max_error", [0.03, 0.05])
def test_a_guarantee_is_broken_no_more_often_than_its_confidence_allows(max_error: float) -> None:
    broken = n_answering = 0
    n_times = 100
    for seed in range(n_times):
        examples, chance = drawn(1200, seed=seed)
        calibrator, logits = fit_calibrator(examples, n_monotone=2)
        risk = find_threshold(logits, examples, max_error=max_error, confidence=0.9)
        fresh, chance = drawn(4000, seed=10_000 + seed)
        answered = calibrator.logits(fresh.features) >= risk.threshold
        broken += bool(answered.any()) and bool((1 - chance[answered]).mean() > max_error)
        n_answering += risk.n_answered > 0
    # So many could be broken by chance at the stated confidence.
    assert broken <= binom.ppf(0.99, n_times, 0.1)
    assert n_answering > n_times / 4


def test_relatives_among_the_rows_weaken_a_guarantee() -> None:
    examples, _ = drawn(2000, seed=5)
    _, logits = fit_calibrator(examples, n_monotone=2)
    alone = find_threshold(logits, examples, max_error=0.05, confidence=0.95)
    # Rows that are wrong come in a few clusters.
    together = replace(examples, clusters=np.where(examples.right, examples.clusters, -1 - examples.clusters % 3))
    assert find_threshold(logits, together, max_error=0.05, confidence=0.95).coverage < alone.coverage


@pytest.mark.parametrize(("n_answers", "a", "b"), [(50, 0.1, 0.0), (200, 0.75, 4.25)])
def test_answers_on_one_protein_that_are_wrong_together_count_little(n_answers: int, a: float, b: float) -> None:
    broken, n_times, n_proteins = 0, 40, 120
    for seed in range(n_times):
        rng = np.random.default_rng(seed)
        # A tenth or more of the answers are wrong, of a protein all of them or a share of its own.
        share = rng.beta(a, b, n_proteins) if b else (rng.random(n_proteins) < a).astype(float)
        wrong = rng.random((n_proteins, n_answers)) < share[:, None]
        said = (rng.random(n_proteins)[:, None] + 0.001 * rng.random(wrong.shape)).ravel()
        proteins = np.repeat(np.arange(n_proteins), n_answers)
        examples = CalibrationSet(
            features=said[:, None], right=~wrong.ravel(), weights=np.ones(len(said)), groups=proteins, clusters=proteins
        )
        broken += find_threshold(said, examples, max_error=0.05, confidence=0.95).n_answered > 0
    assert broken <= binom.ppf(0.99, n_times, 0.05)


def test_one_protein_with_many_answers_counts_once() -> None:
    wrong = np.tile([True, False], 50)
    examples = CalibrationSet(
        features=np.zeros((100, 1)), right=~wrong, weights=np.ones(100), groups=np.zeros(100, int),
        clusters=np.zeros(100, int),
    )  # fmt: skip
    risk = find_threshold(np.arange(100.0), examples, max_error=0.2, confidence=0.95)
    assert risk.n_answered == 0


def test_without_enough_right_rows_nothing_is_answered_and_the_least_error_is_told() -> None:
    examples, _ = drawn(1000, seed=6)
    wrong = replace(examples, right=np.arange(1000) % 2 == 0)
    risk = find_threshold(np.arange(1000.0), wrong, max_error=0.1, confidence=0.95)
    assert math.isinf(risk.threshold)
    assert risk.n_answered == 0
    assert 0.4 < risk.lowest_bound < 0.6


def test_min_examples_are_those_whose_clopper_pearson_bound_suffices() -> None:
    n = min_examples(0.01, 0.95)
    # Three starts share the risk.
    assert (1 - 0.01) ** n <= 0.05 / 3 < (1 - 0.01) ** (n - 1)
    assert effective_size(np.array([1.0, 1.0, 0.0])) == 2
