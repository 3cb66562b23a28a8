"""A store and a head of the first format, from before heads had a proof or a kind, open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import embedstore
import heads
from embedstore.models import load_model
from embedstore.store import Store

V1 = Path(__file__).parent / "v1"


@pytest.fixture
def store() -> Store:
    return embedstore.open(V1 / "store")


def test_an_old_store_is_whole(store: Store) -> None:
    report = embedstore.verify(store)
    assert report.ok, report.problems
    assert (report.n_sequences, report.n_vectors) == (24, 24)


def test_an_old_data_set_reads_as_it_was_added(store: Store) -> None:
    dataset = store.dataset("families")
    assert dataset.n_rows == 25
    assert dataset.ids()[0] == "p|1/é"
    assert set(dataset.column("label")) == {"zinc", "zip"}
    assert [name for name, _ in dataset.rejected] == ["empty"]
    assert store.sequences.take(dataset.digests[:1]) == [b"APECGKSFSQSSNLQKHQRTH"]


def test_old_vectors_are_those_that_the_model_gives_now(store: Store) -> None:
    space = store.space("kmer")
    vectors = np.concatenate([rows for _, rows in space.blocks()])
    now = load_model("kmer").embed(store.sequences.take(space.digests)).astype(np.float16)
    np.testing.assert_array_equal(vectors, now)
    assert embedstore.plan(store, load_model("kmer")).n_missing == 0


def test_an_old_head_predicts_as_it_did(store: Store) -> None:
    report = heads.evaluate(store, V1 / "families-knn")
    assert (report.n_rows, report.metrics["accuracy"].value) == (4, 1.0)
