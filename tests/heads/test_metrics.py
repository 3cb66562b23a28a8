"""Metrics against scikit-learn, intervals against a plain bootstrap and Wilson's."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from embedstore.errors import InputError
from heads.evaluation.metrics import classification_metrics, wilson_interval

pairs = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("abcdef")), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_values_are_those_of_scikit_learn(rows: list[tuple[str, str]]) -> None:
    true, predicted = zip(*rows, strict=True)
    found = classification_metrics(true, predicted, n_resamples=20)
    assert found["accuracy"].value == pytest.approx(accuracy_score(true, predicted))
    assert found["error_rate"].value == pytest.approx(1 - accuracy_score(true, predicted))
    assert found["macro_f1"].value == pytest.approx(f1_score(true, predicted, average="macro", zero_division=0))


def guesses(n, n_classes, seed=0, right=0.9):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, n_classes, n)
    return true, np.where(rng.random(n) < right, true, rng.integers(0, n_classes, n))


def test_intervals_are_those_of_resampling_rows() -> None:
    true, predicted = guesses(300, 6)
    rng = np.random.default_rng(1)
    draws = [rng.integers(0, 300, 300) for _ in range(300)]
    found = classification_metrics(true, predicted, n_resamples=4000)
    for name, score in (
        ("accuracy", accuracy_score),
        ("macro_f1", lambda a, b: f1_score(a, b, average="macro", zero_division=0)),
    ):
        expected = np.quantile([score(true[rows], predicted[rows]) for rows in draws], [0.025, 0.975])
        np.testing.assert_allclose([found[name].low, found[name].high], expected, atol=0.015)


def test_the_interval_of_accuracy_is_near_to_wilsons() -> None:
    true, predicted = guesses(3000, 10)
    found = classification_metrics(true, predicted)["accuracy"]
    np.testing.assert_allclose(
        [found.low, found.high], wilson_interval(int((true == predicted).sum()), 3000), atol=0.002
    )
    assert found.low < found.value < found.high


def test_error_rate_mirrors_accuracy() -> None:
    found = classification_metrics(*guesses(500, 5))
    assert found["error_rate"].low == pytest.approx(1 - found["accuracy"].high)
    assert found["error_rate"].high == pytest.approx(1 - found["accuracy"].low)


def test_no_prediction_is_wrong_and_no_class() -> None:
    true = ["a", "a", "b", "b"]
    found = classification_metrics(true, ["a", "", "b", "b"], no_prediction="")
    assert found["accuracy"].value == 0.75
    assert found["macro_f1"].value == pytest.approx((2 / 3 + 1) / 2)


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = guesses(200, 5)
    assert classification_metrics(*rows, seed=4) == classification_metrics(*rows, seed=4)
    assert classification_metrics(*rows, seed=4) != classification_metrics(*rows, seed=5)


def test_a_thousand_resamples_of_a_test_set_take_less_than_a_second() -> None:
    rows = guesses(3000, 142)
    started = time.perf_counter()
    classification_metrics(*rows)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(("true", "predicted"), [([], []), (["a"], ["a", "b"])])
def test_nothing_to_compare_is_refused(true: list[str], predicted: list[str]) -> None:
    with pytest.raises(InputError, match="expected one of each a row"):
        classification_metrics(true, predicted)


@pytest.mark.parametrize(("predicted", "value"), [(["a", "b"] * 10, 1.0), (["b", "a"] * 10, 0.0)])
def test_an_interval_has_a_width_where_every_row_is_right_or_wrong(predicted: list[str], value: float) -> None:
    metrics = classification_metrics(["a", "b"] * 10, predicted)
    low, high = wilson_interval(round(20 * value), 20)
    assert (metrics["accuracy"].value, metrics["accuracy"].low, metrics["accuracy"].high) == (value, low, high)
    assert metrics["error_rate"].low == 1 - high
    assert high - low > 0.1


def test_the_interval_of_macro_f1_holds_its_value_with_many_rare_classes() -> None:
    rng = np.random.default_rng(0)
    true = np.minimum(rng.zipf(1.3, 4000), 1500).astype(str)
    predicted = np.where(rng.random(4000) < 0.95, true, "1")
    macro_f1 = classification_metrics(true, predicted)["macro_f1"]
    assert macro_f1.low < macro_f1.value < macro_f1.high
