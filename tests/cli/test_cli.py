"""The command line: what people and programs see, with exit codes, and nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import embedstore
from embedstore.testing.checkpoints import make_checkpoint
from embedstore.testing.family_files import write_families

HEAVY = ("torch", "transformers", "faiss", "zarr", "sklearn", "numpy", "pandas")


def run(command: str, *arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).parent / command
    return subprocess.run(
        [script, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def ok(command: str, *arguments: str | Path, cwd: Path, **environment: str) -> str:
    done = run(command, *arguments, cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(command: str, *arguments: str | Path, cwd: Path, **environment: str) -> str:
    done = run(command, *arguments, cwd=cwd, **environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, "one clear error is one line"
    return done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of simulated families in it, and two fitted heads."""
    folder = tmp_path_factory.mktemp("built")
    write_families(folder / "families.csv", 600, 6, layout="csv", seed=3)
    ok("embedstore", "build", "--model", "kmer", "families.csv", cwd=folder)
    for head in ("linear", "knn"):
        ok("heads", "fit", "--labels", "families.csv", "--head", head, cwd=folder)
    return folder


@pytest.mark.parametrize("app", ["embedstore", "heads"])
def test_help_imports_nothing_heavy(app: str) -> None:
    code = (
        f"import sys\nfrom cli.{app}_commands import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["build", "--help"], ["lookup", "-h"]])
def test_every_help_has_an_example(arguments: list[str], tmp_path: Path) -> None:
    assert "\n embedstore " in ok("embedstore", *arguments, cwd=tmp_path)


def test_version_is_printed_by_both_commands(tmp_path: Path) -> None:
    assert ok("embedstore", "--version", cwd=tmp_path) == f"embedstore {embedstore.__version__}\n"
    assert ok("heads", "--version", cwd=tmp_path) == f"embedstore {embedstore.__version__}\n"


def test_completion_can_be_shown(tmp_path: Path) -> None:
    assert "complete" in ok(
        "embedstore", "--show-completion", "bash", cwd=tmp_path, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )


def test_catalogs_are_tables_json_and_tsv(tmp_path: Path) -> None:
    names = [row["name"] for row in json.loads(ok("embedstore", "models", "--json", cwd=tmp_path))]
    assert {"prot_t5", "prot_bert", "esm2_8m", "esm2_3b", "kmer"} <= set(names)
    tsv = ok("embedstore", "models", "--tsv", cwd=tmp_path).splitlines()
    assert [line.split("\t")[0] for line in tsv] == ["name", *names]
    assert "prot_t5" in ok("embedstore", "models", cwd=tmp_path)
    assert {"linear", "knn"} <= {row["name"] for row in json.loads(ok("heads", "list", "--json", cwd=tmp_path))}
    assert "pfam" in {row["name"] for row in json.loads(ok("heads", "tasks", "--json", cwd=tmp_path))}


def test_results_go_to_stdout_and_messages_to_stderr(built: Path) -> None:
    done = run("embedstore", "build", "--model", "kmer", "--json", cwd=built)
    report = json.loads(done.stdout)
    assert (report["n_embedded"], report["n_present"]) == (0, report["n_expected"])
    done = run("embedstore", "build", "--model", "kmer", cwd=built)
    assert done.stdout == ""
    assert "there already" in done.stderr


def test_dry_run_writes_nothing(built: Path, tmp_path: Path) -> None:
    ok("embedstore", "add", "p", built / "families.csv", cwd=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    plan = json.loads(ok("embedstore", "build", "--model", "kmer", "--dry-run", "--json", cwd=tmp_path))
    assert plan["n_missing"] == plan["n_expected"] > 0
    assert sorted(tmp_path.rglob("*")) == before


def test_metrics_are_values_with_intervals(built: Path) -> None:
    for head in ("linear", "knn"):
        report = json.loads(ok("heads", "evaluate", f"families-{head}", "--json", cwd=built))
        for name in ("accuracy", "error_rate", "macro_f1"):
            assert 0 <= report[name]["low"] <= report[name]["value"] <= report[name]["high"] <= 1
        assert report["accuracy"]["value"] > 0.8
    assert "accuracy" in ok("heads", "evaluate", "families-knn", cwd=built)


def test_lookup_search_and_predict_agree_on_known_proteins(built: Path) -> None:
    queries = ["families.csv", "--split", "test", "--limit", "5"]
    looked_up = json.loads(ok("embedstore", "lookup", *queries, "--labels", "families.csv", "--json", cwd=built))
    predicted = json.loads(ok("heads", "predict", "families-knn", *queries, "--json", cwd=built))
    found = json.loads(ok("embedstore", "search", *queries, "-k", "1", "--json", cwd=built))
    assert [row["id"] for row in looked_up] == [row["id"] for row in predicted] == [row["query"] for row in found]
    assert [row["ids"] for row in found] == [[f"families:{row['query']}"] for row in found]
    assert all(abs(row["score"] - 1) < 1e-6 for row in found)
    assert sum(a["label"] == b["label"] for a, b in zip(looked_up, predicted, strict=True)) >= 4
    tsv = ok("embedstore", "lookup", *queries, "--labels", "families.csv", "--tsv", cwd=built).splitlines()
    assert len(tsv) == 6
    assert len({line.count("\t") for line in tsv}) == 1


def test_the_store_is_found_by_option_and_by_environment(built: Path, tmp_path: Path) -> None:
    listed = ok("embedstore", "ls", "--tsv", cwd=built)
    assert ok("embedstore", "ls", "--tsv", "--store", built / "embedstore.zarr", cwd=tmp_path) == listed
    assert ok("embedstore", "ls", "--tsv", cwd=tmp_path, EMBEDSTORE=str(built / "embedstore.zarr")) == listed


def test_info_prints_the_whole_identity(built: Path) -> None:
    facts = json.loads(ok("embedstore", "info", "--json", cwd=built))
    assert {"model", "weights_sha256", "layer", "pooling", "dtype", "precision", "residue_policy", "long"} <= set(facts)
    source = json.loads(ok("embedstore", "info", "--dataset", "families", "--json", cwd=built))["sources"][0]
    assert len(source["sha256"]) == 64


def test_verify_exits_with_one_where_something_is_wrong(built: Path, tmp_path: Path) -> None:
    ok("embedstore", "build", "--model", "kmer", built / "families.csv", cwd=tmp_path)
    ok("embedstore", "verify", cwd=tmp_path)
    (shard,) = tmp_path.glob("embedstore.zarr/spaces/*/parts/*/vectors/c/0/0")
    damaged = bytearray(shard.read_bytes())
    damaged[1000] ^= 1
    shard.write_bytes(damaged)
    done = run("embedstore", "verify", cwd=tmp_path)
    assert done.returncode == 1
    assert "was changed" in done.stderr


SLOWER = [pytest.param(name, marks=pytest.mark.slow) for name in ("t5", "bert")]


@pytest.mark.parametrize("family", [*SLOWER, "esm"])
def test_a_checkpoint_directory_serves_the_whole_job(built: Path, tmp_path: Path, family: str) -> None:
    checkpoint = make_checkpoint(tmp_path / f"tiny_{family}", family)
    store = ["--store", tmp_path / "store.zarr"]
    ok("embedstore", "build", "--model", checkpoint, "--family", family, built / "families.csv", *store, cwd=built)
    fitted = tmp_path / "head"
    ok("heads", "fit", "--labels", "families.csv", "--head", "knn", "--out", fitted, *store, cwd=built)
    ok("heads", "evaluate", fitted, *store, cwd=built)
    stranger = tmp_path / "new.fasta"
    stranger.write_text(">new protein\nMKTAYIAKQRQISFVKSHFSRQ\n")
    refused("heads", "predict", fitted, stranger, *store, cwd=built)
    rows = json.loads(ok("heads", "predict", fitted, stranger, "--weights", checkpoint, "--json", *store, cwd=built))
    assert [row["id"] for row in rows] == ["new"]
    assert refused("heads", "evaluate", fitted, "--labels", "families.csv", cwd=built).count("another space") == 1


BAD = {
    "missing file": (["add", "x", "nowhere.fasta"], "No such file"),
    "empty file": (["add", "x", "empty.fasta"], "is empty"),
    "no sequence": (["add", "x", "headers.fasta"], "No sequence"),
    "not a protein": (["add", "x", "digits.fasta"], "'1'"),
    "no such model": (["build", "--model", "esm2_8n"], "Did you mean 'esm2_8m'"),
    "weights not here": (["build", "--model", "esm2_8m"], "hf download"),
    "directory without family": (["build", "--model", "."], "family"),
    "no such data set": (["build", "--model", "kmer", "familie"], "Did you mean 'families'"),
    "no such store": (["ls", "--store", "nothing.zarr"], "No store at nothing.zarr"),
    "not a store": (["add", "x", "good.fasta", "--store", "."], "no embedstore store"),
    "store under a file": (["add", "x", "good.fasta", "--store", "good.fasta/s.zarr"], "Cannot write"),
    "no such pooling": (["build", "--model", "kmer", "--pooling", "max"], "Unknown pooling 'max'"),
    "no such dtype": (["build", "--model", "kmer", "--dtype", "int8"], "Unknown dtype 'int8'"),
    "no such space": (["search", "good.fasta", "--space", "prot_t5"], "Unknown space"),
    "no such index": (["search", "good.fasta", "--index", "hnws"], "Unknown index 'hnws'"),
    "k below one": (["search", "good.fasta", "-k", "0"], "at least 1"),
    "no task": (["lookup", "good.fasta"], "task"),
    "task without its data set": (["lookup", "good.fasta", "--task", "pfam"], "embedstore add pfam"),
    "both formats": (["ls", "--json", "--tsv"], "choose one"),
    "no such split": (["search", "families.csv", "--split", "tset"], "'tset'"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gets_one_clear_line(built: Path, tmp_path: Path, what: str) -> None:
    (built / "empty.fasta").write_text("")
    (built / "headers.fasta").write_text(">a\n>b\n")
    (built / "digits.fasta").write_text(">a\nMK1V\n")
    (built / "good.fasta").write_text(">a\nMKVLAT\n")
    before = sorted((built / "embedstore.zarr").rglob("*"))
    arguments, expected = BAD[what]
    assert expected in refused("embedstore", *arguments, cwd=built)
    assert sorted((built / "embedstore.zarr").rglob("*")) == before


BAD_HEADS = {
    "no such task": (["fit", "--task", "pfan"], "Did you mean 'pfam'"),
    "no such head": (["fit", "--labels", "families.csv", "--head", "liner"], "Did you mean 'linear'"),
    "no labels": (["fit", "--labels", "plain.csv"], "no labels"),
    "labels not embedded": (["fit", "--labels", "other.csv"], "embedstore build"),
    "parameter of another type": (["fit", "--labels", "families.csv", "--head", "knn", "--param", "k=abc"], "k is"),
    "shrinkage that is no number": (["fit", "--labels", "families.csv", "--param", "shrinkage=abc"], "shrinkage is"),
    "no such parameter": (["fit", "--labels", "families.csv", "--head", "knn", "--param", "kk=3"], "Did you mean 'k'"),
    "parameter without value": (["fit", "--labels", "families.csv", "--param", "k"], "name=value"),
    "no fitted head": (["evaluate", "nothing"], "No fitted head"),
    "nothing named": (["evaluate"], "one of the two"),
    "no such split": (["evaluate", "families-knn", "--split", "tset"], "'tset'"),
}


@pytest.mark.parametrize("what", BAD_HEADS)
def test_bad_input_to_heads_gets_one_clear_line(built: Path, what: str) -> None:
    (built / "plain.csv").write_text("id,sequence\na,MKV\n")
    (built / "other.csv").write_text("id,sequence,label\na,MKVWWW,x\nb,WWWWWW,y\n")
    arguments, expected = BAD_HEADS[what]
    assert expected in refused("heads", *arguments, cwd=built)


def test_nucleotides_are_a_warning(tmp_path: Path) -> None:
    (tmp_path / "genes.fasta").write_text(">a\nACGTACGTTTGGCCAACGT\n>b\nTTTTGGGGCCCCAAAA\n")
    done = run("embedstore", "add", "genes", "genes.fasta", cwd=tmp_path)
    assert done.returncode == 0
    assert "look like nucleotides" in done.stderr


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    store.mkdir()
    (store / "zarr.json").write_text(
        '{"zarr_format": 3, "node_type": "group", "attributes": {"embedstore": {"format": 2}}}'
    )
    assert "Upgrade" in refused("embedstore", "ls", "--store", store, cwd=tmp_path)
