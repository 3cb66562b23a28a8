"""Predictions of every kind: promises that hold, files that say what the arrays say, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import embedstore
import heads
from cli.heads_commands import app
from embedstore.errors import InputError, StoreWriteError
from embedstore.sequences import read_records
from embedstore.store import Store
from embedstore.store.pairs import add_pairs
from heads.api.prediction_writers import write_predictions
from heads.calibration.risk_control import ValidationPredictions
from heads.tasks import TaskSelection


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, simulated: Any) -> tuple[Store, Path]:
    """Proteins with a family, two labels, a number and a level each; half the families look like one another."""
    folder = tmp_path_factory.mktemp("several")
    rows = []
    for split, n, seed in (("train", 300, 1), ("valid", 240, 2), ("test", 120, 3)):
        for name, text, family in simulated.proteins(n, seed=seed):
            code = simulated.families.index(family)
            labels = [f"part{code % 3}", *(["red"] if code > 2 else [])]
            rows.append((name, text, family, "|".join(labels), str(code + 0.5), str(code // 2), split))
    header = ("id", "sequence", "family", "labels", "number", "level", "split")
    path = simulated.table(folder / "several.csv", rows, header)
    store = embedstore.open(folder / "s.zarr", mode="a")
    store.add("several", path)
    embedstore.build(store, embedstore.load_model("kmer"))
    store.refresh()
    return store, path


def fitted(store: Store, target_type: str, column: str, **options: Any) -> heads.FittedHead:
    options = {"label_separator": "|"} if target_type == "multilabel" else options
    return heads.fit(
        store,
        task=TaskSelection(dataset="several", label_column=column, target_type=target_type, **options),
        head="knn",
    )


def _test_rows(path: Path, n: int = 12) -> list[Any]:
    return [record for record in read_records(path) if record.columns["split"] == "test"][:n]


def test_every_kind_is_predicted_from_a_saved_head(several: tuple[Store, Path], tmp_path: Path) -> None:
    store, path = several
    records = _test_rows(path)
    for target_type, column in (
        ("class", "family"),
        ("multilabel", "labels"),
        ("regression", "number"),
        ("ordinal", "level"),
    ):
        head = heads.load(fitted(store, target_type, column).save(tmp_path / target_type))
        found = heads.predict(store, head, records)
        frame = found.to_frame()
        assert list(dict.fromkeys(frame["id"])) == [record.id for record in records]
        truth = [record.columns[column] for record in records]
        if target_type == "class":
            assert frame["label"].tolist() == truth
        elif target_type == "multilabel":
            for labels, document in zip(truth, found.to_dicts(), strict=True):
                assert {one["label"] for one in document["labels"]} == set(labels.split("|"))
        else:
            name = "value" if target_type == "regression" else "label"
            np.testing.assert_allclose(frame[name], np.array(truth, float), atol=0.3)
    assert (frame["probability"] > 0.5).all()


def test_a_number_comes_with_an_interval_that_covers(several: tuple[Store, Path]) -> None:
    store, path = several
    records = _test_rows(path, 120)
    frame = heads.predict(store, fitted(store, "regression", "number"), records).to_frame()
    assert list(frame.columns) == ["id", "value", "low", "high"]
    truth = np.array([float(record.columns["number"]) for record in records])
    assert ((frame["low"] <= truth) & (truth <= frame["high"])).mean() >= 0.9


def test_conformal_intervals_hold_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        residuals = np.abs(rng.normal(size=99)).astype(np.float32)
        empty = np.zeros(0)
        validation = ValidationPredictions(
            confidences=empty.astype(np.float32),
            right=empty.astype(np.bool_),
            clusters=empty.astype(np.int64),
            residuals=residuals,
        )
        half = validation.interval_half_width()
        assert half is not None
        covered.append((np.abs(rng.normal(size=200)) <= half).mean())
    assert 0.94 < np.mean(covered) < 0.97
    few = ValidationPredictions(
        confidences=residuals[:0], right=validation.right, clusters=validation.clusters, residuals=residuals[:18]
    )
    assert few.interval_half_width() is None


def simulated_validation(
    rng: np.random.Generator, n: int, *, per_protein: int = 1
) -> tuple[ValidationPredictions, np.ndarray, np.ndarray]:
    """Answers whose probability is honest but for a third, which are right half as often as they say."""

    def draw(m: int) -> tuple[np.ndarray, np.ndarray]:
        said = np.repeat(rng.beta(4, 1, m), per_protein)
        true = said * np.where(np.repeat(rng.random(m) < 1 / 3, per_protein), 0.5, 1.0) ** (said < 0.9)
        return said.astype(np.float32), rng.random(len(said)) < true

    said, right = draw(n)
    owner = np.repeat(np.arange(n), per_protein)
    validation = ValidationPredictions(confidences=said, right=right, clusters=owner, residuals=np.zeros(0, np.float32))
    return validation, *draw(5_000)


@pytest.mark.parametrize("per_protein", [1, 5])
def test_abstention_keeps_its_promise(per_protein: int) -> None:
    broken, answered = 0, []
    for seed in range(40):
        validation, said, right = simulated_validation(np.random.default_rng(seed), 800, per_protein=per_protein)
        risk = validation.risk_threshold(0.1)
        given = said >= risk.threshold
        broken += given.any() and (~right[given]).mean() > 0.1
        answered.append(given.mean())
    # Broken in at most 5% of the cases: 40 draws of 5% give 6 or more once in fifty times.
    assert broken <= 5
    assert np.mean(answered) > 0.1


def test_what_cannot_be_promised_is_refused(several: tuple[Store, Path]) -> None:
    store, path = several
    records = _test_rows(path)
    head = fitted(store, "class", "family")
    with pytest.raises(InputError, match=r"An error of at most 0.001 needs 4,093 or more validation proteins; .*"):
        heads.predict(store, head, records, max_error=0.001)
    with pytest.raises(InputError, match="max_error is 1.5; expected a share"):
        heads.predict(store, head, records, max_error=1.5)
    with pytest.raises(InputError, match="predicts numbers, which are not right or wrong"):
        heads.predict(store, fitted(store, "regression", "number"), records, max_error=0.1)
    head = heads.fit(store, task=TaskSelection(dataset="several", label_column="family", split_by="random"), head="knn")
    assert heads.predict(store, head, records, max_error=0.3).risk_threshold is not None


def test_answers_are_given_up_where_the_promise_says_so(several: tuple[Store, Path], simulated: Any) -> None:
    store, path = several
    head = fitted(store, "class", "family")
    found = heads.predict(store, head, _test_rows(path), max_error=0.05)
    frame = found.to_frame()
    assert found.risk_threshold is not None
    assert frame["answered"].tolist() == (found.probabilities[:, 0] >= found.risk_threshold.threshold).tolist()
    assert frame["label"][~frame["answered"]].isna().all()
    assert (frame["candidate"] != "").all()


def test_files_say_what_the_frame_says(several: tuple[Store, Path], tmp_path: Path) -> None:
    store, path = several
    records = _test_rows(path, 40)
    for target_type, column, top in (("class", "family", 3), ("multilabel", "labels", 1), ("regression", "number", 1)):
        head = fitted(store, target_type, column)
        whole = heads.predict(store, head, records, top=top)
        batches = [heads.predict(store, head, part, top=top) for part in (records[:7], records[7:8], records[8:])]
        files = [tmp_path / f"{target_type}{ending}" for ending in (".tsv", ".json", ".parquet", ".csv")]
        assert [write_predictions(file, iter(batches)) for file in files] == [40] * 4
        assert [one["id"] for one in json.loads(files[1].read_text())] == (
            whole.ids if target_type != "class" else np.repeat(whole.ids, 3).tolist()
        )
        texts = (pd.read_csv(file, sep=sep, keep_default_na=False) for file, sep in ((files[0], "\t"), (files[3], ",")))
        for read in (*texts, pd.read_parquet(files[2])):
            pd.testing.assert_frame_equal(read, whole.to_frame(), check_dtype=False, rtol=1e-4)
    assert len(list(tmp_path.iterdir())) == 12


def test_a_label_with_a_comma_is_one_cell(several: tuple[Store, Path], tmp_path: Path) -> None:
    store, path = several
    found = heads.predict(store, fitted(store, "class", "family"), _test_rows(path, 2))
    found.ids[0] = 'a,"b"\rc'
    write_predictions(tmp_path / "out.csv", [found])
    assert pd.read_csv(tmp_path / "out.csv")["id"].tolist() == ['a,"b" c', found.ids[1]]


def test_a_write_that_fails_leaves_what_was_there(several: tuple[Store, Path], tmp_path: Path) -> None:
    store, path = several
    target = tmp_path / "out.tsv"
    target.write_text("earlier")
    batch = heads.predict(store, fitted(store, "class", "family"), _test_rows(path))

    def breaking() -> Any:
        yield batch
        raise InputError("a broken record")

    with pytest.raises(InputError, match="a broken record"):
        write_predictions(target, breaking())
    assert target.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(InputError, match=r"out.xlsx does not say a format; expected .*\.tsv, \.csv, \.json, \.parquet"):
        write_predictions(tmp_path / "out.xlsx", [batch])
    with pytest.raises(StoreWriteError, match="could not be written"):
        write_predictions(tmp_path / "no" / "out.tsv", [batch])


def test_residues_come_as_a_letter_each(tmp_path: Path, simulated: Any) -> None:
    rows = []
    for split, n, seed in (("train", 40, 1), ("valid", 30, 2), ("test", 6, 3)):
        for name, text, _ in simulated.proteins(n, seed=seed):
            text = text[: 30 + len(rows) % 7]
            rows.append((name, text, "".join("H" if letter in "AELMQKRH" else "C" for letter in text), split))
    table = simulated.table(tmp_path / "ss.csv", rows, ("id", "sequence", "label", "split"))
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    store.add("ss", table)
    embedstore.build(store, embedstore.load_model("mini"), residues=True, pooling=[])
    store.refresh()
    head = heads.fit(store, task=TaskSelection(dataset="ss", input="residue"))
    report = heads.evaluate(store, head)
    assert report.metrics["accuracy"].value > 0.9
    assert report.metrics["accuracy_per_protein"].value == pytest.approx(report.metrics["accuracy"].value, abs=0.05)
    asked = [row for row in rows if row[3] == "test"] + [("new", "MKVLATGHEE", "", "")]
    fasta = simulated.fasta(tmp_path / "q.fasta", asked)
    found = heads.predict(store, head.save(tmp_path / "head"), fasta)
    assert [len(text) for text in found.letters or []] == [len(row[1]) for row in asked]
    pairs = zip(found.letters or [], asked, strict=True)
    right = sum(a == b for text, row in pairs for a, b in zip(text, row[2], strict=False))
    assert right > 0.9 * sum(len(row[2]) for row in asked)
    done = CliRunner().invoke(
        app,
        ["predict", str(tmp_path / "head"), str(fasta), "--out", str(tmp_path / "out.fasta"), "--max-error", "0.3"],
        env={"EMBEDSTORE": str(store.path)},
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    written = (tmp_path / "out.fasta").read_text().split(">")[1:]
    assert [entry.split("\n")[0] for entry in written] == [row[0] for row in asked]
    assert [len("".join(entry.split("\n")[1:])) for entry in written] == [len(row[1]) for row in asked]
    assert "at most" in done.stderr
    write_predictions(tmp_path / "out.parquet", [found], probabilities=True)
    read = pd.read_parquet(tmp_path / "out.parquet")
    assert [len(p) for p in read["probabilities"]] == [len(row[1]) for row in asked]


@pytest.mark.slow
def test_pairs_are_read_from_two_columns(tmp_path: Path, simulated: Any) -> None:
    rows = []
    for split, n, seed in (("train", 160, 1), ("valid", 40, 2), ("test", 20, 3)):
        proteins = simulated.proteins(n, seed=seed)
        for number, first in enumerate(proteins):
            second = proteins[(number + (6 if number % 2 else 1)) % n]
            rows.append((f"{split}{number}", first[1], second[1], str(int(first[2] == second[2])), split))
    table = simulated.table(tmp_path / "ppi.csv", rows, ("id", "sequence", "sequence_2", "label", "split"))
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    add_pairs(store, "ppi", table, partner_column="sequence_2")
    embedstore.build(store, embedstore.load_model("kmer"))
    store.refresh()
    head = heads.fit(store, task=TaskSelection(dataset="ppi", partner_column="sequence_2"), head="knn")
    report = heads.evaluate(store, head)
    others = zip(simulated.proteins(6, seed=8), simulated.proteins(6, seed=9), strict=True)
    new = [(f"new{n}", a[1], b[1]) for n, (a, b) in enumerate(others)]
    asked = simulated.table(tmp_path / "q.csv", new, ("id", "sequence", "sequence_2"))
    found = heads.predict(store, head, asked)
    assert (report.input, found.input) == ("pair", "pair")
    again = heads.predict(store, head, table)
    test = [number for number, row in enumerate(rows) if row[4] == "test"]
    assert (again.labels[test, 0] == np.array([rows[n][3] for n in test])).mean() == report.metrics["accuracy"].value
    with pytest.raises(InputError, match="'a' has no second sequence; this head predicts pairs"):
        heads.predict(store, head, simulated.fasta(tmp_path / "one.fasta", [("a", "MKVLAT")]))


def test_a_head_that_reads_sequences_predicts_without_a_space(several: tuple[Store, Path], simulated: Any) -> None:
    store, path = several
    head = heads.fit(store, task=TaskSelection(dataset="several", label_column="family"), head="composition")
    found = heads.predict(None, head, _test_rows(path))
    assert found.labels[:, 0].tolist() == [record.columns["family"] for record in _test_rows(path)]
