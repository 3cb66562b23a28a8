"""Few rows a class, and rows of very different lengths: what the linear head makes of them."""

import numpy as np
import pytest

from embedstore.errors import InputError
from heads.features.base import ArrayFeatures, l2_normalise
from heads.tasks.targets import encode
from heads.vectors.centroid import CentroidHead
from heads.vectors.discriminant import DiscriminantSpectrum
from heads.vectors.fit_lda import best_pair
from heads.vectors.linear import LinearHead
from heads.vectors.scaling import L2NormalisedFeatures
from heads.vectors.sufficient_statistics import balanced_weights, target_statistics

DIM = 48


def families(sizes, *, seed, times=1, noise=2.0):
    """Classes with normal means; of each so many rows."""
    centres = np.random.default_rng(9).normal(size=(len(sizes), DIM))
    codes = np.repeat(np.arange(len(sizes)), np.multiply(sizes, times))
    X = centres[codes] + noise * np.random.default_rng(seed).normal(size=(len(codes), DIM))
    return X.astype(np.float32), codes


SIZES = [20] * 10 + [1] * 20 + [2] * 20 + [3] * 20
EVEN = [1] * len(SIZES)


def accuracy(head, rows) -> float:
    X, y = rows
    return float((head.predict(X) == y).mean())


def test_small_classes_are_not_drowned_by_the_noise_of_their_means() -> None:
    rows = *families(SIZES, seed=1), *families(EVEN, seed=2, times=4)
    queries = families(EVEN, seed=3, times=20)
    drawn = accuracy(LinearHead(refine=False).fit(*rows), queries)
    assert drawn > accuracy(LinearHead(mean_shrinkage=0, refine=False).fit(*rows), queries) + 0.05


def test_centroids_are_not_better_where_classes_are_as_frequent_as_in_training() -> None:
    rows, queries = (*families(SIZES, seed=1), *families(SIZES, seed=2, times=2)), families(SIZES, seed=3, times=5)
    assert accuracy(LinearHead().fit(*rows), queries) > accuracy(CentroidHead().fit(*rows), queries)


def test_without_validation_rows_the_means_are_drawn_too() -> None:
    rows, queries = families(SIZES, seed=1), families(EVEN, seed=3, times=20)
    assert accuracy(LinearHead().fit(*rows), queries) > accuracy(LinearHead(mean_shrinkage=0).fit(*rows), queries)


def test_without_validation_rows_some_are_set_aside_to_choose_on_and_learned_from_in_the_end() -> None:
    (X, y), queries = families(SIZES, seed=1, times=4), families(SIZES, seed=3, times=5)
    head = LinearHead().fit(X, y)
    assert 30 <= head.held_out_ < 0.2 * len(X)
    assert head.temperature_ != 1
    alone = LinearHead(shrinkage=head.shrinkage_, mean_shrinkage=head.mean_shrinkage_, normalize=head.normalize_)
    if not head.n_epochs_:
        np.testing.assert_allclose(alone.fit(X, y).coef_, head.coef_)
    assert accuracy(head, queries) >= accuracy(LinearHead(shrinkage=0.1, mean_shrinkage=1.0).fit(X, y), queries)


@pytest.mark.parametrize("weighted", [False, True])
def test_means_are_drawn_by_the_number_of_rows_whatever_their_weight(weighted: bool) -> None:
    X, y = families([60] * 40 + [2] * 40, seed=1)
    weights = balanced_weights(y, 80) if weighted else None
    statistics = target_statistics(X, encode(y, target_type="class", n_rows=len(X)), weights)
    spectrum = DiscriminantSpectrum(statistics, None if weights is None else statistics.amounts / weights)
    raw, drawn = (np.linalg.norm(spectrum.rotated(1.0, m).coef, axis=1) for m in (0.0, 1.0))
    # The variance of class means is 1, that within classes 4.
    np.testing.assert_allclose((drawn / raw)[:40].mean(), 60 / (60 + 4), atol=0.02)
    np.testing.assert_allclose((drawn / raw)[40:].mean(), 2 / (2 + 4), atol=0.1)


def test_drawn_means_are_nearer_to_the_true_ones() -> None:
    X, y = families(SIZES, seed=1)
    statistics = target_statistics(X, encode(y, target_type="class", n_rows=len(X)))
    spectrum = DiscriminantSpectrum(statistics)
    true = np.random.default_rng(9).normal(size=(len(SIZES), DIM))
    off = []
    for m in (0.0, 1.0, 100.0):
        found = spectrum.rotated(1.0, m).coef * spectrum.variances(1.0) @ spectrum.axes.T
        off.append(float(np.square(found + statistics.origin + statistics.mean() - true)[10:].mean()))
    assert off[1] < 0.6 * off[0]
    assert off[1] < off[2]


def loud(seed, n=600):
    """Directions tell the class; lengths vary thirtyfold and tell nothing."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 6
    X = np.random.default_rng(9).normal(size=(6, DIM))[codes] + 2 * rng.normal(size=(n, DIM))
    return (X * np.exp(rng.normal(size=(n, 1)))).astype(np.float32), codes


def test_rows_of_one_length_are_chosen_where_lengths_are_noise() -> None:
    rows, queries = (*loud(1), *loud(2)), loud(3)
    head = LinearHead(refine=False).fit(*rows)
    assert head.normalize_
    assert accuracy(head, queries) > accuracy(LinearHead(normalize=False, refine=False).fit(*rows), queries) + 0.02
    again = LinearHead(refine=False).restore(head.classes_, head.arrays(), head.settings())
    np.testing.assert_array_equal(again.predict_proba(queries[0]), head.predict_proba(queries[0]))


def test_lengths_stay_where_they_tell_the_class() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 6)).astype(np.float32) * 0.1 + 1
    codes = np.arange(600) % 2
    X[codes == 1] *= 3
    head = LinearHead().fit(X[:400], codes[:400], X[400:], codes[400:])
    assert not head.normalize_
    assert accuracy(head, (X, codes)) == 1


@pytest.mark.parametrize("target_type", ["multilabel", "regression"])
def test_other_kinds_take_rows_of_one_length_where_that_is_better(target_type: str) -> None:
    parts = []
    for seed in (1, 2):
        X, codes = loud(seed)
        parts += [X, codes * 1.0 if target_type == "regression" else [[f"c{code}"] for code in codes]]
    assert LinearHead(target_type=target_type, refine=False).fit(*parts).normalize_
    assert not LinearHead(target_type=target_type, refine=False).fit(*parts[:2]).normalize_


def test_many_rows_are_tried_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.vectors.linear._TRIED_ROWS", 100)
    assert LinearHead(refine=False).fit(*loud(1), *loud(2)).normalize_


def test_heads_of_the_first_release_take_vectors_as_they_are() -> None:
    X, y = loud(1)
    head = LinearHead(normalize=False).fit(X, y)
    settings = {name: value for name, value in head.settings().items() if name not in ("normalize", "mean_shrinkage")}
    again = LinearHead().restore(head.classes_, head.arrays(), settings)
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))


def test_a_stream_of_one_length_is_the_same_in_blocks_batches_and_parts() -> None:
    X = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    X[3] = 0
    even = L2NormalisedFeatures(ArrayFeatures(X, block_rows=7))
    expected = l2_normalise(X)
    np.testing.assert_allclose(np.linalg.norm(np.delete(expected, 3, axis=0), axis=1), 5**0.5, rtol=1e-5)
    assert not expected[3].any()
    for rows, block in [*even.blocks(), *even.batches(6, seed=0)]:
        np.testing.assert_array_equal(block, expected[rows])
    (_, part), *_ = even.subset(np.array([5, 2])).blocks()
    np.testing.assert_array_equal(part, expected[[5, 2]])
    assert even.shape == (20, 5)


def test_the_best_pair_is_found_without_trying_all() -> None:
    asked = []

    def judge(pair):
        asked.append(pair)
        return (np.log(pair[0]) + 5) ** 2 + (np.log(pair[1] + 1) - 3) ** 2, 1.0

    firsts, seconds = tuple(np.geomspace(1e-4, 1, 12)), (0.0, 1.0, 3.0, 10.0, 20.0, 100.0)
    pair, (loss, _) = best_pair(judge, firsts, seconds)
    every = [(judge((first, second))[0], (first, second)) for first in firsts for second in seconds]
    assert (loss, pair) == min(every)
    assert len(asked) - len(every) < 30


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mean_shrinkage": -1.0}, "mean_shrinkage is .* expected numbers of at least 0"),
        ({"normalize": "yes"}, "normalize is 'yes'; expected True, False or 'auto'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(params: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearHead(**params).fit(*loud(1))
