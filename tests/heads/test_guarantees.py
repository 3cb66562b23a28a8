"""Guarantees from validation rows are checked on other rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import heads
from embedstore.store import Store
from heads.calibration.risk_control import ValidationPredictions
from heads.evaluation.guarantees import check_guarantees
from heads.evaluation.metrics import ClassOutcomes, NumberOutcomes
from heads.evaluation.resources import Cost
from heads.evaluation.scoring import Scores


def _judged(outcomes: ClassOutcomes | NumberOutcomes, **given: Any) -> Scores:
    usual: dict[str, Any] = {"groups": None, "has_vector": np.ones(len(outcomes), np.bool_), "n_without_vector": 0}
    return Scores(outcomes=outcomes, metrics={}, cost=Cost(), **(usual | given))


def _outcomes(right: NDArray[np.bool_], confidence: NDArray[np.float32]) -> ClassOutcomes:
    return ClassOutcomes(
        names=np.array(["a", "b"]),
        n_known=2,
        true=np.where(right, 0, 1),
        predicted=np.zeros(len(right), np.int64),
        confidence=confidence,
        p_true=confidence,
        rank=np.where(right, 0, 1),
        squares=np.ones(len(right), np.float32),
    )


def _classes(n: int, *, wrong: float, rng: np.random.Generator) -> ClassOutcomes:
    """Answers of which the more probable are the better, with so many wrong ones on average."""
    confidence = rng.uniform(0, 1, n).astype(np.float32)
    return _outcomes(rng.uniform(0, 1, n) > 2 * wrong * (1 - confidence), confidence)


def _validation_of(outcomes: ClassOutcomes) -> ValidationPredictions:
    return ValidationPredictions(
        confidences=outcomes.confidence, right=outcomes.right, clusters=np.arange(len(outcomes))
    )


def test_guarantees_hold_on_rows_like_the_validation_rows_and_not_on_others() -> None:
    rng = np.random.default_rng(0)
    validation = _validation_of(_classes(4000, wrong=0.2, rng=rng))
    alike = check_guarantees(validation, _judged(_classes(4000, wrong=0.2, rng=rng)))
    assert [one.guaranteed for one in alike] == [0.05, 0.1]
    assert all(one.holds and one.observed.value <= one.guaranteed for one in alike)
    assert [round(one.answered, 1) for one in alike] == [0.2, 0.4]
    worse = check_guarantees(validation, _judged(_classes(4000, wrong=0.45, rng=rng)))
    assert not any(one.holds for one in worse)
    assert all(one.observed.low > one.guaranteed for one in worse)


def test_relatives_count_once() -> None:
    rng = np.random.default_rng(1)
    validation = _validation_of(_classes(2000, wrong=0.2, rng=rng))
    right, confidence = np.arange(400) >= 100, np.ones(400, np.float32)
    alone = check_guarantees(validation, _judged(_outcomes(right, confidence)))[0]
    together = check_guarantees(validation, _judged(_outcomes(right, confidence), groups=np.arange(400) // 100))[0]
    assert alone.observed.value == together.observed.value == 0.25
    assert together.observed.high - together.observed.low > alone.observed.high - alone.observed.low
    # A hundred wrong answers tell much, one family of four that is wrong next to nothing.
    assert (alone.holds, together.holds) == (False, True)


@pytest.mark.parametrize("n_resamples", [0, 50])
def test_one_wrong_answer_proves_nothing(n_resamples: int) -> None:
    validation = _validation_of(_classes(4000, wrong=0.2, rng=np.random.default_rng(0)))
    one = _judged(_outcomes(np.zeros(1, np.bool_), np.ones(1, np.float32)))
    found = check_guarantees(validation, one, n_resamples=n_resamples)
    assert [check.holds for check in found] == [True, True]


@pytest.mark.parametrize(("scale", "shown"), [(1.0, False), (2.0, True)])
def test_an_interval_of_numbers_is_checked_by_how_many_it_holds(scale: float, shown: bool) -> None:
    kept = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        validation = ValidationPredictions(residuals=np.abs(rng.normal(size=100)).astype(np.float32))
        outcomes = NumberOutcomes(true=scale * rng.normal(size=1000), predicted=np.zeros(1000))
        (found,) = check_guarantees(validation, _judged(outcomes), n_resamples=50)
        assert (found.guaranteed, found.answered) == (0.95, 1.0)
        assert found.observed.low < found.observed.value < found.observed.high
        kept.append(found.holds)
    # Intervals from a hundred rows hold now 90%, now 98% of others: no reason to cry.
    assert sum(kept) <= 2 if shown else sum(kept) >= 37


def test_rows_that_got_no_number_are_not_held_against_the_interval() -> None:
    rng = np.random.default_rng(3)
    validation = ValidationPredictions(residuals=np.abs(rng.normal(size=1000)).astype(np.float32))
    true = np.concatenate([rng.normal(size=900), np.full(100, 50.0)])
    there = np.arange(1000) < 900
    (found,) = check_guarantees(
        validation, _judged(NumberOutcomes(true=true, predicted=np.zeros(1000)), has_vector=there)
    )
    assert (found.answered, found.holds) == (0.9, True)
    assert found.observed.value > 0.93


def test_too_few_validation_rows_guarantee_nothing(store: Store) -> None:
    ten = _judged(_classes(10, wrong=0.1, rng=np.random.default_rng(0)))
    assert check_guarantees(None, ten) == ()
    few = ValidationPredictions(confidences=np.ones(5, np.float32), right=np.ones(5, np.bool_), clusters=np.arange(5))
    assert check_guarantees(few, ten) == ()
    fitted = heads.fit(store, task="pfam", head="linear")
    report = heads.evaluate(store, fitted, relatives="none", n_resamples=50)
    assert [one["guaranteed"] for one in report.to_dict()["guarantees"]] == [
        one.guaranteed for one in report.guarantees
    ]
    assert report.guarantees
    assert heads.evaluate(store, fitted, split="valid", relatives="none", n_resamples=50).guarantees == ()
