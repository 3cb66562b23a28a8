"""``embedstore import`` and ``export``, as a user has them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from embedstore.testing.exchange_files import PROTEINS, numbered_h5, uniprot_h5, vectors_of


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).parent / "embedstore"
    command = [script, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=120
    )


def ok(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = run(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a FASTA, a file of vectors, and a store into which it was imported."""
    folder = tmp_path_factory.mktemp("exchange")
    records = [f">{name.split()[0]} a description\n{residues}\n" for name, residues in PROTEINS.items()]
    (folder / "mine.fasta").write_text("".join(records), encoding="utf-8")
    vectors = {name.split()[0]: vector for name, vector in vectors_of(PROTEINS).items()}
    numbered_h5(folder / "v.h5", {**vectors, "stranger": vectors["plain"]})
    ok("import", "v.h5", "--dataset", "mine", "--fasta", "mine.fasta", "--model", "prot_t5", cwd=folder)
    return folder


def test_an_import_tells_its_ledger_and_names_what_was_left_out(folder: Path) -> None:
    done = ok("import", "v.h5", "--dataset", "mine", "--model", "prot_t5", cwd=folder)
    assert done.stdout == ""
    assert "warning: left out 'stranger': its id is not in the data set" in done.stderr
    assert "6 entries of v.h5 (bio-embeddings-h5) = 0 stored + 4 there already + 1 repeated + 1 left out" in done.stderr
    report = json.loads(ok("import", "v.h5", "--dataset", "mine", "--model", "prot_t5", "--json", cwd=folder).stdout)
    assert report["left_out"] == [["stranger", "its id is not in the data set"]]


def test_info_says_that_a_space_was_imported_and_verify_passes(folder: Path) -> None:
    told = json.loads(ok("info", "--json", cwd=folder).stdout)
    assert (told["origin"], told["source_name"], told["model"]) == ("import", "v.h5", "prot_t5")
    assert told["weights_sha256"] is None
    assert "origin" in ok("info", cwd=folder).stdout
    assert "nothing lost, nothing changed" in ok("verify", cwd=folder).stderr


def test_a_search_with_an_unknown_protein_is_refused_in_one_line(folder: Path) -> None:
    (folder / "new.fasta").write_text(">new\nWWWWWWKV\n")
    done = run("search", "new.fasta", cwd=folder)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "was imported from v.h5" in done.stderr
    assert len(json.loads(ok("search", "mine.fasta", "-k", "1", "--json", cwd=folder).stdout)) == 5


def test_what_is_exported_can_be_imported_elsewhere(folder: Path, tmp_path: Path) -> None:
    done = ok("export", tmp_path / "out.h5", cwd=folder)
    assert "are numbered" in done.stderr
    assert "5 proteins of mine" in done.stderr
    ok("import", tmp_path / "out.h5", "--dataset", "again", "--fasta", folder / "mine.fasta", cwd=tmp_path)
    for name in ("v.npz", "v.npy", "v.parquet", "v.h5ad"):
        ok("export", name, "--dataset", "again", "--json", cwd=tmp_path)
    due = np.stack(list(vectors_of(PROTEINS).values()))
    assert np.load(tmp_path / "v.npz")["vectors"].tobytes() == due.tobytes()


def test_uniprot_vectors_fit_uniprot_sequences_by_accession(tmp_path: Path) -> None:
    (tmp_path / "sprot.fasta").write_text(">sp|P69905|HBA_HUMAN Hemoglobin\nMVLSPADK\n>sp|P68871|HBB_HUMAN x\nMVHLT\n")
    uniprot_h5(tmp_path / "per-protein.h5", vectors_of(["P69905", "P68871"]))
    arguments = ["import", "per-protein.h5", "--dataset", "sprot", "--fasta", "sprot.fasta"]
    refused = run(*arguments, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--match accession" in refused.stderr
    assert "2 stored" in ok(*arguments, "--match", "accession", cwd=tmp_path).stderr


BAD = {
    "no such file": (["import", "nowhere.h5", "--dataset", "mine"], "No such file or folder"),
    "cut short": (["import", "cut.h5", "--dataset", "mine"], "cut short"),
    "no such data set": (["import", "v.h5", "--dataset", "mein"], "Did you mean 'mine'"),
    "no such format": (["import", "v.h5", "--dataset", "mine", "--format", "h5ad"], "Unknown import format"),
    "there already": (["export", "v.h5"], "--force"),
    "unclear format": (["export", "v.bin"], "--format"),
    "no residues": (["export", "r.h5", "--residues"], "Unknown space|no such vectors"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gets_one_clear_line(folder: Path, what: str) -> None:
    with h5py.File(folder / "whole.h5", "w") as file:
        file["a"] = np.ones(3000)
    (folder / "cut.h5").write_bytes((folder / "whole.h5").read_bytes()[:5000])
    arguments, expected = BAD[what]
    done = run(*arguments, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert any(text in done.stderr for text in expected.split("|"))
