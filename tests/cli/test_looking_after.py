"""``compact``, ``gc``, ``rm``, ``verify``, ``ls`` and ``info`` as a person and a program meet them."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import embedstore
from embedstore.models import load_model
from embedstore.testing.family_files import write_families


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).parent / "embedstore"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [script, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


def ok(*arguments: str | Path, cwd: Path) -> str:
    done = run(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    store = embedstore.open(folder / "embedstore.zarr", mode="a")
    for seed, name in enumerate(("families", "more")):
        write_families(folder / f"{name}.csv", 300, 6, layout="csv", seed=seed)
        store.add(name, folder / f"{name}.csv")
        if name == "families":
            embedstore.build(store, load_model("kmer"))
    return folder


@pytest.fixture
def built(_built: Path, tmp_path: Path) -> Path:
    shutil.copytree(_built / "embedstore.zarr", tmp_path / "embedstore.zarr")
    return tmp_path


def test_ls_says_what_is_missing_where_and_what_it_takes(built: Path) -> None:
    rows = json.loads(ok("ls", "--json", cwd=built))
    space = rows[-1]
    assert (space["pooling"], space["layer"], space["parts"]) == ("mean", 0, 1)
    assert space["state"]["families"] == "complete"
    assert space["state"]["more"].endswith(" missing")
    assert all(row["bytes"] > 10_000 for row in rows)
    header, first, *_ = (line.split("\t") for line in ok("ls", "--tsv", cwd=built).splitlines())
    assert (header[1], header[-1]) == ("name", "columns")
    assert (first[1], first[-1]) == ("families", "label,split,clan")
    ok("build", "--model", "kmer", cwd=built)
    assert "families complete, more complete" in ok("ls", cwd=built)


def test_info_tells_the_builds_and_what_they_covered(built: Path) -> None:
    facts = json.loads(ok("info", "--json", cwd=built))
    assert facts["builds"][0]["datasets"] == ["families"]
    assert facts["builds"][0]["n_embedded"] == facts["n_vectors"]
    assert set(facts["covers"]) == {"families", "more"}
    assert facts["created"].endswith("Z")


def test_compact_then_gc_then_verify(built: Path) -> None:
    ok("build", "--model", "kmer", cwd=built)
    report = json.loads(ok("compact", "--json", cwd=built))
    assert (report["n_parts_before"], report["n_parts_after"]) == (4, 2)
    assert "stay a while" in run("gc", cwd=built).stderr
    planned = json.loads(ok("gc", "--older-than", "0", "--dry-run", "--json", cwd=built))
    done = json.loads(ok("gc", "--older-than", "0", "--json", cwd=built))
    assert (done["n_removed"], done["n_bytes"]) == (planned["n_removed"], planned["n_bytes"])
    assert done["n_removed"] == 4
    assert json.loads(ok("verify", "--json", cwd=built))["notes"] == []
    assert "Nothing to merge" in run("compact", cwd=built).stderr
    assert json.loads(ok("verify", "--deep", "--json", cwd=built))["n_embedded_again"] == 32


def test_a_killed_compact_loses_nothing(built: Path) -> None:
    ok("build", "--model", "kmer", cwd=built)
    before = json.loads(ok("ls", "--json", cwd=built))
    script = Path(sys.executable).parent / "embedstore"
    for pause in (0.3, 0.8, 1.3):
        child = subprocess.Popen([script, "compact"], cwd=built, stderr=subprocess.DEVNULL)
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        child.wait()
        ok("verify", "--quick", cwd=built)
    ok("compact", cwd=built)
    ok("gc", "--older-than", "0", cwd=built)
    after = json.loads(ok("ls", "--json", cwd=built))
    assert [(row["name"], row["vectors"], row["state"]) for row in after] == [
        (row["name"], row["vectors"], row["state"]) for row in before
    ]
    assert json.loads(ok("verify", "--json", cwd=built))["notes"] == []


def test_rm_asks_and_wants_yes_where_nobody_can_be_asked(built: Path) -> None:
    done = run("rm", "more", cwd=built)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "--yes" in done.stderr
    assert "sequences stay" in run("rm", "more", "--dry-run", cwd=built).stderr
    assert len(json.loads(ok("ls", "--json", cwd=built))) == 3
    report = json.loads(ok("rm", "more", "--yes", "--json", cwd=built))
    assert (report["kind"], report["n_rows"]) == ("dataset", 300)
    assert [row["kind"] for row in json.loads(ok("ls", "--json", cwd=built))] == ["data set", "space"]
    ok("verify", cwd=built)


@pytest.mark.parametrize(("answer", "kept"), [(b"n\n", True), (b"y\n", False)])
def test_rm_does_what_is_answered(built: Path, answer: bytes, kept: bool) -> None:
    ours, theirs = pty.openpty()
    script = Path(sys.executable).parent / "embedstore"
    child = subprocess.Popen([script, "rm", "more"], cwd=built, stdin=theirs, stderr=subprocess.PIPE, stdout=theirs)
    os.write(ours, answer)
    _, told = child.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert child.returncode == (2 if kept else 0), told
    assert b"300 records" in told
    assert ("more" in embedstore.open(built / "embedstore.zarr").datasets()) == kept


def test_gc_drops_what_no_data_set_names_when_asked_for(built: Path) -> None:
    ok("rm", "families", "--yes", cwd=built)
    report = json.loads(ok("gc", "--unused", "--older-than", "0", "--json", cwd=built))
    assert sum(report["dropped"].values()) > 100
    ok("verify", cwd=built)


BAD = {
    "no such thing": (["rm", "familie", "--yes"], "Did you mean 'families'"),
    "no such kind": (["rm", "families", "--kind", "data"], "Unknown kind"),
    "no such space": (["compact", "--space", "prot_t5"], "Unknown space"),
    "no such store": (["compact", "--store", "no.zarr"], "No store at no.zarr"),
    "no age": (["gc", "--older-than", "soon"], "is no age"),
    "deep and quick": (["verify", "--deep", "--quick"], "deep or quick"),
    "sample of none": (["verify", "--deep", "--sample", "0"], "at least 1"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gets_one_clear_line_and_changes_nothing(built: Path, what: str) -> None:
    before = sorted(built.rglob("*"))
    arguments, expected = BAD[what]
    done = run(*arguments, cwd=built)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(built.rglob("*")) == before
