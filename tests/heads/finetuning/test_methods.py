"""What learns under each method, in every family."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from embedstore.errors import InputError
from embedstore.models.encoder_model import EncoderModel
from embedstore.models.trainable import trainable
from embedstore.testing.checkpoints import KINDS
from embedstore.testing.model_contract import MIXED, distance
from heads.finetuning.head import FinetuneHead
from heads.finetuning.methods import prepare
from heads.finetuning.settings import METHODS, Settings

from .conftest import Rows

NO_LAYERS_OF_ITS_OWN = {"albert"}


def encoder_of(head: FinetuneHead) -> dict[str, torch.Tensor]:
    assert head._trained is not None
    return dict(head._trained.network.encoder.encoder.named_parameters())


def fresh(head: FinetuneHead) -> dict[str, torch.Tensor]:
    return dict(trainable(head.base_model()).encoder.named_parameters())


@pytest.mark.parametrize("target_type", KINDS)
def test_who_trains_sees_the_residues_that_a_build_sees(target_type: str, tuned: Callable[..., FinetuneHead]) -> None:
    model = tuned(target_type).base_model()
    encoder = trainable(model)
    tokens, mask = encoder.tokens(MIXED)
    assert distance(encoder.means(tokens, mask).detach().numpy(), model.embed(MIXED)) <= 1e-5
    expected = np.concatenate(model.embed_residues(MIXED))
    assert distance(encoder(tokens, mask).detach().numpy(), expected) <= 1e-5


@pytest.mark.parametrize("target_type", KINDS)
def test_alone_equals_in_a_padded_batch_in_training_mode_too(
    target_type: str, tuned: Callable[..., FinetuneHead]
) -> None:
    encoder = trainable(tuned(target_type).base_model())
    encoder.set_dropout(0.0)
    encoder.train()
    together = encoder.means(*encoder.tokens(MIXED)).detach().numpy()
    alone = np.vstack([encoder.means(*encoder.tokens([one])).detach().numpy() for one in MIXED])
    assert distance(together, alone) <= 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target_type", KINDS)
def test_a_step_lowers_the_loss_and_changes_what_the_method_says(
    target_type: str, method: str, rows: Callable[..., Rows], tuned: Callable[..., FinetuneHead]
) -> None:
    head = tuned(target_type, method=method, epochs=3, batch_size=12, clip=None, schedule="constant", monitor="loss")
    if method == "last_n" and target_type in NO_LAYERS_OF_ITS_OWN:
        with pytest.raises(InputError, match="share one set of weights"):
            head.fit(*rows(12))
        return
    head.fit(*rows(12))
    losses = [epoch.train_loss for epoch in head.history_]
    assert losses[1] < losses[0]
    before, after = fresh(head), encoder_of(head)
    renamed = {name.replace(".base_layer", ""): weight for name, weight in after.items()}
    changed = {name for name, weight in before.items() if not torch.equal(weight, renamed[name])}
    if method in ("frozen", "lora"):
        assert not changed
    if method == "lora":
        assert {name for name in renamed if name not in before} == {
            name for name, weight in renamed.items() if weight.requires_grad
        }
        assert any(weight.abs().max() > 0 for name, weight in renamed.items() if "lora_B" in name)
    if method == "full":
        assert len(changed) > len(before) / 2
    if method == "last_n":
        assert changed
        first = next(iter(trainable(head.base_model()).blocks())).named_parameters()
        model_names = {name for name, _ in first}
        blocks_path = head.base_model().blocks_path
        assert not changed & {f"{blocks_path}.0.{name}" for name in model_names}
        assert not {name for name in changed if "embed" in name or name.startswith(("shared", "residue"))}


@pytest.mark.parametrize(("method", "dora"), [("lora", False), ("lora", True)])
def test_adapters_begin_as_nothing(method: str, dora: bool, tuned: Callable[..., FinetuneHead]) -> None:
    model = tuned().base_model()
    encoder = trainable(model)
    prepare(encoder, Settings(method=method, dora=dora), model=model.name)
    made = encoder.means(*encoder.tokens(MIXED)).detach().numpy()
    assert distance(made, model.embed(MIXED)) <= 1e-5


@pytest.mark.parametrize("target_type", ["t5", "bert", "esm", "esmc"])
def test_checkpointed_gradients_are_the_same_gradients(target_type: str, tuned: Callable[..., FinetuneHead]) -> None:
    found = []
    for checkpointing in (False, True):
        model = tuned(target_type).base_model()
        encoder = trainable(model)
        settings = Settings(method="full", encoder_dropout=0.0, gradient_checkpointing=checkpointing)
        prepare(encoder, settings, model=model.name)
        encoder.train()
        encoder.means(*encoder.tokens(MIXED)).square().sum().backward()  # type: ignore[no-untyped-call]
        found.append({name: weight.grad for name, weight in encoder.named_parameters() if weight.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-5)


def test_an_encoder_that_cannot_checkpoint_gradients_is_named(tuned: Callable[..., FinetuneHead]) -> None:
    model = tuned("mini").base_model()
    with pytest.raises(InputError, match="family 'mini'.* cannot checkpoint gradients"):
        prepare(trainable(model), Settings(method="full", gradient_checkpointing=True), model=model.name)


def test_targets_that_match_nothing_are_answered_with_what_there_is(
    rows: Callable[..., Rows], tuned: Callable[..., FinetuneHead]
) -> None:
    with pytest.raises(InputError, match=r"No linear layer of 'tiny_esm' is called 'q_proj'; it has .*query"):
        tuned(method="lora", targets=("query", "q_proj")).fit(*rows(12))


def test_more_last_layers_than_there_are_is_an_error(
    rows: Callable[..., Rows], tuned: Callable[..., FinetuneHead]
) -> None:
    with pytest.raises(InputError, match="n_last is 3, and 'tiny_esm' has 2 layers"):
        tuned(method="last_n", n_last=3).fit(*rows(12))


def test_a_model_without_gradients_is_refused(rows: Callable[..., Rows]) -> None:
    with pytest.raises(InputError, match="Model 'kmer' has no weights that learn by gradients"):
        FinetuneHead(model="kmer").fit(*rows(12))


def test_the_encoder_that_embeds_is_not_the_one_that_trains(tuned: Callable[..., FinetuneHead]) -> None:
    model = tuned().base_model()
    assert isinstance(model, EncoderModel)
    before = model.embed(MIXED)
    encoder = trainable(model)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.zero_()
    np.testing.assert_array_equal(model.embed(MIXED), before)
