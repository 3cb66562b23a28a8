from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import embedstore
from embedstore.errors import InputError
from embedstore.models import Model, load_model
from embedstore.models.parity import PROTEINS, check
from embedstore.models.transformer import TransformerModel
from embedstore.sequences import normalise
from embedstore.testing.checkpoints import KINDS

PARITY = "distance from the model card's recipe, float32"


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_model_passes_and_its_parity_is_to_the_last_digits(kind: str, loaded: dict[str, Model]) -> None:
    report = check(loaded[kind])
    assert report.ok, report.problems
    found = {finding.check: finding.found for finding in report.findings}
    assert found[PARITY] < 1e-5
    assert found["distance of a second run"] == 0
    assert report.facts["n_sequences"] == len(PROTEINS)
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_what_a_lower_precision_costs_is_measured_against_float32(checkpoints: dict[str, Path]) -> None:
    model = load_model(checkpoints["bert"], family="bert", device="cpu", precision="bfloat16")
    report = check(model)
    (drift,) = (finding for finding in report.findings if finding.check == "cosine of bfloat16 with float32")
    assert 0.99 < drift.found < 1
    assert report.facts["precision_cosine_mean"] >= drift.found


def test_an_intermediate_layer_is_compared_with_the_same_layer(checkpoints: dict[str, Path]) -> None:
    assert check(load_model(checkpoints["esm"], family="esm", device="cpu", precision="float32", layer=1)).ok


def test_a_slice_off_by_one_is_named(loaded: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded["esm"]
    assert isinstance(model, TransformerModel)
    pooled = TransformerModel._pool

    def shifted(self: TransformerModel, states: torch.Tensor, poolings: list[str]) -> dict[str, torch.Tensor]:
        return pooled(self, states.roll(1, dims=0), poolings)

    monkeypatch.setattr(TransformerModel, "_pool", shifted)
    report = check(model)
    assert not report.ok
    assert f"{PARITY}: " in report.problems[0]


def test_vectors_that_depend_on_the_batch_are_named(loaded: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded["t5"]

    def without_mask(self: TransformerModel, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"input_ids": tokens, "attention_mask": torch.ones_like(mask)}

    monkeypatch.setattr(TransformerModel, "_inputs", without_mask)
    report = check(model)
    named = {finding.check for finding in report.findings if not finding.ok}
    assert {PARITY, "distance of alone from in a batch"} <= named


def test_a_model_that_changes_between_runs_is_named() -> None:
    model = load_model("kmer")
    embed, calls = model.embed, iter(range(10**6))

    def drifting(sequences: list[bytes], *, pooling: str = "mean") -> np.ndarray:
        return embed(sequences, pooling=pooling) * np.float32(1 + 1e-4 * next(calls))

    model.embed = drifting  # type: ignore[method-assign]
    assert any("distance of a second run" in problem for problem in check(model).problems)


def test_a_model_without_a_card_is_checked_for_the_rest() -> None:
    report = embedstore.check_model(load_model("kmer"))
    assert report.ok
    assert any("no model card" in note for note in report.notes)
    assert PARITY not in {finding.check for finding in report.findings}


def test_own_sequences_are_taken_and_too_long_ones_are_counted(loaded: dict[str, Model]) -> None:
    report = check(loaded["esm1"], [b"MKVLAT", b"M" * 1_023, b"MKJ*"])
    assert report.facts["n_sequences"] == 2
    assert [note.partition(" ")[0] for note in report.notes] == ["1", "1"]
    with pytest.raises(InputError, match="No sequence to check"):
        check(loaded["esm1"], [b"M" * 1_023])


def test_default_proteins_have_the_lengths_that_they_have_in_uniprot() -> None:
    lengths = {name: len(sequence) for name, sequence in PROTEINS.items()}
    assert lengths == {
        "ubiquitin, human": 76,
        "preproinsulin, human": 110,
        "lysozyme, hen": 129,
        "green fluorescent protein": 238,
        "titin, domain I27": 89,
        "haemoglobin, beta chain, human": 147,
        "glutathione peroxidase 1, human, with selenocysteine": 203,
        "every rare letter": 7,
        "one residue": 1,
    }
    assert all(normalise(sequence).residues == sequence for sequence in PROTEINS.values())


def run(*arguments: str) -> tuple[int, str, str]:
    from typer.testing import CliRunner

    from cli.embedstore_commands import app

    # Wide enough that no cell of the table is folded, whatever the terminal of who runs the tests.
    done = CliRunner().invoke(app, ["check", *arguments], env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_command_prints_a_table_and_says_that_all_is_well(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "two.fasta").write_text(">a\nMKVLAT\n>b\nmkw\n>c\nMK\n")
    arguments = ["--model", str(checkpoints["esm"]), "--family", "esm", "--precision", "float32", "--device", "cpu"]
    code, out, err = run(*arguments, str(tmp_path / "two.fasta"), "--limit", "2")
    assert code == 0
    assert PARITY in out
    assert "FAIL" not in out
    assert "n_sequences" in out
    assert "the vectors are the model's own" in err
    code, out, _ = run(*arguments, "--json")
    assert json.loads(out)["facts"]["n_sequences"] == 9


def test_the_command_ends_with_1_and_a_sentence_where_something_is_wrong(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    # Embeddings so large that float16 cannot store what comes out of layer 0.
    directory = shutil.copytree(checkpoints["esm"], tmp_path / "esm")
    tensors = load_file(directory / "model.safetensors")
    tensors["embeddings.word_embeddings.weight"] *= 1e6
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    code, out, err = run(
        "--model", str(directory), "--family", "esm", "--precision", "float32", "--device", "cpu", "--layer", "0"
    )
    assert code == 1
    assert "FAIL" in out
    assert "problem: largest number, for float16: " in err
