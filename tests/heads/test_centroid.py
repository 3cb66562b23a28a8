"""Nearest centroid: prototypes, few members, whitening and calibration."""

import numpy as np
import pytest

from embedstore.errors import InputError
from heads.vectors.centroid import CentroidHead
from heads.vectors.linear import LinearHead


def sample(n, seed=0, dim=12, n_classes=4, noise=1.0):
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_classes
    centres = 2 * np.random.default_rng(9).normal(size=(n_classes, dim))
    return (centres[codes] + noise * rng.normal(size=(n, dim))).astype(np.float32), codes


def test_prototypes_are_the_unit_means_of_the_classes() -> None:
    X, y = sample(200)
    head = CentroidHead(whiten=False).fit(X, y)
    means = np.stack([X[y == code].mean(axis=0) for code in range(4)])
    np.testing.assert_allclose(head.prototypes_, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)
    cosines = X / np.linalg.norm(X, axis=1, keepdims=True) @ head.prototypes_.T
    assert head.predict(X).tolist() == cosines.argmax(axis=1).tolist()


def test_two_members_a_class_are_enough_and_better_than_a_covariance_of_them() -> None:
    centres = np.random.default_rng(9).normal(size=(20, 100))

    def rows(n, seed):
        codes = np.arange(n) % 20
        return (centres[codes] + 2 * np.random.default_rng(seed).normal(size=(n, 100))).astype(np.float32), codes

    (X, y), (queries, true) = rows(40, 1), rows(400, 2)
    few = (CentroidHead().fit(X, y).predict(queries) == true).mean()
    assert few > 0.5
    assert few >= (LinearHead(shrinkage=0.01).fit(X, y).predict(queries) == true).mean() - 0.02


def test_whitening_is_chosen_where_members_differ_along_a_loud_direction() -> None:
    def loud(n, seed):
        X, y = sample(n, seed, noise=0.5)
        X[:, 0] += 20 * np.random.default_rng((seed, 1)).normal(size=n)
        return X, y

    head = CentroidHead().fit(*loud(400, 0), *loud(200, 1))
    assert head.whiten_
    queries, true = loud(400, 2)
    assert (head.predict(queries) == true).mean() > 0.9
    assert (CentroidHead(whiten=False).fit(*loud(400, 0)).predict(queries) == true).mean() < 0.7


@pytest.mark.parametrize("with_valid", [True, False])
@pytest.mark.parametrize("whiten", [True, False])
def test_probabilities_are_honest_with_and_without_validation_rows(with_valid: bool, whiten: bool) -> None:
    valid = sample(400, 1, noise=5.0) if with_valid else ()
    head = CentroidHead(whiten=whiten).fit(*sample(400, 0, noise=5.0), *valid)
    X, y = sample(2000, 2, noise=5.0)
    right = (head.predict(X) == y).mean()
    assert 0.4 < right < 0.9
    assert abs(head.predict_proba(X).max(axis=1).mean() - right) < 0.07


def test_a_whitening_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="whiten is 'yes'; expected True, False or 'auto'"):
        CentroidHead(whiten="yes").fit(*sample(20))
