"""The LG model is the published one and is a reversible Markov process with mean rate 1."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from embedstore.errors import InputError
from embedstore.testing import substitution
from embedstore.testing.substitution import (
    exchangeabilities,
    frequencies,
    jump_table,
    rate_matrix,
    site_rates,
    transition_matrix,
)

Q, PI = rate_matrix(), frequencies()


def test_the_printed_table_is_the_published_one() -> None:
    # Taken from PAML's lg.dat; equal, number by number, to the tables in pyvolve and learnMSA.
    words = (substitution._EXCHANGEABILITIES + substitution._FREQUENCIES).split()
    assert len(words) == 190 + 20
    digest = hashlib.sha256(" ".join(words).encode()).hexdigest()
    assert digest == "7d0456bd99adba2f589ad285dfcc7bf3eee8ec57c0edd78b9624df0963823ef0"


def test_exchangeabilities_are_symmetric_and_largest_between_isoleucine_and_valine() -> None:
    matrix = exchangeabilities()
    assert (matrix == matrix.T).all()
    assert (matrix[~np.eye(20, dtype=bool)] > 0).all()
    order = substitution.AMINO_ACIDS
    assert matrix.max() == matrix[order.index(b"I"), order.index(b"V")] == 10.649107


def test_rate_matrix_has_rows_of_sum_zero_and_mean_rate_one() -> None:
    assert np.allclose(Q.sum(axis=1), 0, atol=1e-14)
    assert -PI @ np.diag(Q) == pytest.approx(1, abs=1e-14)
    assert PI.sum() == pytest.approx(1, abs=1e-15)


def test_frequencies_are_stationary_and_in_detailed_balance() -> None:
    assert np.allclose(PI @ Q, 0, atol=1e-15)
    flow = PI[:, None] * Q
    assert np.allclose(flow, flow.T, atol=1e-16)


@pytest.mark.parametrize("branch", [0.0, 0.01, 0.5, 3.0])
def test_transition_matrices_are_stochastic_and_keep_the_equilibrium(branch: float) -> None:
    P = transition_matrix(branch)
    assert (P > -1e-14).all()
    assert np.allclose(P.sum(axis=1), 1)
    assert np.allclose(PI @ P, PI)
    assert np.allclose(P @ P, transition_matrix(2 * branch))


def test_transition_matrix_of_a_short_branch_is_the_identity_plus_the_rates() -> None:
    assert np.allclose((transition_matrix(1e-6) - np.eye(20)) / 1e-6, Q, atol=1e-4)


def test_a_negative_branch_is_refused() -> None:
    with pytest.raises(InputError, match=r"-0\.5 is negative"):
        transition_matrix(-0.5)


def test_jumps_have_the_probabilities_of_the_rates_and_never_stay() -> None:
    leave, ladder = jump_table()
    steps = np.diff(ladder.reshape(20, 20) - np.arange(20)[:, None], axis=1, prepend=0.0)
    assert np.allclose(steps * leave[:, None] + np.diag(np.diag(Q)), Q)
    assert (np.diag(steps) == 0).all()
    assert (ladder.reshape(20, 20)[:, -1] == np.arange(1, 21)).all()


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 2.0, 20.0])
def test_site_rates_rise_and_have_mean_one(alpha: float) -> None:
    rates = site_rates(alpha)
    assert rates.mean() == pytest.approx(1, abs=1e-12)
    assert (np.diff(rates) > 0).all()
    assert rates.min() >= 0


def test_site_rates_with_alpha_one_are_the_slices_of_an_exponential() -> None:
    cuts = -np.log(1 - np.arange(8) / 8)
    below = np.append((1 + cuts) * np.exp(-cuts), 0)  # integral of x exp(-x) above each cut
    assert np.allclose(site_rates(1.0), -np.diff(below) * 8)


def test_a_gamma_shape_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError, match="gamma shape of 0"):
        site_rates(0)


def test_tables_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        rate_matrix()[0, 0] = 1
