"""The transformer families: the battery, and parity with the model cards' own recipes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from embedstore.catalog import load_target
from embedstore.errors import InputError
from embedstore.models import MODELS, Model, load_model
from embedstore.models.base import STANDARD_RESIDUES
from embedstore.models.catalog import FAMILIES
from embedstore.models.encoder_model import EncoderModel
from embedstore.models.reference import Reference, intermediate_layer, reference_of
from embedstore.models.transformer import TransformerModel
from embedstore.testing.checkpoints import KINDS, family_of, make_checkpoint
from embedstore.testing.model_contract import MIXED, ModelContract, distance

PROTEINS = [*MIXED, b"MUZOBXK"]
WITH_TOKENIZER = [kind for kind in KINDS if kind != "mini"]
"""Kinds that transformers loads, and whose recipe is a tokenizer and an encoder of its."""


@pytest.fixture(scope="module", params=WITH_TOKENIZER)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def recipe(kind: str, checkpoints: dict[str, Path]) -> Reference:
    return Reference(checkpoints[kind], family_of(kind))


@pytest.fixture
def model(kind: str, loaded: dict[str, Model]) -> TransformerModel:
    found = loaded[kind]
    assert isinstance(found, TransformerModel)
    return found


class TestEveryFamily(ModelContract):
    @pytest.fixture(params=KINDS)
    def model(self, request: pytest.FixtureRequest, loaded: dict[str, Model]) -> Model:
        found = loaded[request.param]
        assert isinstance(found, EncoderModel)
        self.reads_as_x = found.spec.unknown_to_x
        return found


class TestAnIntermediateLayer(ModelContract):
    @pytest.fixture
    def model(self, checkpoints: dict[str, Path]) -> Model:
        return load_model(checkpoints["esm"], family="esm", device="cpu", precision="float32", layer=1)


def test_a_batch_equals_the_model_cards_recipe_one_protein_at_a_time(
    recipe: Reference, model: TransformerModel
) -> None:
    by_hand = np.vstack([recipe.residues(protein).mean(axis=0) for protein in PROTEINS])
    assert distance(model.embed(PROTEINS), by_hand) <= 1e-5


def test_residue_states_equal_the_recipes_after_the_last_norm(recipe: Reference, model: TransformerModel) -> None:
    for protein, states in zip(PROTEINS, model.embed_residues(PROTEINS), strict=True):
        assert states.shape == (len(protein), model.dim)
        assert distance(states, recipe.residues(protein)) <= 1e-5


@pytest.mark.parametrize("layer", [0, 1, -2])
def test_intermediate_states_equal_the_checkpoints_own(
    layer: int, kind: str, recipe: Reference, checkpoints: dict[str, Path]
) -> None:
    model = load_model(checkpoints[kind], family=family_of(kind), device="cpu", precision="float32", layer=layer)
    assert model.identity()["layer"] == (1 if layer == -2 else layer)
    for protein, states in zip(PROTEINS, model.embed_residues(PROTEINS), strict=True):
        assert distance(states, recipe.residues(protein, layer=1 if layer == -2 else layer)) <= 1e-5


def test_pooling_first_takes_the_special_token_before_the_residues(recipe: Reference, model: TransformerModel) -> None:
    if "first" not in model.poolings:
        assert model.tokens.prefix == ()
        return
    with torch.no_grad():
        by_hand = [recipe.encoder(**recipe.tokens(p.decode())).last_hidden_state[0, 0].numpy() for p in PROTEINS]
    assert distance(model.embed(PROTEINS, pooling="first"), np.vstack(by_hand)) <= 1e-5


def test_pooling_max_is_the_maximum_over_residues_alone(recipe: Reference, model: TransformerModel) -> None:
    by_hand = np.vstack([recipe.residues(protein).max(axis=0) for protein in PROTEINS])
    assert distance(model.embed(PROTEINS, pooling="max"), by_hand) <= 1e-5


def test_special_tokens_in_the_mean_would_be_noticed(recipe: Reference, model: TransformerModel) -> None:
    with torch.no_grad():
        everything = recipe.encoder(**recipe.tokens("MKVLAT")).last_hidden_state[0].mean(dim=0).numpy()
    assert distance(model.embed([b"MKVLAT"]), everything[None]) > 0.02


def test_a_batch_without_its_mask_would_be_noticed(recipe: Reference, model: TransformerModel) -> None:
    tokens, mask = model.tokens.batch([b"MKV", MIXED[0]])
    start = len(model.tokens.prefix)
    with torch.no_grad():
        ids = torch.from_numpy(tokens)
        # ESM and BERT pad positions are visible too once the mask says that they are residues.
        unmasked = recipe.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        masked = recipe.encoder(input_ids=ids, attention_mask=torch.from_numpy(mask)).last_hidden_state
    alone = model.embed([b"MKV"])
    assert distance(masked[0, start : start + 3].mean(dim=0).numpy()[None], alone) <= 1e-5
    assert distance(unmasked[0, start : start + 3].mean(dim=0).numpy()[None], alone) > 0.05


def test_xlnets_padding_on_the_right_equals_its_tokenizers_on_the_left(
    checkpoints: dict[str, Path], loaded: dict[str, Model]
) -> None:
    recipe = Reference(checkpoints["xlnet"], "xlnet")
    batch = recipe.tokenizer(["M K V", " ".join(MIXED[0].decode())], padding=True, return_tensors="pt")
    n_pad = int((batch["attention_mask"][0] == 0).sum())
    assert n_pad == len(MIXED[0]) - 3
    assert batch["input_ids"][0, 0] == recipe.tokenizer.pad_token_id
    with torch.no_grad():
        hidden = recipe.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    on_the_left = hidden[0, n_pad:-2].numpy()
    on_the_right = loaded["xlnet"].embed_residues([b"MKV", MIXED[0]])[0]
    assert distance(on_the_right, on_the_left) <= 1e-5


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("t5", "M X X"),
        ("prost_t5", "<AA2fold> M X X"),
        ("ankh", ["M", "U", "X"]),
        ("bert", "M X X"),
        ("electra", "M X X"),
        ("albert", "M X X"),
        ("xlnet", "M <unk> <unk>"),
        ("esm", "MUX"),
        ("esmc", "MUX"),
    ],
)
def test_recipes_spell_a_protein_as_its_model_card_does(
    kind: str, text: str | list[str], checkpoints: dict[str, Path]
) -> None:
    assert Reference(checkpoints[kind], kind).text("MUX") == text


def test_no_tokenizer_reads_one_of_the_twenty_residues_as_unknown(recipe: Reference, model: TransformerModel) -> None:
    right = recipe.tokens(STANDARD_RESIDUES.decode())["input_ids"][0].tolist()
    assert model.tokens.unk_id not in right
    assert model.tokens.batch([STANDARD_RESIDUES])[0][0].tolist() == right
    assert len(set(right)) == len(right)


def test_the_other_spelling_of_the_input_is_unknown_to_the_tokenizer(kind: str, recipe: Reference) -> None:
    wrong = {"esm": "mkv", "esm1": "mkv", "esmc": "mkv", "ankh": "M K V"}.get(kind, "MKV")
    tokenizer = recipe.tokenizer
    unknown = tokenizer.convert_tokens_to_ids("<unk>") if kind == "ankh" else tokenizer.unk_token_id
    assert unknown in tokenizer(wrong)["input_ids"]


def test_the_tokenizer_that_transformers_makes_for_ankh_would_be_noticed(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedstore.models.t5 import AnkhModel

    def by_class(self: AnkhModel, directory: Path) -> object:
        return transformers.T5Tokenizer.from_pretrained(directory)

    monkeypatch.setattr(AnkhModel, "_load_tokenizer", by_class)
    with pytest.raises(InputError, match=r"does not give one token a residue: 'AAA' became \[2, 3, 2, 3, 2, 3, 1\]"):
        load_model(checkpoints["ankh"], family="ankh", device="cpu")


def test_lower_case_is_refused_and_never_read_as_structure(model: TransformerModel) -> None:
    with pytest.raises(InputError, match="'m' at residue 1"):
        model.embed([b"mkv"])


def test_token_dropout_rescaling_is_kept(checkpoints: dict[str, Path], loaded: dict[str, Model]) -> None:
    recipe = Reference(checkpoints["esm"], "esm")
    recipe.encoder.embeddings.token_dropout = False
    without = recipe.residues(b"MKVLAT").mean(axis=0)
    assert distance(loaded["esm"].embed([b"MKVLAT"]), without[None]) > 1e-3


def test_a_protein_longer_than_the_training_crop_is_taken_whole(loaded: dict[str, Model]) -> None:
    states = loaded["esm"].embed_residues([MIXED[5] * 25])
    assert states[0].shape == (len(MIXED[5]) * 25, 32)


def test_how_long_a_protein_may_be_follows_from_the_positions(loaded: dict[str, Model]) -> None:
    longest = {kind: model.max_residues for kind, model in loaded.items()}
    assert longest == {
        "t5": None,
        "prost_t5": None,
        "ankh": None,
        "bert": 4_094,
        "electra": 4_094,
        "albert": 4_094,
        "xlnet": None,
        "esm": None,
        "esm1": 1_022,
        "esmc": 2_048,
        "mini": None,
    }
    assert {model.window_residues for model in loaded.values()} == {4_096, 4_094, 1_022, 2_048}


def test_esm1_is_exact_up_to_its_last_position(checkpoints: dict[str, Path], loaded: dict[str, Model]) -> None:
    longest = (MIXED[5] * 20)[:1_022]
    states = loaded["esm1"].embed_residues([longest, b"MKV"])[0]
    assert distance(states, Reference(checkpoints["esm1"], "esm").residues(longest)) <= 1e-5


def test_declared_unknown_letters_are_those_without_a_token(loaded: dict[str, Model]) -> None:
    unknown = {kind: model.unknown_letters for kind, model in loaded.items()}
    replaced = dict.fromkeys(["t5", "prost_t5", "bert", "electra", "albert"], b"*BJOUZ")
    kept = dict.fromkeys(["ankh", "esm", "esm1", "esmc"], b"*J")
    assert unknown == {**replaced, **kept, "xlnet": b"*BJOUXZ", "mini": b"*BJOUXZ"}


def test_every_family_has_a_small_checkpoint() -> None:
    assert {family_of(kind) for kind in KINDS} == set(FAMILIES)


def test_rows_say_what_their_family_says() -> None:
    for row in MODELS.values():
        if row.checkpoint is not None:
            family = load_target(FAMILIES[row.family])
            assert row.target == FAMILIES[row.family]
            assert row.unknown_to_x == family.unknown_to_x, row.name
            assert row.half_precision == family.half_precision or row.name == "esm2_15b"
            assert row.window_residues == min(family.longest_window, row.max_residues or 4_096), row.name


# The names under which the real repositories hold their encoders: saved with a head, whose tensors are left unread.
HEADS = {
    "bert": "BertForMaskedLM",
    "electra": "ElectraForPreTraining",
    "albert": "AlbertForMaskedLM",
    "xlnet": "XLNetLMHeadModel",
    "esm": "EsmForMaskedLM",
    "esm1": "EsmForMaskedLM",
    "esmc": "EsmcForMaskedLM",
    "t5": "T5ForConditionalGeneration",
    "ankh": "T5ForConditionalGeneration",
}


@pytest.mark.parametrize("kind", list(HEADS))
def test_a_checkpoint_saved_with_a_head_gives_the_encoders_states(
    kind: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    directory = shutil.copytree(checkpoints[kind], tmp_path / kind)
    for file in (*directory.glob("*.safetensors"), *directory.glob("*.bin")):
        file.unlink()
    encoder = type(Reference(checkpoints[kind], family_of(kind)).encoder)
    head = getattr(transformers, HEADS[kind])
    torch.manual_seed(0)
    whole = head(encoder.config_class.from_pretrained(checkpoints[kind]))
    whole.save_pretrained(directory)
    model = load_model(directory, family=family_of(kind), device="cpu", precision="float32")
    inner = whole.encoder if kind in ("t5", "ankh") else getattr(whole, whole.base_model_prefix)
    tokens, mask = (torch.from_numpy(array) for array in model.tokens.batch([b"MKVLAT"]))  # type: ignore[attr-defined]
    with torch.no_grad():
        hidden = inner.eval()(input_ids=tokens, attention_mask=mask).last_hidden_state[0]
    start = len(model.tokens.prefix)  # type: ignore[attr-defined]
    assert distance(model.embed_residues([b"MKVLAT"])[0], hidden[start : start + 6].numpy()) <= 1e-5


def test_rotary_frequencies_of_old_checkpoints_are_read_layer_by_layer(
    checkpoints: dict[str, Path], loaded: dict[str, Model], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    # As facebook/esm2_t6_8M_UR50D has them: one a layer, and a table of positions that is not used.
    directory = shutil.copytree(checkpoints["esm"], tmp_path / "esm")
    tensors = load_file(directory / "model.safetensors")
    tensors = {name: tensor for name, tensor in tensors.items() if "inv_freq" not in name}
    frequencies = 10_000.0 ** -(torch.arange(0, 8, 2) / 8)
    for layer in range(2):
        tensors[f"encoder.layer.{layer}.attention.self.rotary_embeddings.inv_freq"] = frequencies.clone()
    tensors["embeddings.position_embeddings.weight"] = torch.randn(1_026, 32)
    save_file(
        {f"esm.{name}": tensor for name, tensor in tensors.items()}, directory / "model.safetensors", {"format": "pt"}
    )
    old = load_model(directory, family="esm", device="cpu", precision="float32")
    assert distance(old.embed(MIXED), loaded["esm"].embed(MIXED)) <= 1e-5


def test_a_reference_takes_the_layer_of_a_model_or_the_family_of_a_directory(checkpoints: dict[str, Path]) -> None:
    model = load_model(checkpoints["bert"], family="bert", device="cpu", precision="float32", layer=1)
    assert isinstance(model, TransformerModel)
    of_model = reference_of(model).residues(b"MKV", layer=intermediate_layer(model))
    np.testing.assert_array_equal(of_model, Reference(checkpoints["bert"], "bert").residues(b"MKV", layer=1))


@pytest.mark.parametrize(
    ("held", "family", "message"),
    [
        ("prost_t5", "t5", r"holds a ProstT5, which needs <AA2fold> .*family='prost_t5'"),
        ("t5", "prost_t5", r"begins with the tokens \[2\] .*does not know the special tokens of its family"),
        ("ankh", "t5", "feed-forward layer 'gated-gelu' .*'t5' needs one that is not gated"),
        ("ankh", "prost_t5", "feed-forward layer 'gated-gelu' .*'prost_t5' needs one that is not gated"),
        ("t5", "ankh", "feed-forward layer 'relu' .*'ankh' needs one that is gated"),
    ],
)
def test_families_of_one_architecture_are_told_apart(
    held: str, family: str, message: str, checkpoints: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match=message):
        load_model(checkpoints[held], family=family, device="cpu")


def test_an_xlnet_that_attends_one_way_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    directory = shutil.copytree(checkpoints["xlnet"], tmp_path / "xlnet")
    config = (directory / "config.json").read_text(encoding="utf-8")
    (directory / "config.json").write_text(config.replace('"attn_type": "bi"', '"attn_type": "uni"'), encoding="utf-8")
    with pytest.raises(InputError, match="attends in one direction"):
        load_model(directory, family="xlnet", device="cpu")


def test_a_transformers_without_esmc_is_one_clear_error(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedstore.models import transformers_loader

    class Older:
        __version__ = "4.56.0"

    monkeypatch.setattr(transformers_loader, "transformers", Older())
    with pytest.raises(InputError, match=r"transformers 4\.56\.0 has no Esmc\w+; expected 5\.23 or newer. Run `pip"):
        load_model(checkpoints["esmc"], family="esmc", device="cpu")


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_is_not_there_is_refused(layer: int, checkpoints: dict[str, Path]) -> None:
    message = re.escape(f"no layer {layer}; it has 2. Pass 0 (what enters the first) to 2 (the last), or -1 to -3")
    with pytest.raises(InputError, match=message):
        load_model(checkpoints["esm"], family="esm", device="cpu", layer=layer)
    with pytest.raises(InputError, match="no layer 1; it has 0"):
        load_model("kmer", layer=1)


def test_made_checkpoints_have_the_real_sizes_of_vocabulary(tmp_path: Path) -> None:
    import json

    sizes = {
        kind: json.loads((make_checkpoint(tmp_path / kind, kind) / "config.json").read_text())["vocab_size"]
        for kind in WITH_TOKENIZER
    }
    expected = {"t5": 128, "prost_t5": 150, "ankh": 144, "bert": 30, "electra": 30, "albert": 34, "xlnet": 37}
    assert sizes == {**expected, "esm": 33, "esm1": 33, "esmc": 64}
