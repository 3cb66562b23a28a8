"""The three transformer families: the battery, and parity with the model cards' own recipes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModel,
    BertTokenizer,
    EsmTokenizer,
    T5EncoderModel,
    T5Tokenizer,
)

from embedstore.models import Model
from embedstore.models.transformer import TransformerModel, quiet_transformers
from embedstore.testing.model_contract import MIXED, ModelContract, distance

PROTEINS = [sequence.decode() for sequence in MIXED] + ["MUZOBXK"]


class TestT5(ModelContract):
    reads_as_x = b"UZOB"

    @pytest.fixture
    def model(self, loaded: dict[str, Model]) -> Model:
        return loaded["t5"]


class TestBert(ModelContract):
    reads_as_x = b"UZOB"

    @pytest.fixture
    def model(self, loaded: dict[str, Model]) -> Model:
        return loaded["bert"]


class TestEsm(ModelContract):
    @pytest.fixture
    def model(self, loaded: dict[str, Model]) -> Model:
        return loaded["esm"]


class Recipe:
    """The published way to embed, one protein at a time: tokenizer, forward, slice."""

    tokenizers: ClassVar[dict[str, Any]] = {"t5": T5Tokenizer, "bert": BertTokenizer, "esm": EsmTokenizer}

    def __init__(self, family: str, directory: Path) -> None:
        self.family = family
        with quiet_transformers():
            options = {} if family == "esm" else {"do_lower_case": False}
            self.tokenizer = self.tokenizers[family].from_pretrained(directory, **options)
            loader = T5EncoderModel if family == "t5" else AutoModel
            self.encoder = loader.from_pretrained(directory, dtype=torch.float32).eval()

    def text(self, protein: str) -> str:
        """As the model card prepares it: ProtT5's and ProtBert's cards join with blanks after UZOB -> X."""
        return protein if self.family == "esm" else " ".join(re.sub(r"[UZOB]", "X", protein))

    def residues(self, protein: str) -> NDArray[np.float32]:
        tokens = self.tokenizer(self.text(protein), return_tensors="pt")
        with torch.no_grad():
            hidden = self.encoder(**tokens).last_hidden_state[0]
        start = 0 if self.family == "t5" else 1
        rows: NDArray[np.float32] = hidden[start : start + len(protein)].numpy()
        return rows


@pytest.fixture(scope="module", params=["t5", "bert", "esm"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def recipe(family: str, checkpoints: dict[str, Path]) -> Recipe:
    return Recipe(family, checkpoints[family])


@pytest.fixture
def model(family: str, loaded: dict[str, Model]) -> TransformerModel:
    found = loaded[family]
    assert isinstance(found, TransformerModel)
    return found


def test_a_batch_equals_the_model_cards_recipe_one_protein_at_a_time(recipe: Recipe, model: TransformerModel) -> None:
    by_hand = np.vstack([recipe.residues(protein).mean(axis=0) for protein in PROTEINS])
    assert distance(model.embed([protein.encode() for protein in PROTEINS]), by_hand) <= 1e-5


def test_residue_states_equal_the_recipes_after_the_last_norm(recipe: Recipe, model: TransformerModel) -> None:
    for protein, states in zip(PROTEINS, model.embed_residues([p.encode() for p in PROTEINS]), strict=True):
        assert states.shape == (len(protein), model.dim)
        assert states.dtype == np.float32
        assert distance(states, recipe.residues(protein)) <= 1e-5


def test_special_tokens_in_the_mean_would_be_noticed(recipe: Recipe, model: TransformerModel) -> None:
    tokens = recipe.tokenizer(recipe.text("MKVLAT"), return_tensors="pt")
    with torch.no_grad():
        everything = recipe.encoder(**tokens).last_hidden_state[0].mean(dim=0).numpy()
    assert distance(model.embed([b"MKVLAT"]), everything[None]) > 0.02


def test_a_batch_without_its_mask_would_be_noticed(recipe: Recipe, model: TransformerModel) -> None:
    tokens, mask = model.tokens.batch([b"MKV", MIXED[0]])
    start = len(model.tokens.prefix)
    with torch.no_grad():
        ids = torch.from_numpy(tokens)
        # ESM and BERT pad positions are visible too once the mask says that they are residues.
        unmasked = recipe.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        masked = recipe.encoder(input_ids=ids, attention_mask=torch.from_numpy(mask)).last_hidden_state
    alone = model.embed([b"MKV"])
    assert distance(masked[0, start : start + 3].mean(dim=0).numpy()[None], alone) <= 1e-5
    assert distance(unmasked[0, start : start + 3].mean(dim=0).numpy()[None], alone) > 0.1


def test_the_other_spelling_of_the_input_is_unknown_to_the_tokenizer(recipe: Recipe, model: TransformerModel) -> None:
    unk = recipe.tokenizer.unk_token_id
    wrong = "mkv" if recipe.family == "esm" else "MKV"
    right = recipe.tokenizer(recipe.text("MKV"))["input_ids"]
    assert unk in recipe.tokenizer(wrong)["input_ids"]
    assert unk not in right
    assert model.tokens.batch([b"MKV"])[0][0].tolist() == right


def test_token_dropout_rescaling_is_kept(checkpoints: dict[str, Path], loaded: dict[str, Model]) -> None:
    recipe = Recipe("esm", checkpoints["esm"])
    recipe.encoder.embeddings.token_dropout = False
    without = recipe.residues("MKVLAT").mean(axis=0)
    assert distance(loaded["esm"].embed([b"MKVLAT"]), without[None]) > 1e-3


def test_a_protein_longer_than_the_training_crop_is_taken_whole(loaded: dict[str, Model]) -> None:
    states = loaded["esm"].embed_residues([MIXED[5] * 25])  # type: ignore[attr-defined]
    assert states[0].shape == (len(MIXED[5]) * 25, 32)


def test_bert_says_how_long_its_positions_reach(loaded: dict[str, Model]) -> None:
    assert loaded["bert"].max_residues == 4_094
    assert loaded["t5"].max_residues is None
    assert loaded["esm"].max_residues is None


def test_declared_unknown_letters_are_those_without_a_token(loaded: dict[str, Model]) -> None:
    assert loaded["t5"].unknown_letters == b"*BJOUZ"
    assert loaded["bert"].unknown_letters == b"*BJOUZ"
    assert loaded["esm"].unknown_letters == b"*J"
