"""What the ``heads`` commands and ``embedstore lookup`` tell, beyond what the library returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.embedstore_commands import app as embedstore_app
from cli.heads_commands import app as heads_app
from embedstore.errors import EmbedstoreError, InputError
from embedstore.store import Store
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection


@pytest.fixture
def heads(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run ``heads`` in an empty folder on the store of simulated families."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(heads_app, list(arguments), env={"EMBEDSTORE": str(store.path)})

    return run


def test_a_data_set_is_fitted_and_evaluated_by_its_name(heads: Any, tmp_path: Path, store: Store) -> None:
    done = heads("fit", "--dataset", "pfam", "--label-column", "family_accession", "--head", "linear")
    assert done.exit_code == 0
    assert (tmp_path / "pfam-linear" / "head.json").is_file()
    report = json.loads(heads("evaluate", "--dataset", "pfam", "--json").stdout)
    assert (report["n_rows"], report["training_changed"]) == (48, False)
    (tmp_path / "one.fasta").write_text(">a\nMKVLATMKVLAT\n")
    looked_up = CliRunner().invoke(
        embedstore_app,
        ["lookup", "one.fasta", "--dataset", "pfam", "--index", "flat", "--json"],
        env={"EMBEDSTORE": str(store.path)},
    )
    assert [row["id"] for row in json.loads(looked_up.stdout)] == ["a"]


def test_fit_counts_the_rows_of_each_split_and_tells_of_a_head_that_it_replaced(heads: Any) -> None:
    first = heads("fit", "--task", "pfam").stderr
    assert "150 training, 42 validation and 48 test rows (column split)" in first
    assert "replaced" not in first
    assert "pfam-linear (replaced): linear on" in heads("fit", "--task", "pfam").stderr
    assert json.loads(heads("fit", "--task", "pfam", "--json").stdout)["replaced"] is True


def test_contradictory_labels_and_changed_training_rows_are_one_warning_each(
    heads: Any, tmp_path: Path, simulated: Any
) -> None:
    rows = [(*row, "train" if number < 100 else "test") for number, row in enumerate(simulated.proteins(150, seed=1))]
    header = ("id", "sequence", "label", "split")
    simulated.table(tmp_path / "mine.csv", [*rows, ("again", rows[0][1], "another", "train")], header)
    told = heads("fit", "--labels", "mine.csv", "--out", "head").stderr.splitlines()
    assert [
        line for line in told if line.startswith("warning: sequences with several labels in the training rows: 1;")
    ] == told[1:]
    assert "warning" not in heads("evaluate", "head").stderr
    simulated.table(tmp_path / "mine.csv", rows, header)
    told = heads("evaluate", "head").stderr.splitlines()
    assert [line.startswith("warning: the training rows are other ones now") for line in told].count(True) == 1


def test_a_prediction_that_fails_leaves_what_was_there_and_never_overwrites_its_proteins(
    heads: Any, tmp_path: Path, simulated: Any
) -> None:
    heads("fit", "--task", "pfam")
    rows = [(*row, "test") for row in simulated.proteins(3, seed=1)]
    proteins = simulated.table(tmp_path / "some.csv", rows, ("id", "sequence", "label", "split"))
    before = proteins.read_bytes()
    (tmp_path / "kept.tsv").write_text("what was there")
    misspelt = heads("predict", "pfam-linear", "some.csv", "--split", "Tset", "--out", "kept.tsv")
    assert isinstance(misspelt.exception, InputError)
    assert "has the split 'Tset'" in str(misspelt.exception)
    assert (tmp_path / "kept.tsv").read_text() == "what was there"
    onto = heads("predict", "pfam-linear", "some.csv", "--out", "some.csv")
    assert "some.csv is what is read, and would be lost" in str(onto.exception)
    assert proteins.read_bytes() == before
    assert heads("predict", "pfam-linear", "some.csv", "--out", "kept.tsv").exit_code == 0


def test_rows_that_are_left_out_and_proteins_of_unknown_letters_are_told(
    heads: Any, tmp_path: Path, simulated: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(*row, "train" if number < 60 else "test") for number, row in enumerate(simulated.proteins(80, seed=1))]
    rows += [
        ("neither", "MKVLAF", "", ""),
        ("bare", "MKVLAT", "", "train"),
        ("nowhere", "MKVLAC", "F0", ""),
        ("hollow", "", "F0", "train"),
    ]
    simulated.table(tmp_path / "mine.csv", rows, ("id", "sequence", "label", "split"))
    told = heads("fit", "--labels", "mine.csv", "--head", "composition", "--out", "head").stderr
    assert "rows left out: 2 without a label, 1 without a protein, 1 in no part of the split." in told
    assert "left out 'hollow'" in caplog.text
    (tmp_path / "few.fasta").write_text(">known\nMKVLATMKVLAT\n>masked\nMKXXXBXX\n")
    told = heads("predict", "head", "few.fasta").stderr
    assert "half of the letters or more name no residue (X, B, Z, J): 1." in told
    assert "'masked'" in told


def test_a_place_that_cannot_be_written_is_refused_before_the_work(heads: Any, tmp_path: Path) -> None:
    done = heads("compare", "--task", "pfam", "--out", "nowhere/x")
    assert isinstance(done.exception, InputError)
    assert "nowhere/x cannot be written: there is no folder" in str(done.exception)
    (tmp_path / "file").write_text("")
    for command in ("fit", "finetune"):
        assert "file/x cannot be written" in str(heads(command, "--task", "pfam", "--out", "file/x").exception)
    assert heads("fit", "--task", "pfam", "--out", "new/folders/x").exit_code == 0
    (tmp_path / "old.tsv").write_text("")
    typo = heads("predict", "new/folders/x", "typo.fasta", "--out", "old.tsv")
    assert "typo.fasta" in str(typo.exception)
    assert isinstance(typo.exception, EmbedstoreError)


def test_a_folder_that_is_no_head_is_refused_before_the_work(heads: Any, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    done = heads("fit", "--task", "pfam", "--head", "no_such_head", "--out", "notes")
    assert "notes is there and is no fitted head" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "pfam-linear", "--task", "pfam"], "one of the two"),
        (["evaluate", "pfam-linear", "--head", "knn"], "one of the two"),
        (["evaluate", "--task", "pfam", "--dataset", "pfam"], "one of the two"),
        (["evaluate"], "one of the two"),
        (["fit", "--task", "pfam", "--seed", "-1"], "seed is -1; expected 0 or more"),
        (["fit"], "--task.*--labels.*--dataset"),
    ],
)
def test_contradictory_options_are_refused(heads: Any, arguments: list[str], message: str) -> None:
    done = heads(*arguments)
    assert isinstance(done.exception, InputError)
    with pytest.raises(InputError, match=message):
        raise done.exception


def test_a_table_with_unusual_columns_is_fitted(heads: Any, tmp_path: Path, simulated: Any) -> None:
    rows = [("Protein ID", "Seq", "label"), *simulated.proteins(150, seed=1)]
    (tmp_path / "excel.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    done = heads("fit", "--labels", "excel.tsv", "--id-column", "Protein ID", "--sequence-column", "Seq")
    assert done.exit_code == 0
    assert heads("evaluate", "excel-linear", "--split", "valid").exit_code == 0


def test_rows_that_are_no_proteins_are_left_out_where_that_was_asked_for(
    heads: Any, tmp_path: Path, simulated: Any
) -> None:
    rows = [("id", "sequence", "label"), *simulated.proteins(150, seed=1), ("odd", "MKV1LAT", "f0")]
    (tmp_path / "mine.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    refused = heads("fit", "--labels", "mine.csv", "--head", "composition").exception
    assert "line 152, record 'odd': character '1'" in str(refused)
    done = heads("fit", "--labels", "mine.csv", "--head", "composition", "--skip-invalid")
    assert done.exit_code == 0
    assert heads("evaluate", "mine-composition", "--split", "valid").exit_code == 0
    assert "rows left out: 1 without a protein" in done.stderr
    needless = heads("fit", "--task", "pfam", "--skip-invalid").exception
    assert "Leave skip_invalid out" in str(needless)


def test_pairs_with_a_partner_that_is_no_protein_are_left_out_where_that_was_asked_for(
    tmp_path: Path, simulated: Any
) -> None:
    proteins = simulated.proteins(60, seed=1)
    lines = ["id,sequence,partner,label"]
    for (name, first, label), (_, second, _) in zip(proteins, reversed(proteins), strict=True):
        lines.append(f"{name},{first},{second},{label}")
    lines += [f"odd,{proteins[0][1]},MK1V,{proteins[0][2]}", f"none,{proteins[0][1]},,{proteins[0][2]}"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    given = {"labels": tmp_path / "pairs.csv", "partner_column": "Partner", "seed": 0}
    with pytest.raises(InputError, match="'odd', column 'Partner': .*character '1'"):
        read_task(TaskSelection(**given), None)
    data = read_task(TaskSelection(**given, skip_invalid=True), None)
    assert (len(data.ids), data.n_left_out) == (60, 2)


def test_labels_that_look_like_something_else_are_questioned(
    heads: Any, tmp_path: Path, simulated: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["id,sequence,number,letters,year,censored"]
    for number, (name, residues, _) in enumerate(simulated.proteins(150, seed=1)):
        cut = residues[number % 5 :]
        lines.append(
            f"{name},{cut},{number / 7:.3f},{'H' * len(cut)},{1990 + number % 30},{'>' * (number % 5 == 0)}{number}"
        )
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")

    def told(column: str, *more: str) -> str:
        caplog.clear()
        heads("fit", "--labels", "mine.csv", "--label-column", column, "--head", "composition", *more)
        return caplog.text

    assert "column 'number' holds 150 different numbers" in told("number")
    assert told("number", "--kind", "regression") + told("number", "--kind", "class") == ""
    assert "To predict a letter for each residue" in told("letters")
    assert told("censored") == ""
    assert told("year") == ""


@pytest.fixture
def look_up(store: Store, tmp_path: Path, simulated: Any) -> Any:
    """Run ``embedstore lookup`` on six known proteins and one of no family."""
    rows = [*simulated.proteins(6, seed=71), ("stranger", "MKVLAT" * 13, "")]
    queries = simulated.fasta(tmp_path / "queries.fasta", rows)

    def run(*arguments: str) -> Result:
        given = ["lookup", str(queries), "--task", "pfam", *arguments]
        return CliRunner().invoke(embedstore_app, given, env={"EMBEDSTORE": str(store.path), "COLUMNS": "200"})

    return run


def test_lookup_says_where_there_is_no_confident_hit_and_on_what_probabilities_stand(look_up: Any) -> None:
    done = look_up()
    assert done.exit_code == 0
    (stranger,) = [line for line in done.stdout.splitlines() if line.startswith("stranger")]
    assert "no confident hit" in stranger
    assert "PF00" in stranger
    assert done.stdout.count("no confident hit") == 1
    assert "labelled proteins (validation rows)" in done.stderr
    assert "10% of the queries are taken to be of unknown families" in done.stderr


def test_lookup_shows_evidence_nested_in_json_and_a_row_each_in_tsv(look_up: Any) -> None:
    told = json.loads(look_up("--evidence", "3", "--json").stdout)
    assert [len(row["neighbours"]) for row in told] == [3] * 7
    assert told[-1]["label"] == ""
    assert told[-1]["answered"] is False
    lines = look_up("--evidence", "3", "--tsv").stdout.splitlines()
    assert len(lines) == 1 + 7 * 3
    assert lines[0].split("\t")[-4:] == ["rank", "neighbour_id", "neighbour_label", "neighbour_score"]


def test_lookup_aligns_in_the_table_and_in_json(look_up: Any) -> None:
    assert "\nneighbour " in look_up("--align").stdout
    assert {"identity", "coverage"} < set(json.loads(look_up("--align", "--json").stdout)[0])


def test_lookup_tells_what_it_promised_and_refuses_what_it_cannot(look_up: Any) -> None:
    assert "at most 0.15 of the answers wrong, with 95% confidence" in look_up("--max-error", "0.15").stderr
    for arguments, message in (
        (("--max-error", "0.01"), "needs 408 or more calibration rows"),
        (("--window", "wide"), "--window is wide; expected numbers of residues"),
    ):
        done = look_up(*arguments)
        assert isinstance(done.exception, InputError)
        assert message in str(done.exception)


def test_lookup_of_windows_has_a_row_a_region(look_up: Any) -> None:
    told = json.loads(look_up("--window", "auto", "--json").stdout)
    assert all(1 <= row["start"] < row["stop"] <= 80 for row in told)
