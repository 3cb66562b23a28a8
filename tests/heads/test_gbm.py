"""Boosted trees: no divergence, candidates where classes are many, refusals with an estimate."""

from pathlib import Path

import numpy as np
import pytest

from embedstore.errors import InputError
from heads.api.load import load
from heads.features.base import ArrayFeatures
from heads.testing.head_contract import as_fitted_head
from heads.vectors.gbm import BoostedHead
from heads.vectors.linear import LinearHead
from heads.vectors.pca import Projection

CENTRES = np.random.default_rng(0).normal(size=(100, 16))


def families(n: int, *, seed: int, n_classes: int = 100):
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_classes
    return (CENTRES[codes] + 0.6 * rng.normal(size=(n, 16))).astype(np.float32), codes


def unions(n: int, *, seed: int):
    """Classes that are two far places each: no line parts them, neighbours do."""
    X, codes = families(n, seed=seed)
    return X, codes % 60


def test_a_hundred_classes_do_not_diverge_in_one_softmax() -> None:
    X, y = families(500, seed=2)
    head = BoostedHead(direct_classes=100, max_rounds=25, num_leaves=7).fit(
        *families(1500, seed=0), *families(300, seed=1)
    )
    assert head._ranker is None
    assert (head.predict(X) == y).mean() > 0.6
    assert head.valid_loss_ < 2


def test_many_classes_are_ranked_among_candidates_and_kept() -> None:
    X, y = unions(600, seed=2)
    rows = (*unions(3000, seed=0), *unions(600, seed=1))
    head = BoostedHead().fit(*rows)
    assert head.settings()["ranker"] is not None
    assert (head.predict(X) == y).mean() > (LinearHead().fit(*rows).predict(X) == y).mean() + 0.02
    shares = head.predict_proba(X)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(BoostedHead().fit(*rows).predict_proba(X), shares)


def test_classes_of_one_row_do_no_harm_among_many() -> None:
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(120, 16))
    y = np.concatenate([np.repeat(np.arange(60), 10), np.arange(60, 120)])
    X, X_valid = ((centres[y] + 0.3 * rng.normal(size=(len(y), 16))).astype(np.float32) for _ in range(2))
    head = BoostedHead(max_rounds=20).fit(X, y, X_valid, y)
    assert (head.predict(X_valid) == y).mean() > 0.95
    assert head.valid_loss_ < 0.5


def test_a_ranker_is_saved_with_its_two_heads(tmp_path: Path) -> None:
    X, y = unions(1500, seed=0)
    head = BoostedHead(max_rounds=5).fit(X, y)
    assert head.held_out_ > 50
    again = load(as_fitted_head(head).save(tmp_path / "gbm")).head
    np.testing.assert_array_equal(again.predict_proba(X[:50]), head.predict_proba(X[:50]))
    assert again.settings() == head.settings()
    assert (tmp_path / "gbm" / "booster_0.txt").read_text().startswith("tree\n")


def test_more_labels_than_boosters_are_refused_with_an_estimate() -> None:
    X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    with pytest.raises(
        InputError, match=r"300 labels of 300 rows would take about .* CPU hours; it refuses more than 100"
    ):
        BoostedHead(target_type="multilabel").fit(X, [[f"l{row}"] for row in range(300)])


def test_what_no_line_tells_is_learned() -> None:
    def crossed(n: int, seed: int):
        X = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
        return X, np.where((X[:, 0] > 0) == (X[:, 1] > 0), "same", "other")

    X, y = crossed(400, 2)
    assert (BoostedHead().fit(*crossed(1000, 0), *crossed(300, 1)).predict(X) == y).mean() > 0.85


def sloping(n: int, *, seed: int):
    """Numbers along 48 directions at once, a long staircase for trees, and a fold that no line has."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 48)).astype(np.float32)
    X[:, 0] *= 3
    return X, X @ np.linspace(-1, 1, 48) + np.abs(X[:, 0])


def test_trees_that_see_the_linear_head_are_kept_where_they_are_better(tmp_path: Path) -> None:
    rows = (*sloping(800, seed=0), *sloping(300, seed=1))
    X, y = sloping(300, seed=2)
    alone, chosen = (BoostedHead(target_type="regression", linear=how).fit(*rows) for how in (False, "auto"))
    linear = LinearHead(target_type="regression").fit(*rows)
    errors = [float(((head.predict(X) - y) ** 2).mean()) for head in (alone, linear, chosen)]
    assert (alone.linear_, chosen.linear_) == (False, True)
    assert errors[2] < 0.5 * errors[0]
    # What no line tells is still learned: the linear head's column is not the answer but a feature.
    assert errors[2] < errors[1]
    as_fitted_head(chosen).save(tmp_path / "head")
    np.testing.assert_array_equal(load(tmp_path / "head").head.predict(X), chosen.predict(X))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_trees_of_the_lesser_loss_are_kept(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(900, 8)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] + 0.1 * X[:, 2] > 0).astype(int)
    alone, on_top, chosen = (
        BoostedHead(max_rounds=60, linear=how).fit(X[:600], y[:600], X[600:], y[600:]) for how in (False, True, "auto")
    )
    assert chosen.valid_loss_ == min(alone.valid_loss_, on_top.valid_loss_)
    assert chosen.linear_ == (on_top.valid_loss_ < alone.valid_loss_)


@pytest.mark.parametrize("target_type", ["class", "ordinal"])
def test_a_class_of_one_row_does_no_harm_to_the_linear_head(target_type: str) -> None:
    X, y = families(300, seed=0, n_classes=4)
    y[y == 3] = 0
    y[7] = 3
    head = BoostedHead(linear=True, max_rounds=20, target_type=target_type).fit(X, y, X, y)
    assert head.linear_
    assert np.isfinite(head.predict_proba(X)).all()


@pytest.mark.parametrize("target_type", ["class", "multilabel", "regression", "ordinal"])
def test_every_kind_takes_balanced_weights_beside_the_linear_head(target_type: str) -> None:
    X, y = families(300, seed=0, n_classes=4)
    targets = [[f"l{code}"] for code in y] if target_type == "multilabel" else y
    head = BoostedHead(linear=True, max_rounds=5, target_type=target_type, class_weight="balanced").fit(X, targets)
    assert head.linear_


@pytest.mark.parametrize("target_type", ["class", "regression"])
@pytest.mark.parametrize("n_proteins", [1, 2, 3])
def test_a_few_proteins_are_not_parted(target_type: str, n_proteins: int) -> None:
    X, y = families(300, seed=0, n_classes=4)
    keys = np.random.default_rng(0).integers(0, 256, size=(n_proteins, 24), dtype=np.uint8)
    digests = keys[np.arange(300) % n_proteins]
    head = BoostedHead(linear=True, max_rounds=5, target_type=target_type).fit(ArrayFeatures(X, digests), y)
    assert not head.linear_


def test_balanced_weights_find_more_of_a_rare_class() -> None:
    def rare(n: int, seed: int):
        rng = np.random.default_rng(seed)
        is_rare = rng.random(n) < 0.05
        return (rng.normal(size=(n, 4)) + 1.2 * is_rare[:, None]).astype(np.float32), np.where(is_rare, "rare", "usual")

    X, y = rare(2000, 2)
    found = [BoostedHead(class_weight=how).fit(*rare(1000, 0), *rare(500, 1)).predict(X) for how in (None, "balanced")]
    recall = [(given == "rare")[y == "rare"].mean() for given in found]
    assert recall[1] > recall[0] + 0.1


def test_projection_agrees_with_scikit_learn_whatever_the_blocks_are() -> None:
    from sklearn.decomposition import PCA

    X = (np.random.default_rng(0).normal(size=(300, 12)) * np.arange(1, 13) + 100).astype(np.float32)
    ours = Projection.of(ArrayFeatures(X, block_rows=37), 5, seed=0)(ArrayFeatures(X, block_rows=11))
    np.testing.assert_allclose(np.abs(ours), np.abs(PCA(5, svd_solver="full").fit_transform(X)), atol=1e-3)
    np.testing.assert_array_equal(ours, Projection.of(ArrayFeatures(X), 5, seed=0)(ArrayFeatures(X)))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "n_components is 0; expected a number above 0"),
        ({"class_weight": "rare"}, "class_weight is 'rare'; expected 'balanced'"),
    ],
)
def test_parameters_out_of_range_are_refused(params: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BoostedHead(**params).fit(*families(100, seed=0, n_classes=5))
