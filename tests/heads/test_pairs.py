"""Pairs of proteins as rows: how they are added, joined and combined."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedstore
import heads
from embedstore.errors import InputError, StoreError, UnknownNameError
from embedstore.store import Store
from embedstore.store.pairs import add_pairs
from heads.features.sources import VectorSource
from heads.features.vectors import PairFeatures
from heads.tasks.keys import pair_keys
from heads.tasks.pairing import ORDERED, SYMMETRIC, parse_pairing
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection
from heads.testing.sequence_contract import random_proteins

SELECTION = TaskSelection(dataset="ppi", partner_column="sequence_2", pairing=SYMMETRIC)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, simulated: Any) -> tuple[Store, Path]:
    """Pairs that interact if both are of one family."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = []
    for split, n, seed in (("train", 160, 1), ("valid", 40, 2), ("test", 40, 3)):
        proteins = simulated.proteins(n, seed=seed)
        others = np.random.default_rng(seed).permutation(n)
        others = np.where(np.arange(n) % 2, (np.arange(n) + 6) % n, others)
        for number, (a, other) in enumerate(zip(proteins, others.tolist(), strict=True)):
            b = proteins[other]
            rows.append((f"{split}{number}", a[1], b[1].lower(), str(int(a[2] == b[2])), split))
    path = simulated.table(folder / "ppi.csv", rows, ("id", "sequence", "sequence_2", "label", "split"))
    store = embedstore.open(folder / "s.zarr", mode="a")
    add_pairs(store, "ppi", path, partner_column="sequence_2")
    embedstore.build(store, embedstore.load_model("kmer"))
    store.refresh()
    return store, path


def test_both_proteins_of_a_pair_get_into_the_store(pairs: tuple[Store, Path]) -> None:
    store, path = pairs
    assert store.datasets() == ["ppi", "ppi.partner"]
    assert store.dataset("ppi.partner").columns == []
    assert store.dataset("ppi.partner").ids() == store.dataset("ppi").ids()
    data = read_task(SELECTION, store)
    assert data.input == "pair"
    np.testing.assert_array_equal(data.partners, store.dataset("ppi.partner").digests)
    again, partners = add_pairs(store, "ppi", path, partner_column="sequence_2")
    assert again.already_there
    assert partners.already_there


@pytest.mark.parametrize("way", ["random", "clusters"])
def test_a_pair_and_its_mirror_are_in_one_part_of_a_split(way: str, tmp_path: Path, simulated: Any) -> None:
    both = list(pairwise(random_proteins(60, seed=1)))
    mirrored = [(b, a) for a, b in both]
    rows = [(f"p{number}", a, b, str(number % 2)) for number, (a, b) in enumerate([*both, *mirrored])]
    path = simulated.table(tmp_path / "pairs.csv", rows, ("id", "sequence", "sequence_2", "label"))
    chosen = TaskSelection(labels=path, partner_column="sequence_2", split_by=way)
    data = read_task(chosen, None)
    part = np.empty(len(rows), object)
    for name, found in data.splits.items():
        part[found] = name
    assert (part[: len(both)] == part[len(both) :]).all()
    assert len(set(part)) == 3
    assert "pair" in data.split_rule


@pytest.mark.parametrize("kept_bytes", [2**28, 0])
def test_rows_are_both_vectors_combined(
    pairs: tuple[Store, Path], kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = pairs
    monkeypatch.setattr("heads.features.vectors.CACHE_BYTES", kept_bytes)
    data = read_task(SELECTION, store)
    found = VectorSource(store.space()).examples(data, data.rows("train"))
    assert data.partners is not None
    a, b = (store.space().take(keys[found.rows]).astype(np.float64) for keys in (data.digests, data.partners))
    a, b = (x / np.sqrt((x**2).mean(axis=1, keepdims=True)) for x in (a, b))
    expected = np.concatenate([a + b, a * b, abs(a - b)], axis=1)
    assert found.features.shape == expected.shape
    np.testing.assert_allclose(next(iter(found.features.blocks()))[1], expected, atol=1e-4)
    for rows, block in found.features.batches(50, seed=3):
        np.testing.assert_allclose(block, expected[rows], atol=1e-4)
    chosen = np.array([7, 2, 2])
    np.testing.assert_allclose(next(iter(found.features.subset(chosen).blocks()))[1], expected[chosen], atol=1e-4)


def test_a_symmetric_pair_is_the_same_both_ways_and_so_is_its_key(pairs: tuple[Store, Path]) -> None:
    store, _ = pairs
    first, second = store.dataset("ppi").digests[:9], store.dataset("ppi.partner").digests[:9]
    one, other = (
        PairFeatures(store.space(), a, b, parse_pairing(SYMMETRIC)) for a, b in ((first, second), (second, first))
    )
    np.testing.assert_array_equal(next(iter(one.blocks()))[1], next(iter(other.blocks()))[1])
    np.testing.assert_array_equal(one.keys, other.keys)
    assert (pair_keys(first, second) != pair_keys(first, first)).any()
    ordered = [PairFeatures(store.space(), a, b, parse_pairing(ORDERED)) for a, b in ((first, second), (second, first))]
    assert (next(iter(ordered[0].blocks()))[1] != next(iter(ordered[1].blocks()))[1]).any()
    assert ordered[0].shape == (9, 4 * store.space().dim)


def test_interactions_are_learned_from_pairs(pairs: tuple[Store, Path]) -> None:
    store, _ = pairs
    data = read_task(replace(SELECTION, pairing="product"), store)
    train, test = (VectorSource(store.space()).examples(data, data.rows(split)) for split in ("train", "test"))
    head = heads.HEADS.load("linear")().fit(train.features, train.y)
    assert (head.predict(test.features) == test.y).mean() > 0.85


def test_a_partner_that_was_not_embedded_is_told(tmp_path: Path, pairs: tuple[Store, Path]) -> None:
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    store.add("ppi", pairs[1])
    embedstore.build(store, embedstore.load_model("kmer"), ["ppi"])
    store.refresh()
    (tmp_path / "more.csv").write_text("id,sequence,sequence_2,label,split\nq,MKVLAAGHWE,MKLLVVGHWE,1,train\n")
    store.add("ppi", tmp_path / "more.csv", existing="append")
    embedstore.build(store, embedstore.load_model("kmer"), ["ppi"])
    store.refresh()
    data = read_task(SELECTION, store)
    with pytest.raises(StoreError, match=r"1 of the 161 rows of ppi\.partner have no vector .* ppi\.partner`"):
        VectorSource(store.space()).examples(data, data.rows("train"))


def test_a_second_sequence_that_is_none_is_an_error_with_its_id(tmp_path: Path, pairs: tuple[Store, Path]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("id,sequence,sequence_2,label\nq1,MKV,M1V,1\n")
    selection = TaskSelection(labels=str(path), partner_column="sequence_2")
    with pytest.raises(InputError, match=r"'q1', column 'sequence_2': Not a protein: character '1'"):
        read_task(selection, pairs[0])
    with pytest.raises(InputError, match=r"no column 'seq_b' to take second proteins from; it has sequence_2, label"):
        read_task(TaskSelection(labels=str(path), partner_column="seq_b"), pairs[0])


def test_a_pairing_is_checked() -> None:
    with pytest.raises(InputError, match="pairing is 'sum\\+cosine'; expected some of concatenation, sum"):
        TaskSelection(dataset="ppi", pairing="sum+cosine")


def test_a_pair_task_without_its_data_says_how_to_add_them(store: Store) -> None:
    with pytest.raises(UnknownNameError, match=r"embedstore add ppi_affinity PATH --partner-column 'sequence_2'"):
        read_task(TaskSelection(task="ppi_affinity"), store)
