"""What neighbours say of each label."""

from __future__ import annotations

import numpy as np

from heads.family_lookup.regions import Windows, select_regions
from heads.family_lookup.voting import N_MONOTONE, label_table, vote
from heads.tasks.keys import row_keys

TABLE = label_table(row_keys(4), [[0], [0, 1], [1], [2]], 3)


def test_a_neighbour_gives_its_whole_weight_to_each_of_its_labels() -> None:
    votes = vote(np.array([[0.9, 0.5]], np.float32), np.array([[1, 3]]), TABLE, sharpness=0.0)
    assert votes.label.tolist() == [0, 1, 2]
    np.testing.assert_allclose(votes.vote, 0.5)
    np.testing.assert_allclose(votes.score, [0.9, 0.9, 0.5])
    # The label's runner-up is the nearest neighbour without it, and never above its own.
    np.testing.assert_allclose(votes.runner_up_score, [0.5, 0.5, 0.5])


def test_a_sequence_that_stands_under_two_labels_in_two_rows_splits_its_vote() -> None:
    keys = row_keys(2)[[0, 0, 1]]
    table = label_table(keys, [[0], [1], [1]], 2)
    votes = vote(np.array([[1.0, 1.0]], np.float32), np.array([[0, 1]]), table, sharpness=50.0)
    np.testing.assert_allclose(votes.vote, [0.25, 0.75])
    assert votes.row.tolist() == [0, 1]


def test_the_nearer_family_wins_among_equal_votes() -> None:
    votes = vote(np.array([[0.8, 0.8]], np.float32), np.array([[3, 0]]), TABLE, sharpness=5.0)
    assert votes.label[votes.top_label()].tolist() == [2]


def test_agreement_counts_only_as_many_neighbours_as_the_family_has() -> None:
    votes = vote(np.array([[0.9, 0.5, 0.4]], np.float32), np.array([[3, 0, 2]]), TABLE, sharpness=5.0)
    assert dict(zip(votes.label.tolist(), votes.agreement.tolist(), strict=True))[2] == 1.0


def test_similarity_within_a_label_is_that_of_its_members_and_unknown_for_one_alone() -> None:
    vectors = np.array([[[1, 0], [0.6, 0.8], [0, 1]]], np.float32)
    votes = vote(np.array([[0.9, 0.8, 0.1]], np.float32), np.array([[0, 1, 3]]), TABLE, sharpness=5.0)
    np.testing.assert_allclose(votes.within_label_similarity(vectors), [0.6, np.nan, np.nan], rtol=1e-6)
    features = votes.features(votes.within_label_similarity(vectors))
    assert features.shape == (3, N_MONOTONE + 2)
    assert np.isfinite(features).all()


def test_a_table_without_some_keys_keeps_its_codes_and_counts_anew() -> None:
    rest = TABLE.subset(~TABLE.has_label(np.array([True, False, False])))
    assert rest.columns.tolist() == [1, 2]
    assert rest.sizes.tolist() == [0, 1, 1]
    assert rest.rows.tolist() == [2, 3]


def test_windows_cover_every_residue_and_end_with_the_protein() -> None:
    for length in range(1, 60):
        spans = Windows(sizes=(7, 20), step=None).spans(length)
        assert set().union(*(range(*span) for span in spans)) == set(range(length))
        assert len(set(spans)) == len(spans)
        assert max(stop for _, stop in spans) == length


def test_regions_are_the_best_windows_that_do_not_claim_the_same_residues() -> None:
    starts, stops = np.array([0, 10, 95, 60]), np.array([100, 110, 195, 160])
    labels, scores = np.array([0, 0, 1, 2]), np.array([0.9, 0.8, 0.7, 0.6])
    chosen = select_regions(starts, stops, labels, np.ones(4, np.bool_), np.full(4, 0.9), scores)
    assert chosen == [0, 2]
    none = select_regions(starts, stops, labels, np.zeros(4, np.bool_), np.full(4, 0.1), scores)
    assert none == [0]
