"""The one-pass discriminant against scikit-learn's, and where scikit-learn has no answer."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from embedstore.errors import InputError
from heads.linear import DEFAULT_SHRINKAGE, LinearHead
from heads.statistics import ClassStatistics, class_statistics, merge
from heads.streams import ArrayFeatures
from heads.targets import encode_labels
from heads.votes import row_keys


def sample(n=600, dim=20, n_classes=6, seed=0, offset=5.0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_classes, n)
    mixing = rng.normal(size=(dim, dim))
    X = rng.normal(size=(n, dim)) @ mixing + 2 * rng.normal(size=(n_classes, dim))[codes] + offset
    return X.astype(np.float32), codes


def statistics(X, y) -> ClassStatistics:
    classes, codes = encode_labels(y, n_rows=len(X))
    return class_statistics(ArrayFeatures(X, block_rows=64), codes, classes)


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize("shrinkage", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_agrees_with_scikit_learn(solver: str, shrinkage: float, offset: float) -> None:
    X, y = sample(offset=offset)
    theirs = LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage).fit(X.astype(np.float64), y)
    ours = LinearHead(shrinkage=shrinkage).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    assert (ours.predict(X) == theirs.predict(X)).mean() >= 0.998


def test_agrees_with_scikit_learn_where_there_are_fewer_rows_than_dimensions() -> None:
    X, y = sample(n=40, dim=100, n_classes=3)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(LinearHead(shrinkage=0.2).fit(X, y).predict_proba(X), theirs.predict_proba(X), atol=1e-4)


def test_validation_rows_that_were_trained_on_choose_nothing() -> None:
    X, y = sample(300)
    X_valid, y_valid = sample(n=200, seed=1)
    keys = row_keys(500)
    train, fresh = ArrayFeatures(X, keys[:300]), ArrayFeatures(X_valid, keys[300:])
    both = ArrayFeatures(np.concatenate([X, X_valid]), keys)
    alone = LinearHead().fit(train, y, fresh, y_valid)
    mixed = LinearHead().fit(train, y, both, np.concatenate([y, y_valid]))
    assert mixed.settings() == alone.settings()
    assert LinearHead().fit(train, y, train, y).valid_log_loss_ is None
    assert LinearHead().fit(X, y, X, y).valid_log_loss_ is not None


def test_a_label_for_each_validation_row_is_required() -> None:
    X, y = sample(50)
    with pytest.raises(InputError, match="y_valid has shape .49,. for 50 rows of X_valid"):
        LinearHead().fit(X, y, X, y[:49])


def test_merged_statistics_are_those_of_one_pass() -> None:
    X, y = sample()
    whole = statistics(X, y)
    order = np.argsort(y, kind="stable")  # so that the halves have other classes and another origin
    first, second = order[:250], order[250:]
    both = merge(statistics(X[first], y[first]), statistics(X[second], y[second]))
    assert both.classes.tolist() == whole.classes.tolist()
    assert both.counts.tolist() == whole.counts.tolist()
    for found, expected in (
        (both.origin + both.class_means(), whole.origin + whole.class_means()),
        (both.within_covariance(), whole.within_covariance()),
        (both.total_covariance(), whole.total_covariance()),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    a = LinearHead(shrinkage=0.1).fit_statistics(both).predict_proba(X)
    np.testing.assert_allclose(a, LinearHead(shrinkage=0.1).fit(X, y).predict_proba(X), atol=1e-4)


def test_statistics_are_the_moments_that_numpy_finds() -> None:
    X, y = sample()
    found = statistics(X, y)
    centred = X - np.stack([X[y == code].mean(axis=0, dtype=np.float64) for code in y])
    np.testing.assert_allclose(found.within_covariance(), centred.T @ centred / len(X), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.total_covariance(), np.cov(X.T, bias=True), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.origin + found.mean(), X.mean(axis=0), rtol=1e-5)


def test_statistics_of_other_dimensions_are_not_merged() -> None:
    (X, y), (Z, z) = sample(dim=4), sample(dim=5)
    with pytest.raises(InputError, match="over 4 and 5 dimensions cannot be merged"):
        merge(statistics(X, y), statistics(Z, z))


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, None])
def test_constant_features_change_nothing(shrinkage: float | None) -> None:
    X, y = sample()
    padded = np.concatenate([X, np.full((len(X), 3), 7, np.float32)], axis=1)
    assert (LinearHead(shrinkage=shrinkage).fit(padded, y).predict(padded) == y).mean() > 0.95
    if shrinkage == 0:
        a, b = LinearHead(shrinkage=0).fit(padded, y), LinearHead(shrinkage=0).fit(X, y)
        np.testing.assert_allclose(a.predict_proba(padded), b.predict_proba(X), atol=1e-4)


def test_one_member_a_class_means_nearest_centroid() -> None:
    X = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    head = LinearHead().fit(X, ["a", "b", "c"])
    assert head.predict(X + 1).tolist() == ["a", "b", "c"]


def test_equal_vectors_with_different_labels_leave_the_priors() -> None:
    head = LinearHead().fit(np.ones((4, 3), np.float32), ["a", "a", "a", "b"])
    np.testing.assert_allclose(head.predict_proba(np.ones((1, 3), np.float32)), [[0.75, 0.25]], atol=1e-5)


def test_shrinkage_is_chosen_on_validation_rows_and_is_the_default_without() -> None:
    X, y = sample(n=60, dim=50)
    X_valid, y_valid = sample(n=500, dim=50)
    assert LinearHead().fit(X, y).shrinkage_ == DEFAULT_SHRINKAGE
    chosen = LinearHead(shrinkages=(0.0, 0.3)).fit(X, y, X_valid[300:], y_valid[300:])
    losses = [LinearHead(shrinkage=s).fit(X, y, X_valid[300:], y_valid[300:]).valid_log_loss_ for s in (0.0, 0.3)]
    assert chosen.shrinkage_ == (0.0, 0.3)[int(np.argmin(losses))]
    assert chosen.valid_log_loss_ == min(losses)


def test_the_temperature_makes_probabilities_honest() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 3000)
    X = np.repeat(
        rng.normal(size=(3000, 5)) + 0.8 * np.eye(3, 5)[codes], 8, axis=1
    )  # far fewer dimensions than it seems
    X = (X + 0.5 * rng.normal(size=X.shape)).astype(np.float32)
    head = LinearHead(shrinkage=1.0).fit(X[:1000], codes[:1000], X[1000:2000], codes[1000:2000])
    shares = head.predict_proba(X[2000:])
    gap = shares.max(axis=1).mean() - (head.predict(X[2000:]) == codes[2000:]).mean()
    assert head.temperature_ > 3
    assert abs(gap) < 0.05


@pytest.mark.parametrize("bad", [-0.1, 1.5])
def test_a_shrinkage_outside_zero_to_one_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match="expected numbers from 0 to 1"):
        LinearHead(shrinkage=bad).fit(*sample(n=50))


def test_scikit_learn_can_clone_it() -> None:
    assert clone(LinearHead(shrinkage=0.5, seed=3)).get_params() == LinearHead(shrinkage=0.5, seed=3).get_params()
