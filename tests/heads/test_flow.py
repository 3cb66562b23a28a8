"""Fit, predict, evaluate and look up, from a store to labels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedstore
import heads
from embedstore.errors import InputError, SpaceMismatchError, StoreError, UnknownNameError
from embedstore.sequences import read_records
from embedstore.store import Space, Store
from embedstore.types import Record
from heads.base import make_head
from heads.features.sources import record_features
from heads.features.vectors import SpaceFeatures
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection

OF_VECTORS = [name for name, row in heads.HEADS.items() if "protein" in row.inputs and row.reads == "vectors"]


@pytest.mark.parametrize("head", OF_VECTORS)
def test_every_head_goes_from_a_store_to_a_report(head: str, store: Store, tmp_path: Path) -> None:
    fitted = heads.fit(store, task="pfam", head=head, params=heads.HEADS[head].small, out=tmp_path / "pfam-head")
    assert dict(fitted.n_rows) == {
        "train": 150, "valid": 42, "test": 48, "without_vector": 0, "unlabelled": 0, "unassigned": 0,
        "unseen": 0, "contradictory": 0, "left_out": 0,
    }  # fmt: skip
    assert fitted.default_name == f"pfam-{head}"
    report = heads.evaluate(store, tmp_path / "pfam-head")
    assert report.metrics["accuracy"].value > 0.95
    assert (report.n_rows, report.n_keys_in_train, report.n_unseen) == (48, 1, 0)
    assert report.training_changed is False
    plain = json.loads(json.dumps(report.to_dict()))
    assert set(plain["macro_f1"]) == {"value", "low", "high"}
    assert plain["space"] == store.space().id


@pytest.mark.parametrize("head", OF_VECTORS)
def test_predict_embeds_what_the_store_lacks(head: str, store: Store, tmp_path: Path, simulated: Any) -> None:
    new = simulated.proteins(12, seed=9)
    path = simulated.fasta(tmp_path / "new.fasta", [*new, *simulated.proteins(6, seed=3)])
    fitted = heads.fit(store, task="pfam", head=head, params=heads.HEADS[head].small)
    found = heads.predict(store, fitted, path)
    assert found.ids == [record.id for record in read_records(path)]
    assert found.labels[:, 0].tolist() == list(simulated.families) * 3
    elsewhere = heads.predict(None, fitted, path)
    np.testing.assert_allclose(elsewhere.probabilities, found.probabilities, atol=1e-5)


def test_predictions_come_as_a_frame_with_any_number_of_labels(store: Store, splits_table: Path) -> None:
    fitted = heads.fit(store, task="pfam")
    records = list(read_records(splits_table))[:5]
    one = heads.predict(store, fitted, records).to_frame()
    assert list(one.columns) == ["id", "label", "probability"]
    assert len(one) == 5
    three = heads.predict(store, fitted, records, top=3).to_frame()
    assert three["rank"].tolist() == [1, 2, 3] * 5
    assert three["id"].tolist() == [record.id for record in records for _ in range(3)]
    assert heads.predict(store, fitted, records, top=99).labels.shape == (5, 6)
    with pytest.raises(InputError, match="top is 0; expected at least 1"):
        heads.predict(store, fitted, records, top=0)


def test_no_records_give_no_predictions(store: Store) -> None:
    assert heads.predict(store, heads.fit(store, task="pfam"), []).to_frame().empty


def test_any_labelled_file_is_a_task(store: Store, tmp_path: Path, simulated: Any) -> None:
    rows = [(name, sequence, family) for name, sequence, family in simulated.proteins(150, seed=1)]
    path = simulated.table(tmp_path / "mine.v2.csv", rows, ("id", "sequence", "label"))
    fitted = heads.fit(store, labels=path)
    assert fitted.default_name == "mine-linear"
    assert fitted.split_rule == "random 80/10/10 by key, seed 0"
    report = heads.evaluate(store, fitted, split="valid")
    assert report.metrics["accuracy"].value > 0.9
    moved = path.rename(tmp_path / "moved.csv")
    assert heads.evaluate(store, fitted, split="valid", labels=moved).metrics == report.metrics


def test_a_data_set_of_the_store_is_a_task(store: Store, tmp_path: Path, splits_table: Path) -> None:
    fitted = heads.fit(
        store, task=TaskSelection(dataset="pfam", label_column="family_accession"), out=tmp_path / "head"
    )
    assert fitted.default_name == "pfam-linear"
    assert fitted.split_rule == "column split"
    by_task = heads.fit(store, task="pfam")
    assert fitted.train_sha256 == by_task.train_sha256
    report = heads.evaluate(store, tmp_path / "head")
    assert report.metrics == heads.evaluate(store, by_task).metrics
    assert report.training_changed is False
    records = list(read_records(splits_table))[-3:]
    by_name = heads.lookup(store, records, dataset="pfam").to_frame()
    assert by_name.equals(heads.lookup(store, records, task="pfam").to_frame())
    with pytest.raises(InputError, match="fitted on 'pfam' in the store; labels= .* is for heads of a labelled file"):
        heads.evaluate(store, fitted, labels=splits_table)


def test_a_table_with_unusual_columns_is_found_again(store: Store, tmp_path: Path, simulated: Any) -> None:
    rows = simulated.proteins(150, seed=1)
    table = tmp_path / "excel.tsv"
    table.write_text("".join("\t".join(row) + "\n" for row in [("Protein ID", "Seq", "label"), *rows]))
    with pytest.raises(InputError, match="--id-column"):
        heads.fit(store, labels=table)
    fitted = heads.fit(
        store, task=TaskSelection(labels=table, id_column="Protein ID", sequence_column="Seq"), out=tmp_path / "head"
    )
    assert heads.evaluate(store, tmp_path / "head", split="valid").n_rows == fitted.n_rows["valid"]
    hits = heads.lookup(
        store,
        [Record(id="q", residues=rows[0][1].encode())],
        task=TaskSelection(labels=table, id_column="Protein ID", sequence_column="Seq"),
        reference="all",
    )
    assert hits.nearest_ids == [rows[0][0]]
    with pytest.raises(InputError, match="those of a labelled file .*, and task was given"):
        heads.fit(store, task=TaskSelection(task="pfam", id_column="Protein ID"))


def test_evaluate_tells_that_the_training_rows_changed(store: Store, tmp_path: Path, simulated: Any) -> None:
    rows = [(*row, "train" if number < 100 else "test") for number, row in enumerate(simulated.proteins(150, seed=1))]
    header = ("id", "sequence", "label", "split")
    path = simulated.table(tmp_path / "mine.csv", rows, header)
    fitted = heads.fit(store, labels=path)

    def changed(*now: tuple[str, ...]) -> bool:
        return heads.evaluate(store, fitted, labels=simulated.table(tmp_path / "now.csv", now, header)).training_changed

    assert not changed(*rows[::-1], rows[0])
    assert not changed(*rows[:-1])
    assert changed(*rows[1:])
    assert changed((*rows[0][:2], "another", "train"), *rows[1:])


def test_sequences_with_several_labels_are_counted(store: Store, tmp_path: Path, simulated: Any) -> None:
    rows = [(*row, "train" if number < 100 else "test") for number, row in enumerate(simulated.proteins(150, seed=1))]
    contrary = [(f"again{number}", rows[number][1], "another", "train") for number in (0, 0, 1)]
    path = simulated.table(tmp_path / "c.csv", [*rows, *contrary, rows[2]], ("id", "sequence", "label", "split"))
    assert heads.fit(store, labels=path).n_rows["contradictory"] == 2


def test_a_random_split_of_few_rows_says_what_it_left_empty(store: Store, tmp_path: Path, simulated: Any) -> None:
    path = simulated.table(tmp_path / "tiny.csv", simulated.proteins(6, seed=1), ("id", "sequence", "label"))
    fits: dict[tuple[bool, bool], int] = {}
    for seed in range(40):
        parts = read_task(TaskSelection(labels=str(path), seed=seed), store).splits
        fits.setdefault((len(parts["valid"]) > 0, len(parts["test"]) > 0), seed)
    fitted = heads.fit(store, labels=path, seed=fits[False, False])
    assert (
        fitted.split_rule
        == f"random 80/10/10 by key, seed {fits[False, False]}, without validation rows, without test rows"
    )
    assert (fitted.n_rows["valid"], fitted.n_rows["test"]) == (0, 0)
    with pytest.raises(InputError, match=r"no labelled row in split 'test' .*test \(0 rows\)\. Ask for one that has"):
        heads.evaluate(store, fitted)
    assert heads.evaluate(store, fitted, split="train").n_rows == 6
    assert "without validation" not in heads.fit(store, labels=path, seed=fits[True, False]).split_rule
    only_test = simulated.table(
        tmp_path / "t.csv",
        [(*row, "test") for row in simulated.proteins(6, seed=1)],
        ("id", "sequence", "label", "split"),
    )
    with pytest.raises(InputError, match=r"no labelled row in split 'train'.*train \(0 rows\)"):
        heads.fit(store, labels=only_test)


def test_a_negative_seed_is_refused(store: Store) -> None:
    fitted = heads.fit(store, task="pfam")
    for call in (
        lambda: heads.fit(store, task="pfam", seed=-1),
        lambda: heads.lookup(store, [], task="pfam", seed=-1),
        lambda: heads.evaluate(store, fitted, seed=-1),
    ):
        with pytest.raises(InputError, match="seed is -1; expected 0 or more"):
            call()


def test_a_file_that_was_never_embedded_names_the_build_command(store: Store, tmp_path: Path, simulated: Any) -> None:
    path = simulated.table(tmp_path / "new.csv", simulated.proteins(30, seed=77), ("id", "sequence", "label"))
    with pytest.raises(StoreError, match=r"have no vector in space kmer-.*`embedstore build --model kmer .*new\.csv`"):
        heads.fit(store, labels=path)


def test_labels_that_are_missing_are_an_error(store: Store, tmp_path: Path, simulated: Any) -> None:
    no_column = simulated.table(
        tmp_path / "a.csv", [row[:2] for row in simulated.proteins(5, seed=1)], ("id", "sequence")
    )
    with pytest.raises(InputError, match="has no labels: there is no column 'label' or"):
        heads.fit(store, labels=no_column)
    empty = simulated.table(
        tmp_path / "b.csv", [(*row[:2], "") for row in simulated.proteins(5, seed=1)], ("id", "sequence", "label")
    )
    with pytest.raises(InputError, match="column 'label' is empty in all 5 rows"):
        heads.fit(store, labels=empty)
    with pytest.raises(InputError, match="no column 'clan' among its columns"):
        heads.fit(store, task=TaskSelection(task="pfam", label_column="clan"))
    with pytest.raises(InputError, match="has no column 'fold' to split by"):
        heads.fit(store, task=TaskSelection(task="pfam", split_column="fold"))


def test_rows_without_a_label_or_a_split_are_left_out_and_counted(store: Store, tmp_path: Path, simulated: Any) -> None:
    rows = [(*row, "train" if number < 100 else "") for number, row in enumerate(simulated.proteins(150, seed=1))]
    rows[0] = (*rows[0][:2], "", "train")
    path = simulated.table(tmp_path / "c.csv", rows, ("id", "sequence", "label", "split"))
    fitted = heads.fit(store, labels=path)
    assert (fitted.n_rows["train"], fitted.n_rows["unlabelled"], fitted.n_rows["unassigned"]) == (99, 1, 50)
    with pytest.raises(InputError, match="no labelled row in split 'test'"):
        heads.evaluate(store, fitted)


def test_unknown_names_are_refused_with_the_known_ones(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Unknown task 'pfan'. Did you mean 'pfam'"):
        heads.fit(store, task="pfan")
    with pytest.raises(UnknownNameError, match="Unknown head 'linar'. Did you mean 'linear'"):
        heads.fit(store, task="pfam", head="linar")
    with pytest.raises(UnknownNameError, match="Unknown parameter of head 'knn', 'n'"):
        make_head("knn", {"n": 3})
    with pytest.raises(InputError, match="task=, --task.*labels=, --labels.*dataset=, --dataset.*; given: none"):
        heads.fit(store)
    with pytest.raises(InputError, match="given: task and dataset"):
        heads.fit(store, task="pfam", dataset="pfam")
    with pytest.raises(UnknownNameError, match="Unknown data set 'pfan'. Did you mean 'pfam'"):
        heads.fit(store, dataset="pfan")
    with pytest.raises(UnknownNameError, match="Unknown index 'flatt'. Did you mean 'flat'"):
        heads.lookup(store, [], task="pfam", index="flatt")
    bare = embedstore.open(tmp_path / "bare.zarr", mode="a")
    with pytest.raises(UnknownNameError, match="needs the data set 'pfam'.*`embedstore add pfam PATH`"):
        heads.fit(bare, task="pfam")


def test_a_head_of_another_space_is_refused(store: Store, splits_table: Path, tmp_path: Path) -> None:
    fitted = heads.fit(store, task="pfam")
    other = embedstore.open(tmp_path / "other.zarr", mode="a")
    other.add("pfam", splits_table)
    embedstore.build(other, embedstore.load_model("kmer"), dtype="float32")
    other.refresh()
    assert other.space().id != fitted.space_id
    with pytest.raises(
        SpaceMismatchError, match=f"head of another space: it was fitted on {fitted.space_id}.*{other.space().id}"
    ):
        heads.evaluate(other, fitted)
    with pytest.raises(SpaceMismatchError, match=f"fitted on {fitted.space_id}.*of {other.space().id}"):
        heads.evaluate(other, fitted, space="kmer")


def test_a_model_that_makes_other_vectors_is_refused(store: Store, splits_table: Path) -> None:
    identity = {**store.space().identity, "weights_sha256": "0" * 64}
    records = list(read_records(splits_table))[:1]
    with pytest.raises(SpaceMismatchError, match="weights_sha256"):
        record_features(Space(identity), records)


def test_features_stream_what_the_space_holds_in_the_order_of_the_keys(store: Store) -> None:
    digests = store.dataset("pfam").digests[::-1]
    features = SpaceFeatures(store.space(), digests)
    assert features.shape == (240, store.space().dim)
    blocks = list(features.blocks())
    assert blocks[0][1].dtype == np.float32
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), store.space().take(digests))


def test_importing_heads_and_listing_its_catalogs_loads_nothing_heavy() -> None:
    code = (
        "import sys, heads; assert 'numpy' not in sys.modules; list(heads.HEADS); list(heads.TASKS);"
        "print([m for m in ('torch', 'sklearn', 'zarr', 'pandas', 'safetensors', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_functions_stay_functions_once_their_modules_are_imported() -> None:

    assert all(callable(function) for function in (heads.fit, heads.predict, heads.evaluate, heads.lookup, heads.load))
    assert set(heads.__all__) <= set(dir(heads))
