"""The network head: what a line cannot tell, when it stops, and what it must not remember."""

import numpy as np
import pytest
import torch

from embedstore.errors import InputError
from heads.base import LabelledExamples
from heads.features.base import ArrayFeatures
from heads.tasks.keys import row_keys
from heads.tasks.splitting import hold_out
from heads.tasks.targets import encode
from heads.vectors.linear import LinearHead
from heads.vectors.mlp import NetworkHead
from heads.vectors.scaling import Scaler


def crossed(n: int, *, seed: int):
    """Labels by whether two properties agree, which no line tells."""
    X = np.random.default_rng(seed).normal(size=(n, 8)).astype(np.float32)
    return X, np.where((X[:, 0] > 0) == (X[:, 1] > 0), "same", "other")


def test_what_no_line_tells_is_learned() -> None:
    X, y = crossed(500, seed=2)
    assert (LinearHead().fit(*crossed(1000, seed=0), *crossed(200, seed=1)).predict(X) == y).mean() < 0.6
    assert (NetworkHead().fit(*crossed(1000, seed=0), *crossed(200, seed=1)).predict(X) == y).mean() > 0.9


def test_many_classes_of_few_rows_are_known_as_well_as_by_a_line() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(150, 32))

    def rows(n: int):
        codes = np.arange(150).repeat(n)
        # Directions alike and lengths not: the linear head brings such rows to one length, and so must the network.
        lengths = rng.lognormal(sigma=1.0, size=(len(codes), 1))
        return (lengths * (means[codes] + 0.9 * rng.normal(size=(len(codes), 32)))).astype(np.float32), codes

    train, valid, (X, y) = rows(4), rows(2), rows(4)
    linear, network, alone = (
        head.fit(*train, *valid) for head in (LinearHead(refine=False), NetworkHead(), NetworkHead(start=None))
    )
    assert linear.normalize_ and network.normalize_ and not alone.normalize_
    by_line, by_network, by_network_alone = ((head.predict(X) == y).mean() for head in (linear, network, alone))
    assert by_network > by_line - 0.02
    assert by_network > by_network_alone + 0.05


def test_where_no_epoch_is_better_the_linear_head_is_what_remains() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(20).repeat(10)
    X = (rng.normal(size=(20, 8))[codes] + 0.3 * rng.normal(size=(200, 8))).astype(np.float32)
    rows = X[::2], codes[::2], X[1::2], codes[1::2]
    head = NetworkHead(learning_rate=3.0, max_epochs=2).fit(*rows)
    assert head.best_epoch_ == 0
    np.testing.assert_array_equal(head.predict(X), LinearHead(refine=False).fit(*rows).predict(X))


@pytest.mark.parametrize("target_type", ["class", "multilabel", "regression", "ordinal"])
def test_thirty_two_rows_are_learned_by_heart(target_type: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(32, 16)).astype(np.float32)
    levels = rng.integers(0, 3, 32)
    y = {
        "class": levels,
        "ordinal": levels.astype(float),
        "regression": rng.normal(size=32),
        "multilabel": [[name for name in "abc" if rng.random() < 0.4] for _ in range(32)],
    }[target_type]
    head = NetworkHead(
        target_type=target_type,
        hidden=[256],
        dropout=0,
        weight_decay=0,
        learning_rate=1e-2,
        max_epochs=300,
        patience=20,
    )
    found = head.fit(X, y, X, y).predict(X)
    if target_type == "regression":
        assert np.abs(found - y).max() < 0.1
    elif target_type == "multilabel":
        assert [[name for name, has in zip(head.classes_, row, strict=True) if has] for row in found] == y
    else:
        assert (found == y).all()


def test_the_weights_of_the_best_epoch_are_kept() -> None:
    X, y = crossed(200, seed=0)
    X_valid, y_valid = crossed(100, seed=1)
    losses: list[float] = []
    head = NetworkHead(dropout=0, learning_rate=0.02, patience=8)
    head.on_epoch = lambda epoch, loss: losses.append(loss)
    head.fit(X, y, X_valid, y_valid)
    assert head.best_epoch_ == np.argmin(losses) + 1 < head.n_epochs_ == len(losses)
    # The loss of the kept weights, before the temperature.
    head.temperature_ = 1.0
    true = np.take_along_axis(head.predict_proba(X_valid), np.searchsorted(head.classes_, y_valid)[:, None], axis=1)
    assert -np.log(true).mean() == pytest.approx(min(losses), rel=1e-4)


def test_the_seed_decides_and_torch_is_left_as_it_was() -> None:
    rows, queries = crossed(200, seed=0), crossed(50, seed=2)[0]
    before = torch.random.get_rng_state()
    first = NetworkHead(seed=1).fit(*rows).predict_proba(queries)
    np.testing.assert_array_equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(NetworkHead(seed=1).fit(*rows).predict_proba(queries), first)
    assert not np.array_equal(NetworkHead(seed=2).fit(*rows).predict_proba(queries), first)


def test_balanced_weights_find_more_of_a_rare_class() -> None:
    def rare(n: int, seed: int):
        rng = np.random.default_rng(seed)
        is_rare = rng.random(n) < 0.05
        return (rng.normal(size=(n, 4)) + 1.2 * is_rare[:, None]).astype(np.float32), np.where(is_rare, "rare", "usual")

    X, y = rare(2000, 2)
    found = [
        (NetworkHead(class_weight=weight, hidden=[32]).fit(*rare(1000, 0), *rare(500, 1)).predict(X) == "rare")
        for weight in (None, "balanced")
    ]
    recall = [given[y == "rare"].mean() for given in found]
    assert recall[1] > recall[0] + 0.2


def test_without_validation_a_tenth_by_key_is_set_aside_and_said() -> None:
    X, y = crossed(400, seed=0)
    head = NetworkHead(max_epochs=2).fit(X, y)
    assert 20 <= head.settings()["held_out"] <= 60
    assert NetworkHead(max_epochs=2).fit(X, y, *crossed(50, seed=1)).settings()["held_out"] == 0


def test_equal_sequences_and_the_last_row_of_a_class_are_not_set_aside_apart() -> None:
    keys = np.repeat(row_keys(100), 2, axis=0)
    y = np.array(["usual"] * 198 + ["once"] * 2)
    rows = LabelledExamples(
        features=ArrayFeatures(np.zeros((200, 2), np.float32), keys), targets=encode(y, target_type="class", n_rows=200)
    )
    for seed in range(20):
        kept, aside = hold_out(rows.features.group_keys, rows.targets, seed=seed)
        assert not set(kept // 2) & set(aside // 2)
        assert sorted([*kept, *aside]) == list(range(200))
        assert 198 in kept
        assert len(aside)


def test_rows_that_do_not_fit_are_read_anew_and_give_the_same() -> None:
    X, _ = crossed(300, seed=0)
    scaler, held = Scaler.of(ArrayFeatures(X, block_rows=64))
    again, streamed = Scaler.of(ArrayFeatures(X), held_bytes=1000)
    assert held.shape == streamed.shape
    np.testing.assert_array_equal(scaler.mean, again.mean)
    np.testing.assert_array_equal(scaler.scale, again.scale)
    np.testing.assert_allclose(scaler(X).std(axis=0), 1, rtol=1e-4)


def test_a_dimension_that_does_not_vary_does_no_harm() -> None:
    X, y = crossed(300, seed=0)
    X[:, 5] = 7
    assert np.isfinite(NetworkHead(max_epochs=3).fit(X, y).predict_proba(X)).all()


def test_many_classes_are_taken() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(3000, 8)).astype(np.float32), np.arange(3000) % 1500
    head = NetworkHead(max_epochs=1, hidden=[16]).fit(X, y)
    assert head.predict_proba(X[:5]).shape == (5, 1500)


def test_a_training_that_diverges_is_one_clear_error() -> None:
    with pytest.raises(InputError, match="diverged at learning_rate=1e"):
        NetworkHead(learning_rate=1e30).fit(*crossed(200, seed=0))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden": [0]}, r"hidden is \[0\]; expected the widths"),
        ({"dropout": 1}, "dropout is 1; expected a number from 0"),
        ({"patience": 0}, "patience is 0; expected a number above 0"),
        ({"schedule": "steps"}, "schedule is 'steps'; expected plateau or cosine"),
        ({"start": "knn"}, "start is 'knn'; expected 'auto', None or, for classes, 'linear'"),
        ({"class_weight": "rare"}, "class_weight is 'rare'; expected None or 'balanced'"),
        ({"device": "tpu9"}, "Unknown device 'tpu9'"),
        ({"precision": "float16"}, "precision='float16' on a CPU"),
    ],
)
def test_parameters_out_of_range_are_refused(params: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        NetworkHead(**{"device": "cpu", **params}).fit(*crossed(100, seed=0))
