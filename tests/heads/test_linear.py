"""The one-pass discriminant against scikit-learn's, and where scikit-learn has no answer."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeCV

from embedstore.errors import InputError
from heads.features.base import ArrayFeatures
from heads.tasks.keys import row_keys
from heads.tasks.targets import encode
from heads.vectors.fit_lda import DEFAULT_SHRINKAGE
from heads.vectors.linear import LinearHead
from heads.vectors.ridge import RidgeSpectrum
from heads.vectors.sufficient_statistics import Statistics, merge, target_statistics


def sample(n=600, dim=20, n_classes=6, seed=0, offset=5.0):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_classes, n)
    mixing = rng.normal(size=(dim, dim))
    X = rng.normal(size=(n, dim)) @ mixing + 2 * rng.normal(size=(n_classes, dim))[codes] + offset
    return X.astype(np.float32), codes


def statistics(X, y, target_type="class") -> Statistics:
    return target_statistics(ArrayFeatures(X, block_rows=64), encode(y, target_type=target_type, n_rows=len(X)))


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize("shrinkage", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_agrees_with_scikit_learn(solver: str, shrinkage: float, offset: float) -> None:
    X, y = sample(offset=offset)
    theirs = LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage).fit(X.astype(np.float64), y)
    ours = LinearHead(shrinkage=shrinkage, mean_shrinkage=0).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    assert (ours.predict(X) == theirs.predict(X)).mean() >= 0.998


def test_agrees_with_scikit_learn_where_there_are_fewer_rows_than_dimensions() -> None:
    X, y = sample(n=40, dim=100, n_classes=3)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2).fit(X.astype(np.float64), y)
    ours = LinearHead(shrinkage=0.2, mean_shrinkage=0).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)


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


def numbers(n=400, dim=20, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, dim)) @ np.random.default_rng(7).normal(size=(dim, dim)) + offset
    y = 40 + X @ np.random.default_rng(8).normal(size=dim) + 5 * rng.normal(size=n)
    return X.astype(np.float32), y


@pytest.mark.parametrize("alpha", [0.0, 1.0, 300.0])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_regression_agrees_with_scikit_learn(alpha: float, offset: float) -> None:
    X, y = numbers(offset=offset)
    theirs = Ridge(alpha=alpha).fit(X.astype(np.float64), y)
    ours = LinearHead(alpha=alpha, target_type="regression").fit(X, y)
    np.testing.assert_allclose(ours.coef_[0], theirs.coef_, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-4, atol=1e-3)


def test_regression_agrees_where_there_are_fewer_rows_than_dimensions() -> None:
    X, y = numbers(n=40, dim=100)
    theirs = Ridge(alpha=10.0).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(
        LinearHead(alpha=10.0, target_type="regression").fit(X, y).predict(X), theirs.predict(X), rtol=1e-4
    )


@pytest.mark.parametrize("n", [80, 400])
def test_cross_validation_chooses_the_penalty_of_scikit_learn_or_the_one_beside_it(n: int) -> None:
    X, y = numbers(n=n, dim=50)
    alphas = np.geomspace(1e-2, 1e6, 25).tolist()
    theirs = RidgeCV(alphas=alphas).fit(X.astype(np.float64), y)
    ours = LinearHead(alphas=alphas, target_type="regression").fit(X, y)
    assert abs(alphas.index(ours.alpha_) - int(np.argmin(np.abs(np.array(alphas) - theirs.alpha_)))) <= 1
    again = LinearHead(alpha=float(theirs.alpha_), target_type="regression").fit(X, y)
    np.testing.assert_allclose(again.predict(X), theirs.predict(X), rtol=1e-4, atol=1e-3)


def test_regressions_left_out_one_by_one_are_those_that_refitting_gives() -> None:
    X, y = numbers(n=30, dim=6)
    spectrum = RidgeSpectrum(statistics(X, y, "regression"))
    rotated = (X - X.mean(axis=0)) @ spectrum.axes
    found = spectrum.left_out(rotated.astype(np.float32), y[:, None], 0.0)[:, 0]
    for row in range(0, 30, 7):
        rest = np.arange(30) != row
        expected = Ridge(alpha=0.0).fit(X[rest], y[rest]).predict(X[row : row + 1])[0]
        assert found[row] == pytest.approx(expected, rel=1e-3)


def test_validation_rows_choose_the_penalty() -> None:
    (X, y), (X_valid, y_valid) = numbers(n=60, dim=50), numbers(n=300, dim=50, seed=1)
    head = LinearHead(target_type="regression").fit(X, y, X_valid, y_valid)
    errors = [
        np.mean((LinearHead(alpha=a, target_type="regression").fit(X, y).predict(X_valid) - y_valid) ** 2)
        for a in (head.alpha_ / 3, head.alpha_, head.alpha_ * 3)
    ]
    assert errors[1] == min(errors)
    assert head.valid_rmse_ == pytest.approx(errors[1] ** 0.5, rel=1e-3)


def labels(n, seed=0, dim=12, n_labels=5):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, dim))
    true = 1.5 * X @ np.random.default_rng(3).normal(size=(dim, n_labels)) - np.arange(n_labels)
    is_member = rng.random((n, n_labels)) < 1 / (1 + np.exp(-true))
    y = [[f"l{code}" for code in np.flatnonzero(row)] for row in is_member]
    return X.astype(np.float32), y, 1 / (1 + np.exp(-true)), is_member


@pytest.mark.parametrize("with_valid", [True, False])
def test_label_probabilities_are_honest_and_rank_as_scikit_learns_ridge(with_valid: bool) -> None:
    X, y, _, is_member = labels(1500)
    X_valid, y_valid, _, _ = labels(600, seed=1)
    queries, _, true, _ = labels(800, seed=2)
    valid = (X_valid, y_valid) if with_valid else ()
    head = LinearHead(alpha=1.0, target_type="multilabel").fit(X, y, *valid)
    shares = head.predict_proba(queries)
    scores = Ridge(alpha=1.0).fit(X, is_member.astype(float)).predict(queries)
    for code in range(5):
        assert (np.argsort(shares[:, code], kind="stable") == np.argsort(scores[:, code], kind="stable")).mean() > 0.9
    assert np.abs(shares - true).mean() < 0.05
    assert np.abs(shares.mean(axis=0) - true.mean(axis=0)).max() < 0.04


def test_levels_are_those_of_proportional_odds() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([2.0, -1.0, 0.0, 0.5])

    def sample(n):
        X = rng.normal(size=(n, 4))
        latent = X @ weights + rng.logistic(size=n)
        return X.astype(np.float32), np.array([1.0, 2.0, 4.0, 8.0])[np.digitize(latent, [-2.0, 0.5, 3.0])]

    (X, y), (X_valid, y_valid), (queries, _) = sample(3000), sample(1500), sample(200)
    cumulative = 1 / (1 + np.exp(-(np.array([-2.0, 0.5, 3.0]) - (queries @ weights)[:, None])))
    true = np.diff(cumulative, axis=1, prepend=0, append=1)
    for valid in ((), (X_valid, y_valid)):
        head = LinearHead(target_type="ordinal").fit(X, y, *valid)
        assert head.classes_.tolist() == [1, 2, 4, 8]
        assert np.abs(head.predict_proba(queries) - true).mean() < 0.02


def test_merged_statistics_are_those_of_one_pass() -> None:
    X, y = sample()
    whole = statistics(X, y)
    order = np.argsort(y, kind="stable")  # so that the halves have other classes and another origin
    first, second = order[:250], order[250:]
    both = merge(statistics(X[first], y[first]), statistics(X[second], y[second]))
    assert both.classes.tolist() == whole.classes.tolist()
    assert both.amounts.tolist() == whole.amounts.tolist()
    for found, expected in (
        (both.origin + both.class_means(), whole.origin + whole.class_means()),
        (both.within_covariance(), whole.within_covariance()),
        (both.total_covariance(), whole.total_covariance()),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    a = LinearHead(shrinkage=0.1).fit_statistics(both).predict_proba(X)
    np.testing.assert_allclose(a, LinearHead(shrinkage=0.1).fit(X, y).predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("target_type", ["regression", "multilabel"])
def test_merged_statistics_of_other_kinds_are_those_of_one_pass(target_type: str) -> None:
    X, y = numbers(offset=3.0) if target_type == "regression" else labels(400)[:2]
    whole = statistics(X, y, target_type)
    both = merge(*(statistics(X[part], y[part], target_type) for part in (slice(0, 150), slice(150, None))))
    assert both.classes.tolist() == whole.classes.tolist()
    np.testing.assert_allclose(both.amounts, whole.amounts)
    np.testing.assert_allclose(both.squares, whole.squares)
    a, b = (LinearHead(alpha=1.0, target_type=target_type).fit_statistics(one).outputs(X) for one in (both, whole))
    np.testing.assert_allclose(np.concatenate(list(a)), np.concatenate(list(b)), rtol=1e-4, atol=1e-4)


def test_levels_cannot_be_found_from_statistics_alone() -> None:
    X, y = sample(100)
    with pytest.raises(InputError, match="no rows to find the cut points"):
        LinearHead(target_type="ordinal").fit_statistics(statistics(X, y.astype(float), "ordinal"))


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
    chosen = LinearHead(shrinkages=(0.0, 0.3), refine=False).fit(X, y, X_valid[300:], y_valid[300:])
    losses = [
        LinearHead(shrinkage=s, refine=False).fit(X, y, X_valid[300:], y_valid[300:]).valid_log_loss_
        for s in (0.0, 0.3)
    ]
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


def skewed(n, seed):
    """Classes with other spreads, where a softmax is right and one covariance is not; three labels of the like."""
    rng = np.random.default_rng(seed)
    X = rng.exponential(size=(n, 6)).astype(np.float32) ** 2
    logits = X @ np.array([[1.0, -1, 0], [0, 1, -1], [-1, 0, 1], [0.5, 0, 0], [0, 0, 0], [0, 0, 0]]) * 1.5
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    codes = (rng.random((n, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    return X, codes, [["abc"[k] for k in np.flatnonzero(row > 0.3 * rng.normal())] for row in logits]


@pytest.mark.parametrize("target_type", ["class", "multilabel"])
def test_a_refinement_is_kept_where_it_is_better_on_validation_rows(target_type: str) -> None:
    (X, *y), (X_valid, *y_valid) = skewed(2000, 0), skewed(1000, 1)
    which = 0 if target_type == "class" else 1
    rows = X, y[which], X_valid, y_valid[which]
    plain = LinearHead(target_type=target_type, refine=False).fit(*rows)
    refined = LinearHead(target_type=target_type).fit(*rows)
    assert plain.n_epochs_ == 0 < refined.n_epochs_
    assert refined.valid_log_loss_ < 0.97 * plain.valid_log_loss_
    queries, *true = skewed(1000, 2)
    members = LinearHead(target_type=target_type, refine=False).fit(queries, true[which]).classes_
    wanted = np.array([[name in np.atleast_1d(label) for name in members] for label in true[which]])
    losses = [
        -np.log(np.where(wanted, shares, 1 - shares).clip(1e-6)).mean()
        for shares in (head.predict_proba(queries) for head in (plain, refined))
    ]
    assert losses[1] < losses[0]


def test_a_refinement_that_gains_nothing_is_dropped() -> None:
    X, y = sample(600)
    head = LinearHead(refine=True).fit(X, y, *sample(300, seed=0))
    assert head.n_epochs_ == 0
    again = LinearHead(refine=False).fit(X, y, *sample(300, seed=0))
    np.testing.assert_array_equal(head.predict_proba(X), again.predict_proba(X))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"refine": True}, "no validation rows to stop on"),
        ({"refine": "yes"}, "refine is 'yes'; expected True, False or 'auto'"),
        ({"max_epochs": 0}, "max_epochs is 0; expected a whole number of at least 1"),
    ],
)
def test_a_refinement_that_makes_no_sense_is_refused(params: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearHead(**params).fit(*sample(50))


@pytest.mark.parametrize("bad", [-1.0, np.inf])
def test_a_negative_or_infinite_penalty_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match="alpha is .* expected numbers of at least 0"):
        LinearHead(alpha=bad, target_type="regression").fit(*numbers(50))


@pytest.mark.parametrize(
    ("weight", "target_type", "message"),
    [
        ("even", "class", "class_weight is 'even'; expected None or 'balanced'"),
        ("balanced", "regression", "has no classes to weigh"),
    ],
)
def test_class_weights_that_make_no_sense_are_refused(weight: str, target_type: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearHead(class_weight=weight, target_type=target_type).fit(
            *(sample(50) if target_type == "class" else numbers(50))
        )


def test_balanced_classes_agree_with_scikit_learns_equal_priors() -> None:
    X, y = sample(900)
    rare = np.flatnonzero((y != 0) | (np.arange(900) % 9 == 0))
    X, y = X[rare], y[rare]
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.0, priors=np.full(6, 1 / 6)).fit(X, y)
    ours = LinearHead(shrinkage=0.0, mean_shrinkage=0, class_weight="balanced").fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)
    hard = X[:, :2]
    plain, balanced = (LinearHead(class_weight=weight).fit(hard, y).predict(hard) for weight in (None, "balanced"))
    assert (balanced == 0).sum() > (plain == 0).sum()


@pytest.mark.parametrize("with_valid", [True, False])
def test_balanced_labels_make_rare_ones_more_probable(with_valid: bool) -> None:
    X, y, _, _ = labels(800)
    valid = labels(400, seed=1)[:2] if with_valid else ()
    plain, balanced = (
        LinearHead(class_weight=weight, target_type="multilabel").fit(X, y, *valid).predict_proba(X).mean(axis=0)
        for weight in (None, "balanced")
    )
    assert balanced[4] > plain[4] + 0.03
    assert abs(balanced[4] - plain[4]) > 2 * abs(balanced[0] - plain[0])


def test_scikit_learn_can_clone_it() -> None:
    assert clone(LinearHead(shrinkage=0.5, seed=3)).get_params() == LinearHead(shrinkage=0.5, seed=3).get_params()
