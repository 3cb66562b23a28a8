"""A promise made on validation rows is set against what the head does on others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heads
from embedstore.store import Store
from heads.measuring.metrics import ClassOutcomes, NumberOutcomes
from heads.measuring.promises import kept_promises
from heads.measuring.proof import Proof


def _proof(**given: Any) -> Proof:
    nothing = np.zeros(0, np.float32)
    empty: dict[str, Any] = {
        "confidences": nothing,
        "right": np.zeros(0, np.bool_),
        "clusters": np.zeros(0, np.int64),
        "residuals": nothing,
    }
    return Proof(**(empty | given))


def _classes(n: int, *, wrong: float, rng: np.random.Generator) -> ClassOutcomes:
    """Answers of which the more probable are the better, with so many wrong ones on average."""
    confidence = rng.uniform(0, 1, n).astype(np.float32)
    right = rng.uniform(0, 1, n) > 2 * wrong * (1 - confidence)
    return ClassOutcomes(
        names=np.array(["a", "b"]),
        n_known=2,
        true=np.where(right, 0, 1),
        predicted=np.zeros(n, np.int64),
        confidence=confidence,
        p_true=confidence,
        rank=np.where(right, 0, 1),
        squares=np.ones(n, np.float32),
    )


def test_promises_hold_on_rows_like_those_they_were_made_on_and_not_on_others() -> None:
    rng = np.random.default_rng(0)
    seen = _classes(4000, wrong=0.2, rng=rng)
    proof = _proof(confidences=seen.confidence, right=seen.right, clusters=np.arange(4000))
    alike = kept_promises(proof, _classes(4000, wrong=0.2, rng=rng))
    assert [one.promised for one in alike] == [0.05, 0.1]
    assert all(one.kept and one.seen.value <= one.promised for one in alike)
    assert [round(one.answered, 1) for one in alike] == [0.2, 0.4]
    worse = kept_promises(proof, _classes(4000, wrong=0.45, rng=rng))
    assert not any(one.kept for one in worse)
    assert all(one.seen.low > one.promised for one in worse)


def test_relatives_count_once_in_the_interval_of_what_was_seen() -> None:
    rng = np.random.default_rng(1)
    seen = _classes(2000, wrong=0.2, rng=rng)
    proof = _proof(confidences=seen.confidence, right=seen.right, clusters=np.arange(2000))
    others = _classes(2000, wrong=0.2, rng=rng)
    alone = kept_promises(proof, others)[0].seen
    together = kept_promises(proof, others, groups=np.sort(np.arange(2000) % 10))[0].seen
    assert alone.value == together.value
    assert together.low != alone.low


@pytest.mark.parametrize(("scale", "kept"), [(1.0, True), (2.0, False)])
def test_an_interval_of_numbers_is_checked_by_how_many_it_holds(scale: float, kept: bool) -> None:
    rng = np.random.default_rng(2)
    proof = _proof(residuals=np.abs(rng.normal(size=1000)).astype(np.float32))
    (found,) = kept_promises(proof, NumberOutcomes(true=scale * rng.normal(size=1000), predicted=np.zeros(1000)))
    assert (found.promised, found.answered, found.kept) == (0.95, 1.0, kept)
    assert found.seen.low < found.seen.value < found.seen.high


def test_what_cannot_be_proved_is_not_promised(store: Store) -> None:
    assert kept_promises(None, _classes(10, wrong=0.1, rng=np.random.default_rng(0))) == ()
    few = _proof(confidences=np.ones(5, np.float32), right=np.ones(5, np.bool_), clusters=np.arange(5))
    assert kept_promises(few, _classes(10, wrong=0.1, rng=np.random.default_rng(0))) == ()
    report = heads.evaluate(heads.fit(store, task="pfam", head="linear"), store, relatives="none", n_resamples=50)
    assert [one["promised"] for one in report.to_dict()["promises"]] == [one.promised for one in report.promises]
    assert report.promises
