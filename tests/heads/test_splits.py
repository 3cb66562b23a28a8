"""Splits by column and by key, the count of what leaks, and the fingerprint of the training rows."""

import hashlib

import numpy as np
import pytest

from embedstore.errors import InputError
from heads.tasks.keys import isin_keys, n_shared_keys
from heads.tasks.splitting import split_by_column, split_by_key
from heads.tasks.training_fingerprint import n_contradictory, training_sha256


def keys(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 24), dtype=np.uint8)


@pytest.mark.parametrize("name", ["valid", "validation", "val", "dev", "Dev", "VALID"])
def test_each_usual_name_of_the_validation_split_is_known(name: str) -> None:
    assert split_by_column(["train", name])["valid"].tolist() == [1]


def test_other_names_are_mapped_explicitly_or_refused() -> None:
    values = ["train", "holdout", "holdout"]
    assert split_by_column(values, names={"holdout": "test"})["test"].tolist() == [1, 2]
    with pytest.raises(InputError, match="says 'holdout' for 2 rows; expected one of train"):
        split_by_column(values)


def test_a_random_split_has_the_fractions_and_every_row_once() -> None:
    parts = split_by_key(keys(20_000))
    assert np.sort(np.concatenate(list(parts.values()))).tolist() == list(range(20_000))
    np.testing.assert_allclose([len(rows) / 20_000 for rows in parts.values()], [0.8, 0.1, 0.1], atol=0.01)


def test_equal_sequences_stay_on_one_side_and_new_rows_move_none() -> None:
    few = keys(500)
    doubled = np.concatenate([few, few, keys(300, seed=1)])
    small, large = split_by_key(few), split_by_key(doubled)
    for name, rows in small.items():
        assert rows.tolist() == [row for row in large[name] if row < 500]
        assert (rows + 500).tolist() == [row for row in large[name] if 500 <= row < 1000]


def test_another_seed_is_another_split_even_of_keys_that_differ_in_one_bit() -> None:
    counted = np.zeros((3000, 24), np.uint8)
    counted[:, -2:] = np.arange(3000, dtype=">u2").view(np.uint8).reshape(-1, 2)
    a, b = split_by_key(counted, seed=0)["test"], split_by_key(counted, seed=1)["test"]
    assert 200 < len(a) < 400
    assert len(np.intersect1d(a, b)) < 80


def test_fractions_must_sum_to_one() -> None:
    with pytest.raises(InputError, match="three numbers of at least 0 that sum to 1"):
        split_by_key(keys(3), fractions=(0.5, 0.1, 0.1))


def test_shared_keys_are_counted_once_each() -> None:
    train = keys(10)
    assert n_shared_keys(np.concatenate([train[:3], train[:3], keys(5, seed=1)]), train) == 3


def test_keys_are_found_among_others_byte_by_byte() -> None:
    train = keys(10)
    zeros = np.zeros((1, 24), np.uint8)
    assert isin_keys(np.concatenate([train[3:5], keys(2, seed=1), zeros]), train).tolist() == [True, True] + [False] * 3


def test_the_fingerprint_of_training_rows_is_the_documented_one() -> None:
    digests, labels = keys(3), np.array(["b", "PFé", "b"])
    digests[2] = digests[0]
    pairs = sorted({(key.tobytes(), str(label)) for key, label in zip(digests, labels, strict=True)})
    expected = hashlib.sha256()
    for key, label in pairs:
        expected.update(key + len(label.encode()).to_bytes(4, "little") + label.encode())
    assert training_sha256(digests, labels) == expected.hexdigest()
    assert training_sha256(digests[:0], labels[:0]) == hashlib.sha256().hexdigest()


def test_contradictory_keys_are_those_with_several_labels() -> None:
    digests = keys(4)[[0, 0, 1, 1, 2, 3, 3, 3]]
    assert n_contradictory(digests, np.array(["a", "b", "a", "a", "a", "a", "b", "c"])) == 2
    assert n_contradictory(digests[:0], np.array([], dtype=np.str_)) == 0
