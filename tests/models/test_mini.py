"""`mini`: the weights in the package, what it computes, and what it imports."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import embedstore
from embedstore.errors import InputError, WeightsUnavailableError
from embedstore.models import MODELS, Model, load_model
from embedstore.models.mini import MiniModel
from embedstore.models.mini_reference import MiniReference
from embedstore.models.parity import PROTEINS, check
from embedstore.models.reference import Reference, reference_of
from embedstore.testing.checkpoints import make_checkpoint
from embedstore.testing.model_contract import MIXED, distance

WEIGHTS = importlib.resources.files("embedstore") / "models" / "weights" / "mini"
GOLDEN = Path(__file__).parent / "golden" / "mini.json"
LONGEST_WHEEL_BYTES = 15 << 20


@pytest.fixture(scope="module")
def mini() -> MiniModel:
    model = load_model("mini", device="cpu")
    assert isinstance(model, MiniModel)
    return model


def first_values(model: Model) -> dict[str, list[float]]:
    """The first eight numbers of each protein's vector, and of its first and last residue's."""
    names, proteins = list(PROTEINS), list(PROTEINS.values())
    found = model.embed_each(proteins, ["mean", "residues"])
    rows = zip(names, found["mean"], found["residues"], strict=True)
    return {
        name: [round(float(value), 5) for value in (*vector[:8], *states[0][:8], *states[-1][:8])]
        for name, vector, states in rows
    }


def test_vectors_are_those_of_the_day_the_weights_were_made(mini: MiniModel) -> None:
    """`python tests/models/test_mini.py` writes the file again, after new weights."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert golden["weights_sha256"] == mini.identity()["weights_sha256"], "new weights: write the golden values again"
    found = first_values(mini)
    assert list(found) == list(golden["first_values"])
    for name, values in golden["first_values"].items():
        np.testing.assert_allclose(found[name], values, atol=2e-4, err_msg=name)


def test_the_weights_come_with_the_package_and_are_small() -> None:
    assert {file.name for file in WEIGHTS.iterdir()} == {"config.json", "model.safetensors", "CARD.md"}
    assert sum(len(file.read_bytes()) for file in WEIGHTS.iterdir()) <= LONGEST_WHEEL_BYTES


def test_the_card_names_the_weights_by_their_hash(mini: MiniModel) -> None:
    (stated,) = re.findall(r"^sha256: ([0-9a-f]{64})$", (WEIGHTS / "CARD.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert stated == hashlib.sha256((WEIGHTS / "model.safetensors").read_bytes()).hexdigest()
    assert stated == mini.identity()["weights_sha256"]


def test_the_row_says_what_the_weights_are(mini: MiniModel) -> None:
    row = MODELS["mini"]
    tensors = load_file(Path(str(WEIGHTS / "model.safetensors")))
    config = json.loads((WEIGHTS / "config.json").read_text(encoding="utf-8"))
    assert row.n_parameters == sum(w.numel() for name, w in tensors.items() if not name.startswith("letters."))
    assert (row.dim, row.n_layers) == (config["output_size"], len(config["blocks"]))
    assert (mini.identity()["revision"], mini.identity()["checkpoint"]) == (row.revision, None)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_batches_on_a_cpu_are_as_large_as_was_fastest(mini: MiniModel) -> None:
    assert mini.batch_residues == 2_048


def test_automatic_precision_is_float32_so_that_one_space_serves_every_machine(mini: MiniModel) -> None:
    assert mini.precision == "float32"


def test_residue_vectors_are_those_of_the_arithmetic_written_in_numpy(mini: MiniModel) -> None:
    recipe = reference_of(mini)
    assert isinstance(recipe, MiniReference)
    proteins = [*PROTEINS.values(), *MIXED]
    for protein, states in zip(proteins, mini.embed_residues(proteins), strict=True):
        assert distance(states, recipe.residues(protein)) <= 1e-5


def test_a_random_checkpoint_gives_what_numpy_gives_whose_neighbours_all_move_it(
    checkpoints: dict[str, Path], loaded: dict[str, Model]
) -> None:
    recipe = MiniReference(checkpoints["mini"])
    for protein, states in zip(MIXED, loaded["mini"].embed_residues(MIXED), strict=True):
        assert distance(states, recipe.residues(protein)) <= 1e-5


def test_vectors_equal_a_loop_over_single_proteins(mini: MiniModel) -> None:
    encoder = mini._encoder("float32")
    by_hand: dict[str, list[np.ndarray]] = {"mean": [], "max": []}
    with torch.no_grad():
        for protein in MIXED:
            tokens, mask = (torch.from_numpy(array) for array in mini.tokens.batch([protein]))
            wide = torch.cat([encoder(tokens, mask)[-1], encoder.spectrum(tokens, mask)], dim=2)
            residues = encoder.project(wide[0]).numpy()
            by_hand["mean"].append(residues.mean(axis=0))
            by_hand["max"].append(residues.max(axis=0))
    for name, vectors in mini.embed_each(MIXED, ["mean", "max"]).items():
        assert distance(np.asarray(vectors), np.vstack(by_hand[name])) <= 1e-5


def test_padding_does_not_reach_a_protein(mini: MiniModel) -> None:
    short, long = b"MKV", MIXED[0] * 10
    assert distance(mini.embed([short, long])[:1], mini.embed([short])) <= 1e-5


def test_a_giant_protein_is_embedded_whole_and_in_windows_where_they_are_asked_for(
    mini: MiniModel, tmp_path: Path
) -> None:
    giant = (MIXED[5] * 600)[:35_000]
    (tmp_path / "p.fasta").write_text(f">giant\n{giant.decode()}\n>small\nMKVLAT\n")
    whole = mini.embed([giant])[0]
    for options, n_windowed in (({}, 0), ({"max_residues": 4_096}, 1)):
        store = embedstore.open(tmp_path / f"{n_windowed}.zarr", mode="a")
        store.add("p", tmp_path / "p.fasta")
        report = embedstore.build(store, mini, **options)
        assert (report.n_embedded, report.n_windowed) == (2, n_windowed)
        stored = store.space("mini").take(store.dataset("p").digests)[0].astype(np.float32)
        # Waves along a window are not those along the chain: near, and not the same.
        agreement = float(stored @ whole / np.linalg.norm(stored) / np.linalg.norm(whole))
        assert agreement > (0.5 if n_windowed else 0.99999)


@pytest.mark.parametrize("layer", [0, 3, -2])
def test_other_layers_than_the_last_are_refused(layer: int) -> None:
    last = MODELS["mini"].n_layers
    with pytest.raises(InputError, match=rf"gives vectors after its last layer, {last}, alone; got layer \d"):
        load_model("mini", device="cpu", layer=layer)


def test_the_last_layer_may_be_named(mini: MiniModel) -> None:
    assert load_model("mini", device="cpu", layer=MODELS["mini"].n_layers).identity() == mini.identity()


def test_a_copy_loads_by_its_family_and_by_weights_and_gives_the_same_vectors(mini: MiniModel, tmp_path: Path) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(str(WEIGHTS), copy)
    for again in (load_model(copy, family="mini", device="cpu"), load_model("mini", weights=copy, device="cpu")):
        np.testing.assert_array_equal(again.embed(MIXED), mini.embed(MIXED))
        differing = {key for key, value in mini.identity().items() if again.identity()[key] != value}
        assert differing <= {"model", "revision"}


def test_another_checkpoint_of_the_family_is_another_identity(checkpoints: dict[str, Path], mini: MiniModel) -> None:
    other = load_model(checkpoints["mini"], family="mini", device="cpu").identity()
    assert other["weights_sha256"] != mini.identity()["weights_sha256"]
    assert other["config_sha256"] != mini.identity()["config_sha256"]
    assert (other["revision"], other["tokens_sha256"]) == (None, mini.identity()["tokens_sha256"])


def test_weights_of_another_size_are_not_the_named_model(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=f"has 32 dimensions .* 'mini' has {MODELS['mini'].dim}"):
        load_model("mini", weights=checkpoints["mini"], device="cpu")


def broken(source: Path, target: Path, change: dict[str, torch.Tensor | None]) -> Model:
    shutil.copytree(source, target)
    tensors = load_file(target / "model.safetensors")
    tensors = {name: tensor for name, tensor in {**tensors, **change}.items() if tensor is not None}
    save_file(tensors, target / "model.safetensors")
    return load_model(target, family="mini", device="cpu")


def test_weights_that_do_not_fit_their_configuration_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    source = checkpoints["mini"]
    with pytest.raises(WeightsUnavailableError, match=r"lack 1 tensors of the model, 'blocks\.1\.qkv\.weight' first"):
        broken(source, tmp_path / "a", {"blocks.1.qkv.weight": None}).embed([b"MKV"])
    with pytest.raises(WeightsUnavailableError, match=r"'norm\.bias' of shape \(7,\); its config\.json says \(32,\)"):
        broken(source, tmp_path / "b", {"norm.bias": torch.zeros(7)}).embed([b"MKV"])
    with pytest.raises(WeightsUnavailableError, match="'more' of shape .* says nothing of it"):
        broken(source, tmp_path / "c", {"more": torch.zeros(7)}).embed([b"MKV"])


def test_truncated_weights_and_pickles_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    directory = shutil.copytree(checkpoints["mini"], tmp_path / "cut")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5_000])
    with pytest.raises(WeightsUnavailableError, match="cannot be read"):
        load_model(directory, family="mini", device="cpu").embed([b"MKV"])
    weights.rename(directory / "pytorch_model.bin")
    with pytest.raises(WeightsUnavailableError, match=r"are in pytorch_model\.bin; expected model\.safetensors"):
        load_model(directory, family="mini", device="cpu").embed([b"MKV"])
    with pytest.raises(InputError, match="safetensors=False was asked for"):
        make_checkpoint(tmp_path / "bin", "mini", safetensors=False)


def test_a_shape_that_is_none_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    directory = shutil.copytree(checkpoints["mini"], tmp_path / "odd")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "blocks": "cz"}))
    with pytest.raises(InputError, match="has blocks 'cz'.*expected blocks of 'c' and 'a'"):
        load_model(directory, family="mini", device="cpu")


def test_check_compares_it_with_its_arithmetic_in_numpy(mini: MiniModel) -> None:
    report = check(mini)
    assert report.ok, report.problems
    assert "distance from the model card's recipe, float32" in {finding.check for finding in report.findings}


def test_loading_leaves_torchs_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    load_model("mini", device="cpu").embed([b"MKV"])
    assert torch.equal(torch.get_rng_state(), before)


def test_neither_transformers_nor_the_hubs_client_is_imported_for_it() -> None:
    code = (
        "import sys; from embedstore.models import load_model; load_model('mini').embed([b'MKV']);"
        "print([name for name in ('transformers', 'tokenizers', 'huggingface_hub', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_there_is_no_tokenizers_recipe_for_it(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="Unknown recipe 'mini'"):
        Reference(checkpoints["mini"], "mini")


if __name__ == "__main__":
    model = load_model("mini", device="cpu")
    golden = {"weights_sha256": model.identity()["weights_sha256"], "first_values": first_values(model)}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
