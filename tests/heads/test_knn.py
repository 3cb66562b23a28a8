"""The neighbours head against a few lines of numpy, and its rules for ties and repeated sequences."""

import numpy as np
import pytest

from embedstore.errors import InputError
from heads.features.base import ArrayFeatures
from heads.tasks.keys import row_keys
from heads.tasks.targets import encode
from heads.vectors.fit_knn import DEFAULT_BACKGROUND
from heads.vectors.knn import NeighboursHead, require_room
from heads.vectors.neighbour_targets import key_targets


def sample(n, seed=0, dim=8):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, n)
    return (rng.normal(size=(n, dim)) + 2 * np.eye(4, dim)[codes]).astype(np.float32), codes


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_votes_are_those_of_a_plain_loop(k: int) -> None:
    X, y = sample(200)
    queries, _ = sample(30, seed=1)
    head = NeighboursHead(k=k, sharpness=10).fit(X, y)
    kept = X.astype(np.float16).astype(np.float64)
    unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    for query, found in zip(queries.astype(np.float64), head.predict_proba(queries), strict=True):
        scores = unit @ (query / np.linalg.norm(query))
        nearest = np.argsort(-scores)[:k]
        weights = np.exp(10 * (scores[nearest] - scores.max()))
        vote = np.bincount(y[nearest], weights=weights, minlength=4) / weights.sum()
        expected = (1 - DEFAULT_BACKGROUND) * vote + DEFAULT_BACKGROUND * np.bincount(y) / 200
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_vectors_are_kept_as_float16_whatever_their_size() -> None:
    X, y = sample(100)
    for scale in (1e-6, 1.0, 1e6):
        head = NeighboursHead(k=3).fit(X * np.float32(scale), y)
        kept = head.arrays()["vectors"]
        assert kept.dtype == np.float16
        assert np.isfinite(kept).all()
        np.testing.assert_allclose(head.predict_proba(X), NeighboursHead(k=3).fit(X, y).predict_proba(X), atol=2e-3)


def test_equal_scores_go_by_key() -> None:
    X = np.ones((3, 4), np.float32)
    digests = np.zeros((3, 24), np.uint8)
    digests[:, 0] = [9, 1, 5]
    head = NeighboursHead(k=1).fit(ArrayFeatures(X, digests), ["nine", "one", "five"])
    assert head.predict(X[:1]).tolist() == ["one"]
    assert NeighboursHead(k=1).fit(X, ["z", "a", "b"]).predict(X[:1]).tolist() == ["z"]


def test_a_sequence_in_several_rows_is_one_neighbour_that_splits_its_vote() -> None:
    X = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32)
    digests = row_keys(4)
    digests[1] = digests[2] = digests[0]
    head = NeighboursHead(k=2, sharpness=0).fit(ArrayFeatures(X, digests), ["a", "a", "b", "c"])
    shares = head.predict_proba(np.array([[1, 0.5]], np.float32))
    expected = (1 - DEFAULT_BACKGROUND) * np.array([1 / 3, 1 / 6, 1 / 2]) + DEFAULT_BACKGROUND * np.array(
        [0.5, 0.25, 0.25]
    )
    np.testing.assert_allclose(shares[0], expected, atol=1e-6)


def test_k_is_chosen_on_validation_rows() -> None:
    rng = np.random.default_rng(0)
    X, y = sample(400)
    noisy = np.where(rng.random(400) < 0.3, rng.integers(0, 4, 400), y)
    head = NeighboursHead().fit(X, noisy, *sample(300, seed=1))
    assert head.k_ >= 10
    assert NeighboursHead(k=3).fit(X, noisy, *sample(300, seed=1)).k_ == 3


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"k": 0}, r"k is \(0,\); expected whole numbers of at least 1"),
        ({"ks": ()}, r"k is \(\); expected whole numbers of at least 1"),
        ({"whiten": "always"}, r"whiten is 'always'; expected True, False or 'auto'"),
        ({"sharpness": -1.0}, r"sharpness is \(-1\.0,\); expected numbers of at least 0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        NeighboursHead(**params).fit(*sample(20))


def test_validation_rows_that_were_trained_on_choose_nothing() -> None:
    rng = np.random.default_rng(0)
    X, y = sample(400)
    noisy = np.where(rng.random(400) < 0.4, rng.integers(0, 4, 400), y)
    train = ArrayFeatures(X, row_keys(800)[:400])
    X_valid, y_valid = sample(200, seed=1)
    fresh = ArrayFeatures(X_valid, row_keys(800)[400:600])
    both = ArrayFeatures(np.concatenate([X, X_valid]), row_keys(800)[:600])
    alone = NeighboursHead().fit(train, noisy, fresh, y_valid)
    mixed = NeighboursHead().fit(train, noisy, both, np.concatenate([noisy, y_valid]))
    assert mixed.settings() == alone.settings()
    assert NeighboursHead().fit(train, noisy, train, noisy).valid_log_loss_ is None
    # Without keys nobody can tell, and every row counts: a row that finds itself asks for k = 1.
    assert NeighboursHead().fit(X, noisy, X, noisy).k_ == 1


def test_votes_without_weight_count_the_same() -> None:
    keys, _ = key_targets(row_keys(3), encode([0, 1, 1], target_type="class", n_rows=3))
    positions = keys.find(row_keys(3))[None]
    np.testing.assert_allclose(keys.vote(positions, np.zeros((1, 3))), [[1 / 3, 2 / 3]])


def test_a_key_has_the_mean_of_its_rows() -> None:
    digests = row_keys(4)[[0, 0, 1, 0]]
    keys, first = key_targets(digests, encode([["a"], ["a", "b"], [], ["b"]], target_type="multilabel", n_rows=4))
    assert first.tolist() == [0, 2]
    assert keys.starts.tolist() == [0, 2, 2]
    np.testing.assert_allclose(keys.amounts, [2 / 3, 2 / 3])
    np.testing.assert_allclose(keys.centre, [0.5, 0.5])
    numbers, _ = key_targets(digests, encode([1.0, 2.0, 7.0, 6.0], target_type="regression", n_rows=4))
    assert numbers.amounts.tolist() == [3.0, 7.0]


def test_numbers_are_the_weighted_mean_of_the_neighbours() -> None:
    X, _ = sample(200)
    y = X[:, 0] * 3.0 + 20
    queries, _ = sample(30, seed=1)
    head = NeighboursHead(k=5, sharpness=10, target_type="regression").fit(X, y)
    kept = X.astype(np.float16).astype(np.float64)
    unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    for query, found in zip(queries.astype(np.float64), head.predict(queries), strict=True):
        scores = unit @ (query / np.linalg.norm(query))
        nearest = np.argsort(-scores)[:5]
        mean = np.average(y[nearest], weights=np.exp(10 * scores[nearest]))
        assert found == pytest.approx((1 - DEFAULT_BACKGROUND) * mean + DEFAULT_BACKGROUND * y.mean(), rel=1e-3)


def test_numbers_without_a_signal_are_drawn_to_the_mean() -> None:
    rng = np.random.default_rng(0)
    (X, _), (X_valid, _) = sample(300), sample(300, seed=1)
    head = NeighboursHead(target_type="regression").fit(X, rng.normal(size=300), X_valid, rng.normal(size=300))
    assert head.background_ > 0.5
    assert head.valid_rmse_ == pytest.approx(1.0, abs=0.1)


def test_whitening_is_chosen_where_it_helps() -> None:
    def drowned(n, seed):
        X, y = sample(n, seed)
        loud = 10 * np.random.default_rng((seed, 1)).normal(size=(n, 2)).astype(np.float32)
        return np.concatenate([X, loud], axis=1), y

    train, valid, (queries, true) = drowned(400, 0), drowned(200, 1), drowned(300, 2)
    head = NeighboursHead().fit(*train, *valid)
    assert head.whiten_
    plain = NeighboursHead(whiten=False).fit(*train, *valid)
    assert (head.predict(queries) == true).mean() > (plain.predict(queries) == true).mean() + 0.1
    assert NeighboursHead(whiten=False).fit(*train, *valid).whiten_ is False
    assert NeighboursHead(whiten=True).fit(*train).whiten_
    assert NeighboursHead().fit(*train).whiten_ is False


def test_more_rows_than_memory_are_refused_before_they_are_read() -> None:
    with pytest.raises(InputError, match=r"which take .* GiB of memory; .* Take a head that streams"):
        require_room(10**12, 1024, copies=1)


@pytest.mark.parametrize("target_type", ["class", "multilabel"])
def test_probabilities_are_calibrated_on_validation_rows(target_type: str) -> None:
    rng = np.random.default_rng(0)

    def rows(n, seed):
        X, y = sample(n, seed)
        labels = np.where(rng.random(n) < 0.4, rng.integers(0, 4, n), y)
        return X, labels if target_type == "class" else [[str(label)] for label in labels]

    head = NeighboursHead(k=3, sharpness=0.0, target_type=target_type).fit(*rows(600, 0), *rows(600, 1))
    X, y = rows(1500, 2)
    shares = head.predict_proba(X)
    truth = np.array([int(label if target_type == "class" else label[0]) for label in y])[:, None] == np.arange(4)
    for low, high in ((0.1, 0.4), (0.4, 0.8)):
        inside = (shares >= low) & (shares < high)
        assert abs(shares[inside].mean() - truth[inside].mean()) < 0.07
