"""The key table finds every key, and only it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedstore.store.keys import KeyTable, distinct


def keys(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 24), dtype=np.uint8)


def table_of(*runs: np.ndarray) -> KeyTable:
    rows = np.concatenate(runs)
    table = KeyTable(lambda numbers: rows[numbers])
    for run in runs:
        table.extend(run)
    return table


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_every_key_is_found_at_its_row(sizes: list[int]) -> None:
    runs = [keys(size, seed) for seed, size in enumerate(sizes)]
    rows = np.concatenate(runs)
    table = table_of(*runs)
    np.testing.assert_array_equal(table.find(rows), np.arange(len(rows)))
    assert (table.find(keys(30, 99)) == -1).all()


def test_keys_that_share_eight_or_sixteen_bytes_are_told_apart() -> None:
    rows = keys(200)
    rows[50:150, :8] = rows[50, :8]
    rows[60:90, :16] = rows[60, :16]
    table = table_of(rows[:70], rows[70:])
    np.testing.assert_array_equal(table.find(rows), np.arange(200))
    stranger = rows[60:61].copy()
    stranger[0, 23] ^= 1
    assert table.find(stranger).tolist() == [-1]


def test_of_equal_keys_the_first_row_wins() -> None:
    rows = keys(10)
    table = table_of(rows, rows[::-1], keys(5, 7))
    np.testing.assert_array_equal(table.find(rows), np.arange(10))


def test_many_keys_in_many_runs_are_all_found() -> None:
    rows = np.frombuffer(b"".join(hashlib.sha256(i.to_bytes(4)).digest()[:24] for i in range(200_000)), np.uint8)
    rows = rows.reshape(-1, 24)
    table = table_of(*np.array_split(rows, 40))
    assert (table.find(rows[::-1]) == np.arange(200_000)[::-1]).all()


@pytest.mark.parametrize("count", [0, 1, 500])
def test_distinct_keeps_each_key_once_in_order(count: int) -> None:
    rows = keys(count)
    doubled = np.concatenate([rows, rows])
    expected = sorted({row.tobytes() for row in rows})
    assert [row.tobytes() for row in distinct(doubled)] == expected
