"""Blends of heads: better than their parts, one space, the best one picked where it stands out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import heads
from embedstore.errors import InputError, SpaceMismatchError
from embedstore.store import Store
from heads.base import LabelledExamples
from heads.features.base import ArrayFeatures
from heads.tasks.keys import row_keys
from heads.tasks.splitting import folds, hold_out
from heads.tasks.targets import encode
from heads.vectors.auto import AutoHead, usual_members
from heads.vectors.blending import choose, combine
from heads.vectors.ensemble import N_FOLDS, EnsembleHead, cross_folds
from heads.vectors.losses import row_losses

CENTRES = np.random.default_rng(0).normal(size=(40, 8))


def unions(n: int, *, seed: int):
    """Ten classes that are four far places each: neighbours see them, a line does not."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 40, n)
    return (CENTRES[codes] + 0.3 * rng.normal(size=(n, 8))).astype(np.float32), codes % 10


def slopes(n: int, *, seed: int):
    """Two classes parted by a plane in many dimensions, where neighbours are far."""
    X = np.random.default_rng(seed).normal(size=(n, 40)).astype(np.float32)
    return X, (X.sum(axis=1) > 0).astype(int)


@pytest.mark.parametrize(("rows", "best"), [(unions, "knn"), (slopes, "linear")])
def test_auto_picks_the_head_that_was_planted_to_be_better(rows, best: str) -> None:
    head = AutoHead(members=["linear", "knn"]).fit(*rows(600, seed=0), *rows(300, seed=1))
    losses = {tried["head"]: tried["valid_loss"] for tried in head.settings()["tried"]}
    assert losses[best] < 0.7 * losses["linear" if best == "knn" else "knn"]
    assert head.settings()["chosen"] in (best, "blend")
    X, y = rows(400, seed=2)
    assert (head.predict(X) == y).mean() > 0.85


def test_auto_says_what_it_tried_and_keeps_only_what_it_uses() -> None:
    head = AutoHead(members=["linear", "knn"]).fit(*unions(600, seed=0), *unions(300, seed=1))
    settings = head.settings()
    assert {"head", "valid_loss", "accuracy", "fit_s"} <= set(settings["tried"][0])
    kept = {name.split(".")[0] for name in head.arrays()}
    assert len(settings["members"]) == len(settings["weights"]) == len(kept)


def test_auto_without_validation_chooses_by_cross_fitting() -> None:
    head = AutoHead(members=["linear", "knn"]).fit(*unions(600, seed=0))
    losses = {tried["head"]: tried["valid_loss"] for tried in head.settings()["tried"]}
    # On the rows that it remembers, the nearest neighbour would have a loss of nothing.
    assert 0.01 < losses["knn"] < losses["linear"]
    assert "knn" in head.settings()["weights"]


def test_auto_leaves_out_what_would_take_hours() -> None:
    def rows(n_rows: int, n_classes: int) -> LabelledExamples:
        y = np.arange(n_rows) % n_classes
        X = np.zeros((n_rows, 1), np.float32)
        return LabelledExamples(features=ArrayFeatures(X), targets=encode(y, target_type="class", n_rows=n_rows))

    assert "gbm" in usual_members(rows(2_000, 10))
    assert "gbm" not in usual_members(rows(200_000, 100))
    assert usual_members(rows(400_000, 20_000)) == ("linear", "centroid", "knn")


@pytest.mark.parametrize("method", ["blend", "stack"])
def test_weights_are_those_of_least_loss(method: str) -> None:
    rng = np.random.default_rng(0)
    targets = encode(rng.integers(0, 3, 500), target_type="class", n_rows=500)
    codes = targets.require_codes()
    # Two witnesses of different skill, right at different rows, and one who knows nothing.
    outputs = np.full((3, 500, 3), 1 / 3, np.float32)
    for witness, skill in ((0, 0.8), (1, 0.6)):
        says = np.where(rng.random(500) < skill, codes, rng.integers(0, 3, 500))
        outputs[witness] = (1 - skill) / 3
        outputs[witness, np.arange(500), says] += skill
    blend = choose(outputs, targets, method=method)
    loss = row_losses(blend.apply(outputs, "class"), targets).mean()
    assert loss == pytest.approx(blend.loss)
    assert loss < row_losses(outputs[0], targets).mean() - 0.01
    for change in rng.normal(0, 0.05, size=(50, 3)):
        other = np.maximum(np.array(blend.weights) + change, 0)
        other = other / other.sum() if method == "blend" else other
        assert row_losses(combine(outputs, other, "class", method), targets).mean() > loss - 1e-4


@pytest.mark.parametrize(
    ("target_type", "method"),
    [("multilabel", "blend"), ("multilabel", "stack"), ("regression", "blend"), ("ordinal", "stack")],
)
def test_weights_for_other_targets_are_those_of_least_loss_too(target_type: str, method: str) -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(3000, 4))
    # Two witnesses see what there is through noise of their own, one sees nothing.
    seen = np.stack([hidden + rng.normal(size=hidden.shape), hidden + rng.normal(size=hidden.shape), 0 * hidden])
    if target_type == "multilabel":
        y = [[str(label) for label in np.flatnonzero(row)] for row in hidden > 0]
        outputs = 1 / (1 + np.exp(-seen))
    elif target_type == "regression":
        y, outputs = 100 * hidden[:, 0] + 7, 100 * seen[:, :, :1] + 7
    else:
        y = hidden.argmax(axis=1).astype(np.float64)
        outputs = np.exp(seen) / np.exp(seen).sum(axis=2, keepdims=True)
    targets, outputs = encode(y, target_type=target_type, n_rows=len(hidden)), outputs.astype(np.float32)
    blend = choose(outputs, targets, method=method)

    def loss(weights: np.ndarray) -> float:
        return row_losses(combine(outputs, weights, target_type, method), targets).mean()

    least = loss(np.array(blend.weights))
    assert blend.weights[0] > 0.3 < blend.weights[1]
    assert least < 0.95 * loss(np.eye(3)[0])
    for change in rng.normal(0, 0.03, size=(50, 3)):
        other = np.maximum(np.array(blend.weights) + change, 0)
        other = other / other.sum() if method == "blend" else other
        assert loss(other) > least * (1 - 1e-4)


def test_a_head_without_an_answer_leaves_the_row_to_the_others() -> None:
    rng = np.random.default_rng(0)
    targets = encode(rng.integers(0, 3, 400), target_type="class", n_rows=400)
    right = np.eye(3, dtype=np.float32)[targets.require_codes()]
    # One knows little of all rows, one nearly all of half of them, and is silent on the others.
    little, much = 0.4 * right + 0.2, np.where(rng.random((400, 1)) < 0.5, 0.97 * right + 0.01, 0).astype(np.float32)
    outputs = np.stack([little, much])
    blend = choose(outputs, targets, method="blend")
    mixed = blend.apply(outputs, "class")
    np.testing.assert_allclose(mixed.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(mixed[~much.any(axis=1)], little[~much.any(axis=1)], atol=1e-6)
    assert row_losses(mixed, targets).mean() < 0.3


def test_targets_that_do_not_vary_are_told_and_saved() -> None:
    X, y = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32), np.zeros(60)
    y[7] = 1
    # A part of the rows has one number alone, and so have the validation rows.
    assert EnsembleHead(members=["linear", "mlp"], target_type="regression").fit(X, y).settings()["alone"]["mlp"] < 1
    head = AutoHead(members=["linear", "knn"], target_type="regression").fit(X[:40], y[:40], X[40:], y[40:])
    assert json.dumps(head.settings(), allow_nan=False)


def test_a_blend_is_never_worse_than_its_best_head_on_the_rows_it_was_chosen_on() -> None:
    head = EnsembleHead(method="blend").fit(*unions(600, seed=0), *unions(300, seed=1))
    assert head.settings()["valid_loss"] <= min(head.settings()["alone"].values()) + 1e-6


def test_folds_part_by_key_and_are_about_equal() -> None:
    keys = np.repeat(row_keys(3000), 2, axis=0)
    fold = folds(keys, 3, seed=0)
    assert (fold[::2] == fold[1::2]).all()
    assert (np.bincount(fold) > 1800).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"members": ["linear"]}, "expected the names of two or more heads, each once"),
        ({"members": ["linear", "linear"]}, "expected the names of two or more heads, each once"),
        ({"members": ["linear", "auto"]}, "cannot have 'ensemble', 'auto' or 'hybrid' in it"),
        ({"members": ["linear", "nearest"]}, "Unknown head 'nearest'"),
        ({"members": ["linear", "kmer"]}, "'kmer' reads sequences.* or use the head 'hybrid'"),
        ({"method": "vote"}, "method is 'vote'; expected blend or stack"),
        ({"params": {"mlp": {"seed": 1}}}, "settings for 'mlp', which is not among the members"),
        ({"params": {"knn": {"l": 1}}}, "has no parameter 'l'"),
    ],
)
def test_members_that_do_not_work_are_refused(params: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        EnsembleHead(**params).fit(*unions(100, seed=0))


def test_fitted_heads_are_joined(store: Store, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("linear", "knn")]
    for path in paths:
        heads.fit(store, task="pfam", head=path.name, out=path)
    joined = heads.join(store, paths, out=tmp_path / "both")
    assert joined.head_name == "ensemble"
    report = heads.evaluate(store, tmp_path / "both")
    assert report.metrics["accuracy"].value > 0.9


def test_heads_that_read_sequences_are_joined(store: Store, tmp_path: Path) -> None:
    fitted = [heads.fit(store, task="pfam", head=name) for name in ("kmer", "length")]
    heads.join(store, fitted, out=tmp_path / "both")
    assert heads.evaluate(store, tmp_path / "both").metrics["accuracy"].value > 0.9


def test_heads_of_two_spaces_are_refused_by_name(store: Store) -> None:
    one = heads.fit(store, task="pfam", head="linear")
    stranger = replace(heads.fit(store, task="pfam", head="knn"), space_id="esm2_8m-0123456789")
    message = r"pfam-linear was fitted on kmer-.*, and pfam-knn on esm2_8m-0123456789"
    with pytest.raises(SpaceMismatchError, match=message):
        heads.join(store, [one, stranger])


@pytest.mark.slow
def test_heads_of_other_rows_or_one_alone_are_refused(store: Store) -> None:
    one, two = (heads.fit(store, task="pfam", head=name) for name in ("linear", "knn"))
    with pytest.raises(InputError, match="1 fitted heads were given; an ensemble joins two or more"):
        heads.join(store, [one])
    with pytest.raises(InputError, match="expected different ones"):
        heads.join(store, [one, one])
    with pytest.raises(InputError, match="fitted on different rows or labels"):
        heads.join(store, [one, replace(two, train_sha256="0" * 64)])


def test_members_that_set_rows_aside_find_some_in_every_fold() -> None:
    features = ArrayFeatures(np.zeros((600, 2), np.float32), row_keys(600))
    rows = LabelledExamples(features=features, targets=encode(np.arange(600) % 3, target_type="class", n_rows=600))
    for seed in range(4):
        fold = cross_folds(rows.features, seed=seed)
        for number in range(N_FOLDS):
            learn = rows.subset(np.flatnonzero(fold != number))
            assert len(hold_out(learn.features.group_keys, learn.targets, seed=seed)[1]) > 20


def test_trees_that_rank_have_rows_to_stop_by_without_validation_rows() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(60).repeat(8)
    X = (rng.normal(size=(60, 6))[codes] + 0.3 * rng.normal(size=(480, 6))).astype(np.float32)
    head = EnsembleHead(members=["linear", "gbm"], params={"gbm": {"max_rounds": 5}}).fit(X, codes)
    assert (head.predict(X) == codes).mean() > 0.8
