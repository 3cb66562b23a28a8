from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstore.errors import InputError
from embedstore.sequences.batching import plan_batches

LENGTHS = st.lists(st.integers(1, 3_000), max_size=200)


@given(LENGTHS, st.integers(1, 5_000))
def test_each_sequence_is_in_exactly_one_batch(lengths: list[int], budget: int) -> None:
    batches = plan_batches(np.array(lengths, dtype=np.int64), budget=budget)
    found = np.concatenate(batches) if batches else np.array([], dtype=np.int64)
    assert sorted(found.tolist()) == list(range(len(lengths)))
    assert all(len(batch) > 0 for batch in batches)


@given(LENGTHS, st.integers(1, 5_000))
def test_padded_residues_stay_within_the_budget_unless_a_sequence_is_alone(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, dtype=np.int64)
    for batch in plan_batches(array, budget=budget):
        assert len(batch) == 1 or len(batch) * int(array[batch].max()) <= budget


@given(LENGTHS, st.integers(1, 5_000))
def test_the_same_lengths_give_the_same_plan_longest_first(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, dtype=np.int64)
    first, second = plan_batches(array, budget=budget), plan_batches(array, budget=budget)
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in second]
    longest = [int(array[batch].max()) for batch in first]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.parametrize("remainder", range(5))
def test_the_last_partial_batch_is_kept_for_every_remainder(remainder: int) -> None:
    n_rows = 3 * 5 + remainder
    batches = plan_batches(np.full(n_rows, 10), budget=50)
    assert sum(len(batch) for batch in batches) == n_rows
    assert len(batches) == 3 + (remainder > 0)


def test_a_sequence_longer_than_the_budget_goes_alone() -> None:
    assert [batch.tolist() for batch in plan_batches(np.array([5, 900, 5]), budget=20)] == [[1], [0, 2]]


def test_no_sequences_give_no_batches() -> None:
    assert plan_batches(np.array([], dtype=np.int64), budget=10) == []


def test_a_million_lengths_are_planned_in_a_second_or_so() -> None:
    lengths = np.random.default_rng(0).integers(20, 1_000, 1_000_000)
    batches = plan_batches(lengths, budget=4_096)
    assert sum(len(batch) for batch in batches) == len(lengths)


def test_a_budget_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="budget is 0 residues"):
        plan_batches(np.array([3]), budget=0)


def test_an_empty_sequence_is_refused_by_row() -> None:
    with pytest.raises(InputError, match="Sequence 1 has 0 residues"):
        plan_batches(np.array([3, 0]), budget=10)
