"""Nearest family: what is found, how likely it is, and when nothing is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import embedstore
import heads
from embedstore.errors import InputError, MissingPackageError, StoreNotFoundError, UnknownNameError
from embedstore.indexes import api
from embedstore.indexes.stored_index import StoredIndex
from embedstore.sequences import read_records
from embedstore.store import Store
from embedstore.types import Record
from heads.features.sources import record_features
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection
from tests.heads.conftest import LETTERS

COLUMNS = ["id", "label", "answered", "probability", "candidate", "score", "vote", "neighbour"]


def random_proteins(n: int, *, length: int = 80, seed: int = 3) -> list[Record]:
    """Proteins of no family."""
    drawn = np.random.default_rng(seed).choice(LETTERS, (n, length)).astype(np.uint8)
    return [Record(id=f"random{number}", residues=row.tobytes()) for number, row in enumerate(drawn)]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Store]:
    """Make a store of a table of labelled proteins, as data set ``mine``, and its k-mer space."""

    def make(rows: list[tuple[str, ...]], header: tuple[str, ...] = ("id", "sequence", "label", "split")) -> Store:
        folder = tmp_path_factory.mktemp("labelled")
        pd.DataFrame(rows, columns=list(header)).to_csv(folder / "mine.csv", index=False)
        opened = embedstore.open(folder / "proteins.zarr", mode="a")
        opened.add("mine", folder / "mine.csv")
        embedstore.build(opened, embedstore.load_model("kmer"))
        opened.refresh()
        return opened

    return make


def test_lookup_finds_the_family_its_score_and_its_nearest_member(store: Store, tmp_path: Path, simulated: Any) -> None:
    data = read_task(TaskSelection(task="pfam"), store)
    train = data.rows("train")
    queries = simulated.fasta(tmp_path / "new.fasta", simulated.proteins(12, seed=9))
    hits = heads.lookup(store, queries, task="pfam", k=5)
    assert hits.labels.tolist() == hits.candidates.tolist() == list(simulated.families) * 2
    vectors = np.asarray(store.space().take(data.digests[train]), np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = record_features(store.space(), list(read_records(queries))).vectors.astype(np.float64)
    scores = asked / np.linalg.norm(asked, axis=1, keepdims=True) @ vectors.T
    np.testing.assert_allclose(hits.scores, scores.max(axis=1), atol=1e-5)
    assert hits.nearest_ids == [data.ids[row] for row in train[scores.argmax(axis=1)]]
    assert ((hits.votes > 0) & (hits.votes <= 1 + 1e-6)).all()
    assert hits.neighbours.scores.shape == hits.neighbour_ids.shape == hits.neighbour_labels.shape == (12, 5)
    assert hits.neighbour_ids[:, 0].tolist() == hits.nearest_ids
    assert hits.to_frame().columns.tolist() == COLUMNS


def test_unknown_families_get_no_confident_hit_and_their_evidence_stays(store: Store) -> None:
    hits = heads.lookup(store, random_proteins(20), task="pfam")
    assert not hits.answered.any()
    assert set(hits.labels) == {""}
    assert (hits.probabilities < 0.5).all()
    assert all(hits.candidates)
    assert all(hits.nearest_ids)


def test_a_stated_error_is_kept_on_families_that_were_not_tuned_on(store: Store, simulated: Any) -> None:
    known = [Record(id=name, residues=text.encode()) for name, text, _ in simulated.proteins(300, seed=21)]
    asked = [*known, *random_proteins(33)]
    hits = heads.lookup(store, asked, task="pfam", max_error=0.1)
    true = np.array([*(simulated.families[row % 6] for row in range(300)), *["none"] * 33])
    assert hits.risk_threshold is not None
    assert hits.risk_threshold.upper_bound <= 0.1
    assert (hits.labels[hits.answered] != true[hits.answered]).mean() <= 0.1
    assert hits.answered[:300].mean() > 0.8


def test_an_error_that_the_rows_cannot_promise_says_how_many_it_takes(store: Store) -> None:
    with pytest.raises(
        InputError, match=r"at most 0.01 needs 408 or more calibration rows; there are \d+ \(validation"
    ):
        heads.lookup(store, [], task="pfam", max_error=0.01)


def test_the_probability_falls_with_the_share_of_unknown_families(store: Store, simulated: Any) -> None:
    asked = [Record(id=name, residues=text.encode()) for name, text, _ in simulated.proteins(6, seed=31)]
    asked += random_proteins(6)
    few, many = (heads.lookup(store, asked, task="pfam", unknown_share=share).probabilities for share in (0.01, 0.8))
    assert few.mean() > many.mean()


def test_lookup_searches_the_training_rows_unless_told_otherwise(store: Store, splits_table: Path) -> None:
    data = read_task(TaskSelection(task="pfam"), store)
    row = int(data.rows("test")[0])
    record = next(record for record in list(read_records(splits_table)) if record.id == data.ids[row])
    assert heads.lookup(store, [record], task="pfam").scores[0] < 0.999
    every = heads.lookup(store, [record], task="pfam", reference="all")
    assert every.nearest_ids == [record.id]
    assert every.scores[0] == pytest.approx(1)
    with pytest.raises(InputError, match="reference is 'test'; expected one of train, all"):
        heads.lookup(store, [record], task="pfam", reference="test")


def test_a_training_protein_finds_itself_unless_that_is_excluded(store: Store, splits_table: Path) -> None:
    record = next(iter(read_records(splits_table)))
    assert heads.lookup(store, [record], task="pfam").nearest_ids == [record.id]
    other = heads.lookup(store, [record], task="pfam", exclude_self=True)
    assert other.nearest_ids != [record.id]
    assert record.id not in other.neighbour_ids[0]
    assert other.neighbours.k == 10


def test_lookup_does_not_depend_on_the_batch(store: Store, splits_table: Path) -> None:
    records = list(read_records(splits_table))[::7]
    whole = heads.lookup(store, records, task="pfam", k=3).to_frame()
    alone = [heads.lookup(store, [record], task="pfam", k=3).to_frame() for record in records[:6]]
    assert whole[:6].equals(pd.concat(alone, ignore_index=True))


def test_no_records_have_no_hits_and_an_empty_file_is_an_error(store: Store, tmp_path: Path) -> None:
    hits = heads.lookup(store, [], task="pfam", align=True, window=40)
    assert len(hits) == len(hits.to_frame()) == len(hits.neighbours_frame()) == 0
    assert set(COLUMNS) < set(hits.to_frame().columns)
    (tmp_path / "empty.fasta").write_text("")
    with pytest.raises(InputError, match=r"empty\.fasta is empty"):
        heads.lookup(store, tmp_path / "empty.fasta", task="pfam")


def test_lookup_goes_through_the_index_that_is_kept(
    labelled: Any, simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(*row, "train" if number % 8 else "valid") for number, row in enumerate(simulated.proteins(1400, seed=1))]
    opened = labelled(rows)
    asked = [Record(id=name, residues=text.encode()) for name, text, _ in simulated.proteins(20, seed=41)]
    expected = heads.lookup(opened, asked, dataset="mine")
    embedstore.build_index(opened, index_type="ivf_pq")
    monkeypatch.setattr(api, "EXACT_ROWS", 100)
    used: list[int] = []
    candidates = StoredIndex.candidates

    def counted(self: StoredIndex, asked: Any, *rest: Any) -> Any:
        used.append(len(asked))
        return candidates(self, asked, *rest)

    monkeypatch.setattr(StoredIndex, "candidates", counted)
    found = heads.lookup(opened, asked, dataset="mine")
    assert 20 in used
    assert found.candidates.tolist() == expected.candidates.tolist()
    with pytest.raises(StoreNotFoundError, match="no index of kind 'hnsw'"):
        heads.lookup(opened, asked, dataset="mine", index="hnsw")


@pytest.mark.parametrize("k", [1, 2, 10_000])
def test_any_number_of_neighbours_can_vote(store: Store, simulated: Any, k: int) -> None:
    asked = [Record(id=name, residues=text.encode()) for name, text, _ in simulated.proteins(6, seed=41)]
    hits = heads.lookup(store, asked, task="pfam", k=k)
    assert hits.candidates.tolist() == list(simulated.families)
    assert hits.neighbours.k == min(k, len(np.unique(hits.neighbours.digests.reshape(-1, 24), axis=0)) if k > 2 else k)
    assert ((hits.probabilities > 0) & (hits.probabilities < 1)).all()


def test_a_family_with_one_member_is_found(labelled: Any, simulated: Any) -> None:
    rows = [(*row, "train" if number < 120 else "valid") for number, row in enumerate(simulated.proteins(180, seed=1))]
    single = random_proteins(1)[0].residues.decode()
    opened = labelled([*rows, ("only", single, "single", "train")])
    hits = heads.lookup(opened, [Record(id="q", residues=single[1:].encode())], dataset="mine")
    assert hits.candidates.tolist() == ["single"]
    assert hits.nearest_ids == ["only"]


def test_a_task_with_one_family_gives_no_probability_and_promises_nothing(labelled: Any, simulated: Any) -> None:
    rows = [row for row in simulated.proteins(400, seed=1) if row[2] == simulated.families[0]]
    opened = labelled([(*row, "train" if number < 30 else "valid") for number, row in enumerate(rows)])
    hits = heads.lookup(opened, random_proteins(2), dataset="mine")
    assert np.isnan(hits.probabilities).all()
    assert hits.to_dicts()[0]["probability"] is None
    assert "one family" in hits.calibration.reason
    with pytest.raises(InputError, match=r"at most 0.2 cannot be guaranteed: the reference has one family"):
        heads.lookup(opened, [], dataset="mine", max_error=0.2)


def test_without_a_validation_split_training_rows_are_held_out(labelled: Any, simulated: Any) -> None:
    opened = labelled([(*row, "train") for row in simulated.proteins(600, seed=1)])
    hits = heads.lookup(opened, random_proteins(5), dataset="mine")
    assert "a tenth of the training rows" in hits.calibration.source
    assert 30 <= hits.calibration.n_known < 100
    assert not hits.answered.any()


def test_with_too_few_labels_there_are_neighbours_and_no_probabilities(labelled: Any, simulated: Any) -> None:
    opened = labelled([(*row, "train") for row in simulated.proteins(30, seed=1)])
    asked = [Record(id=name, residues=text.encode()) for name, text, _ in simulated.proteins(6, seed=41)]
    hits = heads.lookup(opened, asked, dataset="mine")
    assert hits.labels.tolist() == list(simulated.families)
    assert "30 are needed" in hits.calibration.reason
    assert np.isnan(hits.probabilities).all()


def test_the_test_split_changes_nothing(labelled: Any, simulated: Any) -> None:
    rows = [(*row, "train" if number < 120 else "valid") for number, row in enumerate(simulated.proteins(180, seed=1))]
    tests = [(name, text, "another", "test") for name, text, _ in simulated.proteins(60, seed=2)]
    asked = random_proteins(5)
    plain, more = (heads.lookup(labelled(made), asked, dataset="mine") for made in (rows, rows + tests))
    assert plain.to_frame().equals(more.to_frame())


def test_arguments_out_of_range_are_refused(store: Store) -> None:
    for arguments, message in (
        ({"k": 0}, "k is 0; it must be at least 1"),
        ({"max_error": 0.0}, "max_error is 0; expected a share between 0 and 1"),
        ({"confidence": 1.0}, "confidence is 1; expected from 0.5"),
        ({"unknown_share": 1.0}, "unknown_share is 1; expected from 0"),
        ({"window": 0}, "window is 0; expected numbers of residues"),
        ({"window": 40, "step": 0}, "step is 0; expected at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            heads.lookup(store, [], task="pfam", **arguments)
    with pytest.raises(UnknownNameError, match="Unknown task 'pfan'. Did you mean 'pfam'"):
        heads.lookup(store, [], task="pfan")


def test_evidence_is_a_row_a_neighbour_for_pandas_and_nested_for_json(store: Store, simulated: Any) -> None:
    asked = [Record(id=name, residues=text.encode()) for name, text, _ in simulated.proteins(3, seed=41)]
    hits = heads.lookup(store, asked, task="pfam", k=4)
    frame = hits.neighbours_frame(2)
    assert frame.columns.tolist() == [*COLUMNS, "rank", "neighbour_id", "neighbour_label", "neighbour_score"]
    assert frame["rank"].tolist() == [1, 2] * 3
    assert frame["id"].tolist() == [record.id for record in asked for _ in range(2)]
    told = hits.to_dicts(4)[0]
    assert [one["id"] for one in told["neighbours"]] == hits.neighbour_ids[0].tolist()
    assert len(told["neighbours"]) == 4


def test_each_hit_can_be_aligned_with_its_neighbour(store: Store, simulated: Any) -> None:
    name, text, _ = simulated.proteins(1, seed=41)[0]
    hits = heads.lookup(store, [Record(id=name, residues=text.encode())], task="pfam", align=True)
    assert hits.alignments is not None
    (found,) = hits.alignments
    target = store.sequences.take(hits.nearest_digests)[0].decode()
    assert found.target.replace("-", "") == target[found.target_start - 1 : found.target_stop]
    assert found.query.replace("-", "") == text[found.query_start - 1 : found.query_stop]
    same = sum(a == b for a, b in zip(found.query, found.target, strict=True))
    assert found.identity == pytest.approx(same / len(found.query))
    assert 0.6 < found.identity < 1
    assert hits.to_frame()[["identity", "coverage"]].shape == (1, 2)
    assert found.text().splitlines()[0].startswith("query")


def test_alignments_without_parasail_name_the_command_that_installs_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "parasail", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'embedstore\[align\]'"):
        heads.lookup(store, [], task="pfam", align=True)


def test_windows_find_both_families_of_a_joined_protein_and_where_they_lie(store: Store, simulated: Any) -> None:
    (_, first, one), (_, second, other) = simulated.proteins(2, seed=51)
    linker = random_proteins(1, length=60)[0].residues.decode()
    hits = heads.lookup(
        store,
        [Record(id="joined", residues=(first + linker + second).encode()), *random_proteins(1, length=200)],
        task="pfam",
        window=80,
        step=10,
    )
    frame = hits.to_frame()
    found = frame[(frame.id == "joined") & frame.answered]
    assert {one, other} <= set(found.label)
    for label, start, stop in ((one, 1, 80), (other, 141, 220)):
        row = found[found.label == label].iloc[0]
        assert abs(row.start - start) <= 20
        assert abs(row.stop - stop) <= 20
    assert frame[frame.id == "random0"].answered.tolist() == [False]


@pytest.fixture(scope="module")
def places(labelled: Any, simulated: Any) -> Store:
    """Proteins with one or two labels: their family's number and whether it is even."""
    rows = []
    for number, (name, text, family) in enumerate(simulated.proteins(600, seed=1)):
        labels = family + ("|even" if simulated.families.index(family) % 2 == 0 else "")
        rows.append((name, text, labels, "train" if number < 300 else "valid"))
    return labelled(rows)


def test_several_labels_a_protein_get_a_set_with_a_probability_each(places: Store, simulated: Any) -> None:
    asked = [Record(id=name, residues=text.encode()) for name, text, _ in simulated.proteins(6, seed=61)]
    hits = heads.lookup(places, asked, task=TaskSelection(dataset="mine", label_separator="|"), max_error=0.1)
    given = hits.to_frame().query("answered").groupby("id").label.agg(set)
    for number, record in enumerate(asked):
        expected = {simulated.families[number]} | ({"even"} if number % 2 == 0 else set())
        assert given[record.id] == expected
    with pytest.raises(InputError, match="several labels a protein .*, which head 'linear' cannot do"):
        _fit_several(places)


def _fit_several(opened: Store) -> None:
    from heads.tasks import TASKS, Task

    row = TASKS["pfam"]
    task = Task(
        name="places", target=row.target, dataset="mine", label_columns=("label",), target_type="multilabel",
        label_separator="|", licence="", citation="", source_url="", summary="",
    )  # fmt: skip
    read_task_row(task, opened).require_one_label("head 'linear'")


def read_task_row(task: Any, opened: Store) -> Any:
    from heads.tasks.readers import read_dataset

    return read_dataset(task, TaskSelection(task=task.name), opened)


def test_windows_of_a_task_with_several_labels_are_refused(places: Store) -> None:
    with pytest.raises(InputError, match="a search of windows .* cannot do"):
        heads.lookup(places, [], task=TaskSelection(dataset="mine", label_separator="|"), window=40)


def _kept(data_dir: Path, name: str, split: str) -> pd.DataFrame:
    return pd.read_csv(data_dir / name / f"{split}.csv.gz", dtype=str)[["id", "sequence", "label"]].assign(split=split)


def test_a_promise_is_kept_on_real_proteins_a_tenth_of_whose_families_nobody_has_seen(
    data_dir: Path, labelled: Any
) -> None:
    train, valid, test = (_kept(data_dir, "kog_cegma", split) for split in ("train", "valid", "test"))
    families = np.unique(train.label)
    unknown = np.random.default_rng(0).choice(families, len(families) // 10, replace=False)
    seen = pd.concat([train, valid])
    opened = labelled(seen[~seen.label.isin(unknown)].to_numpy().tolist())
    asked = [Record(id=row.id, residues=row.sequence.encode()) for row in test.itertuples()]
    hits = heads.lookup(opened, asked, dataset="mine", max_error=0.1)
    wrong = hits.labels[hits.answered] != test.label.to_numpy()[hits.answered]
    assert wrong.mean() <= 0.1
    known = ~test.label.isin(unknown).to_numpy()
    assert hits.answered[known].mean() > 0.9
    assert hits.answered[~known].mean() < 0.7
