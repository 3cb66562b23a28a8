"""Residues as rows: labels a letter a residue, masks, whole proteins and loose rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedstore
import heads
from embedstore.errors import InputError, StoreError
from embedstore.sequences import digest
from embedstore.store import Store
from embedstore.store.keys import as_digests
from heads.evaluation.scoring import validation_rows
from heads.features.residues import ResidueFeatures, ResidueSubset
from heads.features.sources import VectorSource, task_space
from heads.tasks.data import spread_letters
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection
from heads.tasks.splitting import hold_out
from heads.tasks.targets import encode

HELIX = frozenset("AELMQKRH")


@pytest.fixture(scope="module")
def residue_store(tmp_path_factory: pytest.TempPathFactory, simulated: Any) -> Store:
    """Proteins whose label says of each residue whether its letter likes helices; the first three are masked."""
    folder = tmp_path_factory.mktemp("residues")
    rows = []
    for split, n, seed in (("train", 40, 1), ("valid", 10, 2), ("test", 10, 3)):
        for number, (name, sequence, _) in enumerate(simulated.proteins(n, seed=seed)):
            sequence = sequence[: 30 + number % 7]
            labels = "".join("H" if letter in HELIX else "C" for letter in sequence)
            rows.append((name, sequence, labels, "000" + "1" * (len(sequence) - 3), split))
    rows.append(("again", *rows[0][1:4], "valid"))
    simulated.table(folder / "ss.csv", rows, ("id", "sequence", "label", "mask", "split"))
    store = embedstore.open(folder / "s.zarr", mode="a")
    store.add("ss", folder / "ss.csv")
    embedstore.build(store, embedstore.load_model("mini"), residues=True, pooling=[])
    store.refresh()
    return store


def _data(store: Store) -> Any:
    return read_task(TaskSelection(dataset="ss", input="residue"), store)


def test_blocks_and_batches_are_the_stored_matrices(residue_store: Store) -> None:
    space = residue_store.residue_space()
    keys = residue_store.dataset("ss").digests[:17]
    features = ResidueFeatures.from_keys(space, keys)
    whole = np.concatenate(space.take(keys)).astype(np.float32)
    assert features.shape == whole.shape
    np.testing.assert_array_equal(np.concatenate([block for _, block in features.blocks()]), whole)
    seen = []
    for rows, block in features.batches(100, seed=1):
        np.testing.assert_array_equal(block, whole[rows])
        starts = np.isin(features.offsets[:-1], rows)
        assert len(rows) == np.diff(features.offsets)[starts].sum()  # whole proteins
        seen.append(rows)
    assert len(seen) > 3
    assert sorted(np.concatenate(seen).tolist()) == list(range(len(whole)))
    chosen = np.array([5, 400, 3, 3, len(whole) - 1])
    loose = features.subset(chosen)
    assert loose.offsets is None
    np.testing.assert_array_equal(np.concatenate([block for _, block in loose.blocks()]), whole[chosen])
    np.testing.assert_array_equal(next(iter(loose.subset(np.array([1, 4])).blocks()))[1], whole[chosen[[1, 4]]])
    assert sum(len(rows) for rows, _ in loose.batches(2, seed=0)) == 5


def test_labels_are_a_letter_a_residue_and_masked_ones_are_none(residue_store: Store) -> None:
    data = _data(residue_store)
    space = task_space(residue_store, data)
    found = VectorSource(space).examples(data, data.rows("train"))
    offsets = found.features.offsets
    assert offsets is not None
    assert len(found.y) == found.features.shape[0] == offsets[-1]
    for protein, row in enumerate(found.rows[:5].tolist()):
        letters = found.y[offsets[protein] : offsets[protein + 1]].tolist()
        assert letters[:3] == ["", "", ""]
        assert "".join(letters[3:]) == residue_store.dataset("ss").column("label")[row][3:]


def test_a_validation_protein_that_is_trained_on_is_left_out(residue_store: Store) -> None:
    data = _data(residue_store)
    assert len(data.splits["valid"]) == 11
    chosen = validation_rows(VectorSource(task_space(residue_store, data)), data)
    assert chosen is not None
    assert len(chosen.rows) == 10


@pytest.mark.parametrize(
    ("head", "params"),
    [("linear", {}), ("knn", {}), ("cnn", {}), ("mlp", {}), ("gbm", {"max_rounds": 30})],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_head_for_residues_learns_what_a_letter_tells(
    residue_store: Store, head: str, params: dict[str, Any], tmp_path: Path
) -> None:
    from heads.base import make_head

    data = _data(residue_store)
    space = task_space(residue_store, data)
    train, valid, test = (VectorSource(space).examples(data, data.rows(split)) for split in ("train", "valid", "test"))
    model = make_head(head, params, input_="residue").fit(train.features, train.y, valid.features, valid.y)
    known = test.y != ""
    assert (model.predict(test.features)[known] == test.y[known]).mean() > 0.9


def test_loose_residues_are_read_protein_by_protein_and_set_aside_so(residue_store: Store) -> None:
    """As a network reads them, masked residues left out."""
    data = _data(residue_store)
    train = VectorSource(task_space(residue_store, data)).examples(data, data.rows("train"))
    known = np.flatnonzero(train.y != "")
    loose = train.features.subset(known)
    assert isinstance(loose, ResidueSubset)
    assert isinstance(train.features, ResidueFeatures)
    whole = train.features.offsets
    np.testing.assert_array_equal(whole[loose.owners] <= known, True)
    np.testing.assert_array_equal(known < whole[loose.owners + 1], True)
    seen, order = [], []
    for rows, block in loose.batches(100, seed=1):
        owners = loose.owners[rows]
        assert (np.diff(owners) >= 0).all()
        assert len(rows) == np.isin(loose.owners, owners).sum()  # whole proteins
        np.testing.assert_array_equal(block, next(iter(loose.subset(rows).blocks()))[1])
        seen.append(rows)
        order.append(owners[0])
    assert sorted(np.concatenate(seen).tolist()) == list(range(len(known)))
    assert order != sorted(order)
    targets = encode(train.y[known], target_type="class", n_rows=len(known))
    learn, choose = hold_out(loose.group_keys, targets, seed=0)
    assert len(choose) > 0
    assert not set(loose.owners[learn]) & set(loose.owners[choose])


def test_equal_sequences_are_set_aside_together(residue_store: Store) -> None:
    proteins = residue_store.dataset("ss").digests[:20]
    twice = ResidueFeatures.from_keys(residue_store.residue_space(), np.concatenate([proteins, proteins]))
    codes = np.arange(twice.shape[0]) % 2
    targets = encode(codes, target_type="class", n_rows=len(codes))
    owner = np.repeat(np.tile(np.arange(20), 2), np.diff(twice.offsets))
    for features in (twice, twice.subset(np.arange(len(codes)))):
        learn, choose = hold_out(features.group_keys, targets, seed=1, share=0.3)
        assert len(choose) > 0
        assert not set(owner[learn]) & set(owner[choose])


def test_a_label_of_another_length_names_the_protein(store: Store, tmp_path: Path, residue_store: Store) -> None:
    rows = residue_store.dataset("ss")
    sequence = residue_store.sequences.take(rows.digests[:1])[0].decode()
    path = tmp_path / "short.csv"
    path.write_text(f"id,sequence,label,split\np1,{sequence},HHC,train\n")
    data = read_task(TaskSelection(labels=str(path), input="residue"), residue_store)
    with pytest.raises(InputError, match=r"'p1' of .*short.csv has 30 residues and 3 labels in column 'label'"):
        VectorSource(task_space(residue_store, data)).examples(data, data.rows("train"))
    path.write_text(f"id,sequence,label,mask,split\np1,{sequence},HHC,11,train\n")
    with pytest.raises(InputError, match="'p1' has 3 labels in column 'label' and a mask of 2 in 'mask'"):
        read_task(TaskSelection(labels=str(path), input="residue"), residue_store)


def test_a_store_without_residues_says_how_to_make_them(store: Store) -> None:
    data = read_task(TaskSelection(dataset="pfam", input="residue"), store)
    with pytest.raises(
        StoreError, match=r"no residue vectors\. Make them: `embedstore build --model NAME --residues pfam`"
    ):
        task_space(store, data)


def test_proteins_without_a_matrix_are_named_with_the_command(residue_store: Store) -> None:
    from heads.features.sources import has_vector

    with pytest.raises(StoreError, match=r"embedstore build --model mini --residues ss"):
        has_vector(residue_store.residue_space(), as_digests([digest(b"MKV")]), source="ss")


def test_letters_outside_ascii_stay_one_letter() -> None:
    assert spread_letters(["Hé", " C"], " ").tolist() == ["H", "é", "", "C"]
    assert spread_letters([], " ").shape == (0,)


def test_a_head_of_residues_is_fitted_saved_and_evaluated(residue_store: Store, tmp_path: Path) -> None:
    params = {"max_epochs": 2, "channels": 8}
    heads.fit(
        residue_store,
        task=TaskSelection(dataset="ss", input="residue"),
        head="cnn",
        params=params,
        out=tmp_path / "head",
    )
    report = heads.evaluate(residue_store, tmp_path / "head", n_resamples=20)
    assert report.metrics["accuracy"].value > 0.8
