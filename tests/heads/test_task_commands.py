"""Tasks on the command line: the list, one in full, pairs added, and the options of `heads fit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

import embedstore
from cli.embedstore_commands import app as embedstore_app
from cli.heads_commands import app as heads_app
from embedstore.store import Store
from heads.tasks import TASKS


def _run(app: Any, *arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_tasks_are_listed_and_shown_in_full() -> None:
    listed = json.loads(_run(heads_app, "tasks", "--json").stdout)
    assert [row["name"] for row in listed] == list(TASKS)
    assert all(row["licence"] and row["summary"] for row in listed)
    table = _run(heads_app, "tasks").stdout
    assert "secondary_structure" in table
    full = json.loads(_run(heads_app, "tasks", "ppi_affinity", "--json").stdout)
    assert (full["partner"], full["pairing"]) == ("sequence_2", "sum+product+difference")
    assert "Xu et al. 2022" in full["citation"]
    lines = _run(heads_app, "tasks", "stability").stdout
    assert "3, 0 of them without a known sha256" in lines


def test_pairs_are_added_by_one_command(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("id,sequence,sequence_2,label\na,MKVLA,GGHWE,1\nb,MKVLA,WWHHE,0\n")
    done = _run(
        embedstore_app, "add", "ppi", path, "--partner-column", "sequence_2", "--store", tmp_path / "s.zarr", "--json"
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n_distinct"] == 1
    assert "ppi.partner: 2 records, 2 distinct sequences" in done.stderr
    assert embedstore.open(tmp_path / "s.zarr").datasets() == ["ppi", "ppi.partner"]


def test_fit_takes_numbers_labels_and_clusters(store: Store, tmp_path: Path) -> None:
    records = store.dataset("pfam")
    sequences = [residues.decode() for residues in store.sequences.take(records.digests)]
    path = tmp_path / "lengths.csv"
    rows = [f"p{row},{sequence},{sequence.count('A')}" for row, sequence in enumerate(sequences)]
    path.write_text("id,sequence,label\n" + "\n".join(rows) + "\n")
    done = _run(
        heads_app, "fit", "--labels", path, "--kind", "regression", "--head", "linear", "--out", tmp_path / "h",
        "--store", store.path, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["task"]["target_type"] == "regression"
    done = _run(
        heads_app, "fit", "--dataset", "pfam", "--top", 3, "--out", tmp_path / "t", "--store", store.path, "--json"
    )
    assert json.loads(done.stdout)["n_classes"] == 3
    assert json.loads(done.stdout)["split_rule"].startswith("column split; the 3 labels with most training rows")


def test_fit_warns_of_classes_that_are_only_tested_and_of_no_test(store: Store, tmp_path: Path) -> None:
    a, b, c = (one.decode() for one in store.sequences.take(store.dataset("pfam").digests[:3]))
    path = tmp_path / "a.csv"
    path.write_text(f"id,sequence,label,split\na,{a},x,train\nb,{b},y,train\nc,{c},z,test\n")
    arguments = ["fit", "--labels", path, "--out", tmp_path / "h", "--store", store.path]
    assert "1 validation and test rows are of classes that training never saw" in _run(heads_app, *arguments).stderr
    path.write_text(f"id,sequence,label,split\na,{a},x,train\nb,{b},y,train\n")
    assert "the split has no test rows" in _run(heads_app, *arguments).stderr
