"""The neighbours head against a few lines of numpy, and its rules for ties and repeated sequences."""

import numpy as np
import pytest

from embedstore.errors import InputError
from heads.knn import DEFAULT_BACKGROUND, NeighboursHead
from heads.streams import ArrayFeatures
from heads.votes import labelled_keys, row_keys


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
    keys = labelled_keys(row_keys(3), np.array([0, 1, 1]))
    positions = keys.find(row_keys(3))[None]
    np.testing.assert_allclose(keys.vote(positions, np.zeros((1, 3)), 2), [[1 / 3, 2 / 3]])
