"""Sequences on branches follow the model: what happens on one branch is compared with the theory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from embedstore.errors import InputError
from embedstore.testing.evolution import Ancestry, Draws, Evolution, Front
from embedstore.testing.substitution import frequencies, site_rates, transition_matrix

NO_INDELS = Evolution(insertion_rate=0, deletion_rate=0, max_length=10**6)


def one_branch(evolution: Evolution, alpha: float, branch: float, length: int = 200_000) -> tuple[Front, Front]:
    ancestry = Ancestry(evolution, alpha, Draws(7))
    root = ancestry.root(length)
    return root, ancestry.evolve(root, np.array([branch]))


def test_uniforms_are_the_raw_bits_of_pcg64_and_inside_the_interval() -> None:
    drawn = Draws(3, 1, 2).uniform(1000)
    raw = np.random.PCG64(np.random.SeedSequence(3, spawn_key=(1, 2))).random_raw(1000)
    assert (drawn == ((raw >> np.uint64(12)) + 0.5) / 2**52).all()
    assert 0 < drawn.min() < drawn.max() < 1


def test_streams_are_those_that_spawning_gives() -> None:
    spawned = np.random.SeedSequence(3).spawn(3)[2]
    assert (np.random.PCG64(spawned).random_raw(4) == Draws(3, 2)._bits.random_raw(4)).all()


def test_normals_have_mean_zero_and_variance_one() -> None:
    drawn = Draws(1).normal(100_000)
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.var() - 1) < 0.02


@pytest.mark.parametrize("branch", [0.1, 1.0])
def test_substitutions_on_a_branch_have_the_frequencies_of_the_transition_matrix(branch: float) -> None:
    alpha = 0.7
    root, leaf = one_branch(NO_INDELS, alpha, branch)
    seen = np.zeros((20, 20))
    np.add.at(seen, (root.residues, leaf.residues), 1)
    P = np.mean([transition_matrix(branch * rate) for rate in site_rates(alpha)], axis=0)
    expected = seen.sum(axis=1, keepdims=True) * P
    usual = expected >= 5
    chi_square = ((seen - expected) ** 2 / expected)[usual].sum()
    freedom = usual.sum() - 20
    assert abs(chi_square - freedom) < 5 * math.sqrt(2 * freedom)


def test_two_leaves_differ_by_twice_the_branch() -> None:
    """Reversibility: the pair of leaves looks like one branch of twice the length, with equal site classes."""
    alpha, branch = 1.0, 0.4
    ancestry = Ancestry(NO_INDELS, alpha, Draws(11))
    root = ancestry.root(200_000)
    pair = ancestry.evolve(root.take(np.array([0, 0])), np.array([branch, branch]))
    left, right = pair.residues.reshape(2, -1)
    same = np.mean([frequencies() @ np.diag(transition_matrix(2 * branch * rate)) for rate in site_rates(alpha)])
    assert abs((left == right).mean() - same) < 0.005


def test_composition_stays_at_the_equilibrium_with_indels() -> None:
    _, leaf = one_branch(Evolution(max_length=10**7), 0.7, 1.0)
    seen = np.bincount(leaf.residues, minlength=20) / len(leaf.residues)
    assert np.abs(seen - frequencies()).max() < 0.004


def test_indels_change_the_length_at_their_rates() -> None:
    lengths = np.arange(1.0, 31.0)
    mean = (lengths**-0.7).sum() / (lengths**-1.7).sum()
    root, leaf = one_branch(Evolution(deletion_rate=0, insertion_rate=0.05, max_length=10**7), 1.0, 0.5)
    grown = (leaf.lengths[0] / root.lengths[0] - 1) / -math.expm1(-0.05 * 0.5)
    assert grown == pytest.approx(mean, rel=0.05)
    root, leaf = one_branch(Evolution(deletion_rate=0.001, insertion_rate=0, max_length=10**7), 1.0, 0.5)
    shrunk = (1 - leaf.lengths[0] / root.lengths[0]) / -math.expm1(-0.001 * 0.5)
    assert shrunk == pytest.approx(mean, rel=0.35)


def test_lengths_stay_within_their_bounds() -> None:
    evolution = Evolution(min_length=20, max_length=40, insertion_rate=0.5, deletion_rate=0.5)
    lengths = [len(leaf) for leaf in Ancestry(evolution, 1.0, Draws(5)).leaves(_root(evolution, 30), 300, age=2.0)]
    assert len(lengths) == 300
    assert min(lengths) >= 20
    assert max(lengths) <= 40


def _root(evolution: Evolution, length: int) -> Front:
    return Ancestry(evolution, 1.0, Draws(6)).root(length)


@pytest.mark.parametrize("n_leaves", [1, 2, 3, 1000])
def test_a_tree_has_the_leaves_that_were_asked_for(n_leaves: int) -> None:
    evolution = Evolution()
    assert len(list(Ancestry(evolution, 1.0, Draws(5)).leaves(_root(evolution, 50), n_leaves, age=1.0))) == n_leaves


def test_leaves_are_as_far_from_the_root_as_the_age() -> None:
    """However the branches are cut, root and leaf look like one branch of the family's age."""
    evolution = Evolution(insertion_rate=0, deletion_rate=0, clock_spread=0, max_length=10**6)
    ancestry = Ancestry(evolution, 1.0, Draws(9))
    root = ancestry.root(5_000)
    leaves = np.array([np.frombuffer(leaf, np.uint8) for leaf in ancestry.leaves(root, 40, age=0.8)])
    same = (leaves == np.frombuffer(next(root.sequences()), np.uint8)).mean()
    expected = np.mean([frequencies() @ np.diag(transition_matrix(0.8 * rate)) for rate in site_rates(1.0)])
    assert abs(same - expected) < 0.02


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"median_age": 0.0}, r"median_age=0\.0 cannot be simulated; expected above 0"),
        ({"clan_share": 1.5}, r"clan_share=1\.5 .* expected 0 to 1"),
        ({"deletion_rate": -0.1}, r"deletion_rate=-0\.1 .* expected 0 or more"),
        ({"max_length": 10}, r"max_length=10 .* expected min_length=20 or more"),
        ({"alphas": ()}, r"alphas=\(\) .* one gamma shape"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Evolution(**wrong)
