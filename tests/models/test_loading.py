from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

from embedstore.errors import (
    FileFormatError,
    InputError,
    MissingFileError,
    UnknownNameError,
    WeightsUnavailableError,
)
from embedstore.models import MODELS, Model, load_model
from embedstore.models.catalog import FAMILIES
from embedstore.testing.checkpoints import make_checkpoint

COMMIT = "c731040fcd8d73dceaa04b0a8e6329b345b0f5df"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache on a machine that is told to stay offline."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def load(directory: Path, family: str) -> Model:
    return load_model(directory, family=family, device="cpu", precision="float32")


def test_the_catalog_has_the_promised_rows() -> None:
    names = "mini prot_t5 prot_t5_bfd prost_t5 ankh_base ankh_large"
    names += " prot_bert prot_bert_bfd prot_electra prot_albert prot_xlnet"
    names += " esm1b esm1v_1 esm1v_2 esm1v_3 esm1v_4 esm1v_5"
    names += " esm2_8m esm2_35m esm2_150m esm2_650m esm2_3b esm2_15b esmc_300m esmc_600m kmer"
    assert [name for name in MODELS if name in names.split()] == names.split()
    assert MODELS["esm1v_5"].checkpoint == "facebook/esm1v_t33_650M_UR90S_5"
    assert MODELS["esm2_150m"].checkpoint == "facebook/esm2_t30_150M_UR50D"


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if spec.checkpoint])
def test_a_named_model_without_weights_says_how_to_get_them(name: str, empty_cache: Path) -> None:
    checkpoint = MODELS[name].checkpoint
    message = (
        rf"{checkpoint} .*not in the cache at {empty_cache}.*HF_HUB_OFFLINE.*`hf download {checkpoint}`.*--weights"
    )
    with pytest.raises(WeightsUnavailableError, match=message):
        load_model(name, device="cpu")


def test_an_unreachable_hub_gives_the_same_error(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Nothing listens on the discard port: the connection is refused at once, with or without a network.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsUnavailableError, match="the hub could not be reached or refused"):
        load_model("esm2_8m", device="cpu")


def test_a_cached_model_loads_by_name_offline_and_records_the_commit(empty_cache: Path) -> None:
    repository = empty_cache / "models--facebook--esm2_t6_8M_UR50D"
    make_checkpoint(repository / "snapshots" / COMMIT, "esm", dim=320, n_layers=6, n_heads=20)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    model = load_model("esm2_8m", device="cpu", precision="float32")
    assert model.name == "esm2_8m"
    assert model.identity()["checkpoint"] == "facebook/esm2_t6_8M_UR50D"
    assert model.identity()["revision"] == COMMIT
    assert model.embed([b"MKV"]).shape == (1, 320)


def test_weights_from_a_directory_serve_a_named_model(tmp_path: Path) -> None:
    directory = make_checkpoint(tmp_path / "esm", "esm", dim=320, n_layers=6, n_heads=20)
    model = load_model("esm2_8m", weights=directory, device="cpu", precision="float32")
    assert model.name == "esm2_8m"
    assert model.identity()["revision"] is None
    assert model.embed([b"MKV"]).shape == (1, 320)


def test_a_directory_of_hf_download_gives_its_commit(tmp_path: Path) -> None:
    directory = make_checkpoint(tmp_path / "esm", "esm")
    metadata = directory / ".cache" / "huggingface" / "download" / "config.json.metadata"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"{COMMIT}\netag\n1700000000.0\n", encoding="utf-8")
    assert load(directory, "esm").identity()["revision"] == COMMIT


def test_a_checkpoint_of_another_size_is_not_the_named_model(tmp_path: Path) -> None:
    directory = make_checkpoint(tmp_path / "esm", "esm")
    with pytest.raises(InputError, match="has 32 dimensions .* 'esm2_8m' has 320"):
        load_model("esm2_8m", weights=directory)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_checkpoint_of_another_architecture_is_refused(family: str, checkpoints: dict[str, Path]) -> None:
    for kind, directory in checkpoints.items():
        if MODEL_TYPES.get(kind, kind) != MODEL_TYPES.get(family, family):
            with pytest.raises(InputError, match=f"holds a model of type .*family '{family}'"):
                load(directory, family)


MODEL_TYPES = {"prost_t5": "t5", "ankh": "t5", "esm1": "esm"}


def test_a_directory_needs_its_family(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="is a directory and no catalog name. Say which family"):
        load_model(checkpoints["t5"])


def test_unknown_names_are_named(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(UnknownNameError, match="Unknown model 'esm2_8n'. Did you mean 'esm2_8m'"):
        load_model("esm2_8n")
    with pytest.raises(UnknownNameError, match="Unknown model family 'esm2'. Did you mean 'esm'"):
        load_model(checkpoints["esm"], family="esm2")


def test_arguments_that_exclude_each_other_are_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"Both family= .--family. and weights="):
        load_model(checkpoints["esm"], family="esm", weights=checkpoints["esm"])


def test_a_repository_of_the_hub_loads_as_a_family_and_offline_from_the_cache(empty_cache: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"No weights for this id: lab/esm_mine .*in place of the id\."):
        load_model("lab/esm_mine", family="esm", device="cpu")
    repository = empty_cache / "models--lab--esm_mine"
    make_checkpoint(repository / "snapshots" / COMMIT, "esm")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    model = load_model("lab/esm_mine", family="esm", device="cpu", precision="float32", layer=-2)
    assert model.identity()["checkpoint"] == "lab/esm_mine"
    assert (model.name, model.identity()["revision"], model.identity()["layer"]) == ("esm_mine", COMMIT, 1)
    assert model.load_options == {
        "name_or_path": "lab/esm_mine",
        "family": "esm",
        "precision": "float32",
        "layer": 1,
    }


def test_a_repository_of_the_hub_needs_its_family_or_its_name_here() -> None:
    with pytest.raises(InputError, match=r"'lab/esm' is no catalog name but a repository .*Say which family"):
        load_model("lab/esm")
    with pytest.raises(InputError, match="It is the checkpoint of model 'prot_bert': pass that name"):
        load_model("Rostlab/prot_bert")


def test_load_options_name_the_weights_and_what_auto_became(tmp_path: Path) -> None:
    directory = make_checkpoint(tmp_path / "esm", "esm", dim=320, n_layers=6, n_heads=20)
    options = load_model("esm2_8m", weights=directory, device="cpu").load_options
    assert options is not None
    assert options.pop("precision") in ("float32", "bfloat16")
    assert options == {"name_or_path": "esm2_8m", "weights": str(directory), "layer": 6}
    assert load_model("kmer").load_options == {"name_or_path": "kmer", "precision": "auto"}


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="No directory at .*nowhere"):
        load_model(tmp_path / "nowhere", family="esm")


def test_a_directory_without_a_checkpoint_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom embedstore.errors import WeightsUnavailableError\nfrom embedstore.models import load_model\n"
        "try:\n    load_model(sys.argv[1], family='t5')\n"
        "except WeightsUnavailableError as error:\n    print(error, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"No config.json in {tmp_path}")
    assert done.stdout.endswith("False\n")


def test_identity_reads_no_weights(checkpoints: dict[str, Path]) -> None:
    model = load(checkpoints["esm"], "esm")
    model.identity()
    assert model._encoders == {}  # type: ignore[attr-defined]


def test_the_hash_of_one_weight_file_is_the_files_own(checkpoints: dict[str, Path]) -> None:
    for family, name in (("esm", "model.safetensors"), ("t5", "pytorch_model.bin")):
        expected = hashlib.sha256((checkpoints[family] / name).read_bytes()).hexdigest()
        assert load(checkpoints[family], family).identity()["weights_sha256"] == expected


def test_the_hash_of_shards_covers_each_of_them(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    from transformers import EsmModel

    directory = shutil.copytree(checkpoints["esm"], tmp_path / "sharded")
    (directory / "model.safetensors").unlink()
    encoder = EsmModel.from_pretrained(checkpoints["esm"], add_pooling_layer=False)
    encoder.save_pretrained(directory, max_shard_size="30KB")
    shards = sorted(directory.glob("model-*.safetensors"))
    assert len(shards) > 1
    lines = "".join(f"{hashlib.sha256(shard.read_bytes()).hexdigest()}  {shard.name}\n" for shard in shards)
    sharded, whole = load(directory, "esm"), load(checkpoints["esm"], "esm")
    assert sharded.identity()["weights_sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    np.testing.assert_array_equal(sharded.embed([b"MKV"]), whole.embed([b"MKV"]))
    shards[0].unlink()
    with pytest.raises(WeightsUnavailableError, match=f"{shards[0].name} is missing"):
        load(directory, "esm")


def test_other_weights_are_another_identity(tmp_path: Path) -> None:
    first, second = (load(make_checkpoint(tmp_path / str(n), "esm", seed=n), "esm").identity() for n in (0, 1))
    assert first["weights_sha256"] != second["weights_sha256"]
    assert first["tokens_sha256"] == second["tokens_sha256"]


def test_weights_changed_in_place_are_another_identity(tmp_path: Path) -> None:
    directory = make_checkpoint(tmp_path / "esm", "esm", seed=0)
    before = load(directory, "esm").identity()
    make_checkpoint(directory, "esm", seed=1)
    assert load(directory, "esm").identity() != before


def test_precision_family_and_tokenizer_are_in_the_identity(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    plain = load(checkpoints["esm"], "esm").identity()
    low = load_model(checkpoints["esm"], family="esm", device="cpu", precision="bfloat16").identity()
    assert (plain["precision"], low["precision"]) == ("float32", "bfloat16")
    assert {key for key in plain if plain[key] != low[key]} == {"precision"}
    policies = {load(checkpoints[kind], kind).identity()["residue_policy"] for kind in ("t5", "bert", "esm")}
    assert policies == {"UZOB read as X; *J read as unknown", "*J read as unknown"}
    other = shutil.copytree(checkpoints["esm"], tmp_path / "esm")
    vocabulary = (other / "vocab.txt").read_text(encoding="utf-8").replace("L\nA\n", "A\nL\n")
    (other / "vocab.txt").write_text(vocabulary, encoding="utf-8")
    assert load(other, "esm").identity()["tokens_sha256"] != plain["tokens_sha256"]


def test_a_directory_without_weights_or_configuration_is_refused(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    directory = shutil.copytree(checkpoints["bert"], tmp_path / "bert")
    (directory / "model.safetensors").unlink()
    with pytest.raises(WeightsUnavailableError, match=r"No weights in .*model\.safetensors or pytorch_model\.bin"):
        load(directory, "bert")
    (directory / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(FileFormatError, match=r"config\.json is not JSON"):
        load(directory, "bert")
    (directory / "config.json").unlink()
    with pytest.raises(WeightsUnavailableError, match=r"No config\.json"):
        load(directory, "bert")


@pytest.mark.parametrize("family", ["t5", "esm"])
def test_truncated_weights_are_refused(family: str, tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    directory = shutil.copytree(checkpoints[family], tmp_path / family)
    weights = next(path for path in directory.iterdir() if path.suffix in (".safetensors", ".bin"))
    weights.write_bytes(weights.read_bytes()[:5_000])
    with pytest.raises(WeightsUnavailableError, match="cannot be read"):
        load(directory, family).embed([b"MKV"])


def test_a_missing_tensor_is_never_filled_with_random_numbers(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    from safetensors.numpy import load_file, save_file

    directory = shutil.copytree(checkpoints["bert"], tmp_path / "bert")
    tensors = load_file(directory / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsUnavailableError, match=r"lack 1 tensors.*encoder\.layer\.1\.output\.dense\.weight"):
        load(directory, "bert").embed([b"MKV"])


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    import pickle

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    directory = shutil.copytree(checkpoints["t5"], tmp_path / "t5")
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps({"shared.weight": Payload()}, protocol=2))
    with pytest.raises(WeightsUnavailableError, match="cannot be read"):
        load(directory, "t5").embed([b"MKV"])
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_that_does_not_know_the_residues_is_refused(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    directory = shutil.copytree(checkpoints["esm"], tmp_path / "esm")
    vocabulary = (directory / "vocab.txt").read_text(encoding="utf-8").replace("\nW\n", "\nw\n")
    (directory / "vocab.txt").write_text(vocabulary, encoding="utf-8")
    with pytest.raises(InputError, match="does not know the residues W"):
        load(directory, "esm")


def test_loading_leaves_the_settings_of_transformers_alone(
    checkpoints: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    load(checkpoints["t5"], "t5").embed([b"MKV"])
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_made_checkpoints_are_the_same_for_a_seed_and_leave_torchs_generator_alone(tmp_path: Path) -> None:
    import torch

    state = torch.get_rng_state()
    paths = [make_checkpoint(tmp_path / str(n), "t5", seed=7) for n in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    first, second = ({p.name: p.read_bytes() for p in path.iterdir()} for path in paths)
    assert first == second
    assert json.loads(first["config.json"])["vocab_size"] == 128
