"""Targets are checked and encoded once, for all heads."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from embedstore.errors import InputError
from heads.base import make_head
from heads.calibration.thresholds import choose_thresholds
from heads.features.base import sequences_of
from heads.tasks.targets import encode


def test_a_row_without_a_label_has_the_code_minus_one() -> None:
    found = encode(["b", "", "a"], target_type="class", n_rows=3)
    assert found.classes.tolist() == ["a", "b"]
    assert found.require_codes().tolist() == [1, -1, 0]
    assert found.known.tolist() == [True, False, True]


def test_sets_of_labels_become_members_and_unknown_ones_are_left_out() -> None:
    train = encode([["x", "z"], [], ["y"]], target_type="multilabel", n_rows=3)
    assert train.classes.tolist() == ["x", "y", "z"]
    assert train.require_members().toarray().tolist() == [[True, False, True], [False] * 3, [False, True, False]]
    other = encode([["new", "y"]], target_type="multilabel", n_rows=1, classes=train.classes)
    assert other.require_members().toarray().tolist() == [[False, True, False]]
    assert other.known.all()


@pytest.mark.parametrize("matrix", [np.eye(3, dtype=bool), np.eye(3, dtype=int), csr_array(np.eye(3))])
def test_a_matrix_of_indicators_is_no_collection_of_labels(matrix: object) -> None:
    with pytest.raises(InputError, match="y is a matrix of indicators, .* expected for each row a list of labels"):
        encode(matrix, target_type="multilabel", n_rows=3)


def test_validation_rows_are_not_dropped_without_a_word() -> None:
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    with pytest.raises(InputError, match="Validation rows need X_valid and y_valid"):
        make_head("linear").fit(X, y, X)
    with pytest.raises(InputError, match=r"classes are integers \(first: 0\), and other rows' are of another kind"):
        make_head("linear").fit(X, y, X, y.astype(str))


def test_levels_are_sorted_as_numbers_and_a_new_level_is_unknown() -> None:
    train = encode([10, 2, 2, 1], target_type="ordinal", n_rows=4)
    assert train.classes.tolist() == [1, 2, 10]
    assert train.require_codes().tolist() == [2, 1, 1, 0]
    assert encode([3, 10], target_type="ordinal", n_rows=2, classes=train.classes).known.tolist() == [False, True]


def test_selected_targets_keep_their_classes() -> None:
    train = encode([["x"], ["y"], ["x", "y"]], target_type="multilabel", n_rows=3).subset(np.array([2, 0]))
    assert train.require_members().toarray().tolist() == [[True, True], [True, False]]
    assert encode([1.0, 2.0, 4.0], target_type="regression", n_rows=3).subset(
        np.array([2])
    ).require_values().tolist() == [4]


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(InputError, match="target_type is 'ranking'; expected one of class, multilabel"):
        encode(["a"], target_type="ranking", n_rows=1)


def test_thresholds_follow_the_labels_that_have_rows_and_stay_common_for_those_that_have_not() -> None:
    rng = np.random.default_rng(0)
    members = rng.random((2000, 3)) < [0.5, 0.5, 0.0005]
    shares = np.clip(np.where(members, 0.4, 0.1) + 0.02 * rng.normal(size=members.shape), 0, 1)
    shares[:, 1] = np.clip(shares[:, 1] + 0.4, 0, 1)
    from scipy.sparse import csr_array

    found = choose_thresholds(shares.astype(np.float32), csr_array(members))
    assert 0.15 < found[0] < 0.38
    assert 0.55 < found[1] < 0.78
    assert 0.15 < found[2] < 0.6


def test_sequences_are_rows_without_dimensions_and_vectors_are_no_sequences() -> None:
    found = sequences_of(["MKV", "", "ACD"])
    assert found.shape == (3, 0)
    assert list(found.subset(np.array([2, 0])).residues) == ["ACD", "MKV"]
    assert [(rows.start, rows.stop, block.shape) for rows, block in found.blocks()] == [(0, 3, (3, 0))]
    with pytest.raises(InputError, match="reads sequences, and X holds vectors of 4 dimensions"):
        sequences_of(np.zeros((2, 4), np.float32))
