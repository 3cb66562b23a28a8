"""The result is a model: a folder that builds, predicts, and is only itself on its own base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import embedstore
import heads
from cli.embedstore_commands import app as embedstore_app
from cli.heads_commands import app as heads_app
from embedstore.errors import InputError, SpaceMismatchError, WeightsUnavailableError
from embedstore.models import load_model
from embedstore.models.encoder_model import EncoderModel
from embedstore.store import Store
from embedstore.testing.checkpoints import family_of, make_checkpoint
from embedstore.testing.model_contract import MIXED, distance
from heads.api.load import FittedHead
from heads.features.sources import SequenceSource
from heads.finetuning.head import FinetuneHead
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection

SMALL: dict[str, Any] = {
    "start": "random",
    "dropout": 0.0,
    "encoder_dropout": 0.0,
    "precision": "float32",
    "device": "cpu",
    "epochs": 3,
    "encoder_rate": 1e-2,
    "head_rate": 1e-2,
}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Sixty proteins of three families with a split column, and no vectors."""
    root = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(3)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    families = [rng.choice(letters, 30) for _ in range(3)]
    lines = ["id,sequence,label,split"]
    for number in range(60):
        changed = np.where(rng.random(30) < 0.2, rng.choice(letters, 30), families[number % 3])
        split = "test" if number >= 48 else "valid" if number >= 39 else "train"
        lines.append(f"p{number},{''.join(changed)},F{number % 3},{split}")
    (root / "families.csv").write_text("\n".join(lines) + "\n")
    opened = embedstore.open(root / "proteins.zarr", mode="a")
    opened.add("families", root / "families.csv")
    opened.refresh()
    return opened


@pytest.fixture(scope="session")
def folders(
    store: Store, checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, FittedHead]]:
    """Fine-tuned once for each way that is asked for."""
    root = tmp_path_factory.mktemp("tuned")
    made: dict[str, tuple[Path, FittedHead]] = {}

    def make(target_type: str, method: str, **settings: Any) -> tuple[Path, FittedHead]:
        name = "-".join([target_type, method, *map(str, settings)])
        if name not in made:
            base = {"model": str(checkpoints[target_type]), "family": family_of(target_type), "method": method}
            fitted = heads.finetune(store, dataset="families", out=root / name, params={**SMALL, **base, **settings})
            made[name] = root / name, fitted
        return made[name]

    return make


def own_means(fitted: FittedHead) -> np.ndarray[Any, Any]:
    head = fitted.head
    assert isinstance(head, FinetuneHead)
    assert head._trained is not None
    encoder = head._trained.network.encoder
    return np.asarray(encoder.means(*encoder.tokens(MIXED)).detach().numpy())


WAYS = [("esm", "lora"), ("t5", "full"), ("mini", "lora"), ("mini", "full"), ("bert", "last_n"), ("xlnet", "lora")]


@pytest.mark.parametrize(("target_type", "method"), WAYS)
def test_the_folder_as_a_model_gives_the_trained_encoders_own_means(
    target_type: str, method: str, folders: Callable[..., tuple[Path, FittedHead]], checkpoints: dict[str, Path]
) -> None:
    folder, fitted = folders(target_type, method)
    model = load_model(folder, device="cpu", precision="float32")
    assert isinstance(model, EncoderModel)
    assert distance(model.embed(MIXED), own_means(fitted)) <= 1e-5
    base = load_model(checkpoints[target_type], family=family_of(target_type), device="cpu", precision="float32")
    assert distance(model.embed(MIXED), base.embed(MIXED)) > 1e-3
    assert model.name == folder.name
    identity, before = model.identity(), base.identity()
    assert (identity["adapter_sha256"] is None) == (method != "lora")
    assert (identity["weights_sha256"] == before["weights_sha256"]) == (method == "lora")
    low = model.in_precision("bfloat16")
    assert distance(low.embed(MIXED), own_means(fitted)) < 6e-2
    again = load_model(**model.load_options or {}, device="cpu")
    assert again.identity() == identity


@pytest.mark.parametrize(("target_type", "dora"), [("esm", False), ("esm", True), ("mini", False)])
def test_merged_weights_give_what_the_adapter_gives(
    target_type: str, dora: bool, folders: Callable[..., tuple[Path, FittedHead]], tmp_path: Path
) -> None:
    _, fitted = folders(target_type, "lora", **({"dora": True} if dora else {}))
    fitted.head.set_params(merge=True)
    try:
        merged = load_model(fitted.save(tmp_path / "merged"), device="cpu", precision="float32")
    finally:
        fitted.head.set_params(merge=False)
    assert not (tmp_path / "merged" / "adapter_model.safetensors").exists()
    assert distance(merged.embed(MIXED), own_means(fitted)) <= 1e-5
    # It is a checkpoint like any other now.
    plain = load_model(tmp_path / "merged", family=target_type, device="cpu", precision="float32")
    np.testing.assert_array_equal(plain.embed(MIXED), merged.embed(MIXED))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_reads_the_adapter_too(
    folders: Callable[..., tuple[Path, FittedHead]], checkpoints: dict[str, Path]
) -> None:
    import peft

    folder, fitted = folders("esm", "lora")
    base = load_model(checkpoints["esm"], family="esm", device="cpu", precision="float32")
    assert isinstance(base, EncoderModel)
    wrapped = peft.PeftModel.from_pretrained(base.new_encoder(), folder)
    tokens, mask = (np.asarray(array) for array in base.tokens.batch(MIXED))
    import torch

    encoder = wrapped.get_base_model()
    found = base.mean_states(encoder, torch.from_numpy(tokens), torch.from_numpy(mask)).detach().numpy()
    assert distance(found, own_means(fitted)) <= 1e-5


def test_a_frozen_model_is_its_base_and_makes_the_same_space(
    folders: Callable[..., tuple[Path, FittedHead]], checkpoints: dict[str, Path]
) -> None:
    folder, _ = folders("esm", "frozen")
    model = load_model(folder, device="cpu", precision="float32")
    base = load_model(checkpoints["esm"], family="esm", device="cpu", precision="float32")
    assert model.identity() == base.identity()


def test_a_saved_model_predicts_what_it_predicted_before(
    folders: Callable[..., tuple[Path, FittedHead]], store: Store, tmp_path: Path
) -> None:
    data = read_task(TaskSelection(dataset="families"), store)
    rows = SequenceSource().examples(data, data.rows("test"))
    for target_type, method in (("esm", "lora"), ("mini", "full"), ("esm", "frozen")):
        folder, fitted = folders(target_type, method)
        expected = np.concatenate(list(fitted.head.outputs(rows.features)))
        found = np.concatenate(list(heads.load(folder).head.outputs(rows.features)))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        report = heads.evaluate(store, folder)
        assert report.n_rows == 12
        copied = heads.load(folder).save(tmp_path / f"{target_type}-{method}")
        assert {path.name for path in copied.iterdir()} == {path.name for path in folder.iterdir()}


def test_a_wrong_base_is_refused(folders: Callable[..., tuple[Path, FittedHead]], tmp_path: Path) -> None:
    folder, _ = folders("esm", "lora")
    other = make_checkpoint(tmp_path / "other", "esm", dim=16, n_heads=2, seed=1)
    with pytest.raises(SpaceMismatchError, match="was trained from 'tiny_esm' with weights_sha256"):
        load_model(folder, weights=other, device="cpu")


def test_a_base_that_has_moved_is_asked_for_and_proved(
    folders: Callable[..., tuple[Path, FittedHead]], checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder, fitted = folders("esm", "lora")
    moved = shutil.copytree(checkpoints["esm"], tmp_path / "moved")
    copied = shutil.copytree(folder, tmp_path / "copied")
    manifest = json.loads((copied / "finetuned.json").read_text())
    manifest["base"]["name_or_path"] = str(tmp_path / "gone")
    (copied / "finetuned.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsUnavailableError, match="which is gone. Say where it is now"):
        load_model(copied, device="cpu")
    model = load_model(copied, weights=moved, device="cpu", precision="float32")
    assert distance(model.embed(MIXED), own_means(fitted)) <= 1e-5


@pytest.mark.parametrize(("target_type", "method"), [("esm", "lora"), ("mini", "full")])
def test_a_changed_file_is_noticed(
    target_type: str, method: str, folders: Callable[..., tuple[Path, FittedHead]], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders(target_type, method)[0], tmp_path / "changed")
    file = folder / ("adapter_model.safetensors" if method == "lora" else "model.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WeightsUnavailableError, match=rf"{file.name} is missing or not the file that"):
        load_model(folder, device="cpu")


def test_another_family_or_layer_than_the_folders_is_refused(
    folders: Callable[..., tuple[Path, FittedHead]], checkpoints: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match="family is 'bert', and the fine-tuned model at .* has family 'esm'"):
        load_model(folders("esm", "lora")[0], family="bert", device="cpu")
    with pytest.raises(InputError, match="layer is 1, and .* has layer 2"):
        load_model(folders("esm", "lora")[0], layer=1, device="cpu")
    with pytest.raises(InputError, match="holds all its weights and needs no base"):
        load_model(folders("mini", "full")[0], weights=checkpoints["mini"], device="cpu")


def test_the_commands_train_build_and_predict_end_to_end(store: Store, tmp_path: Path) -> None:
    run = CliRunner().invoke
    out, place = tmp_path / "families-mini", ["--store", str(store.path)]
    settings = [f"--param={name}={value}" for name, value in (("encoder_rate", 0.003), ("head_rate", 0.01))]
    rows = ["--dataset", "families", "--epochs", "2", "--device", "cpu"]
    tune = ["finetune", *rows, *settings, "--out", str(out), *place]
    found = run(heads_app, tune)
    assert found.exit_code == 0, found.output
    assert "39 training and 9 validation rows" in found.output
    assert not (tmp_path / "families-mini.training" / "training.safetensors").exists()
    built = run(embedstore_app, ["build", "--model", str(out), "--device", "cpu", *place])
    assert built.exit_code == 0, built.output
    opened = embedstore.open(store.path)
    space = opened.space("families-mini")
    assert space.identity["adapter_sha256"]
    probe = opened.dataset("families").digests[:5]
    model = load_model(out, device="cpu")
    made = model.embed(opened.sequences.take(probe))
    assert distance(np.asarray(space.take(probe), np.float32), made) < 2e-3
    knn = heads.fit(opened, dataset="families", head="knn", space="families-mini")
    assert knn.space_id == space.id
    (tmp_path / "new.fasta").write_text(">x\nMKVLAT\n>y\nWWWW\n")
    said = run(heads_app, ["predict", str(out), str(tmp_path / "new.fasta"), "--json", *place])
    assert said.exit_code == 0, said.output
    assert [row["id"] for row in json.loads(said.stdout)] == ["x", "y"]
    wrong = run(heads_app, [*tune, "--method", "lorra"])
    assert isinstance(wrong.exception, InputError)


def test_a_wrong_setting_leaves_nothing_behind(store: Store, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    base = {"model": str(checkpoints["esm"]), "family": "esm"}
    with pytest.raises(InputError, match="start is 'linear', and hidden"):
        heads.finetune(
            store, dataset="families", out=tmp_path / "tuned", params={"start": "linear", "hidden": [4], **base}
        )
    assert not list(tmp_path.iterdir())
