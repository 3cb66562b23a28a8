"""Which weights of the encoder learn: none, adapters, the last layers, or all."""

from __future__ import annotations

from collections.abc import Sequence

from embedstore.errors import InputError, MissingPackageError
from embedstore.models.trainable import TrainableEncoder
from heads.finetuning.settings import Settings


def prepare(encoder: TrainableEncoder, settings: Settings, *, model: str) -> None:
    """Choose the weights that learn, and put adapters on where the method wants them.

    Parameters
    ----------
    encoder
        Changed in place.
    settings
        Method, adapters, dropout, gradient checkpointing.
    model
        What to call the model in messages.

    Raises
    ------
    InputError
        If the encoder has no layer of the names asked for, too few layers, or cannot checkpoint gradients.
    MissingPackageError
        If adapters are asked for and peft is not installed.
    """
    if settings.method == "frozen":
        encoder.requires_grad_(False)
        return
    encoder.set_dropout(settings.encoder_dropout)
    if settings.method == "lora":
        _add_adapters(encoder, settings, model=model)
    else:
        encoder.thaw()
    if settings.method == "last_n":
        _keep_last(encoder, settings.n_last, model=model)
    if settings.gradient_checkpointing:
        encoder.checkpoint_gradients()


def _keep_last(encoder: TrainableEncoder, n_last: int, *, model: str) -> None:
    """Stop all weights but those of the last layers and of what follows them."""
    blocks = encoder.blocks()
    if n_last > len(blocks):
        raise InputError(f"n_last is {n_last}, and {model!r} has {len(blocks)} layers. Take fewer, or method 'full'.")
    trained = [*blocks[len(blocks) - n_last :], *encoder.after_blocks()]
    learning = {id(weight) for module in trained for weight in module.parameters()}
    for weight in encoder.parameters():
        weight.requires_grad_(weight.requires_grad and id(weight) in learning)


def chosen_layers(names: Sequence[str], targets: Sequence[str], *, model: str) -> list[str]:
    """Names that end in one of the targets, at a dot.

    >>> chosen_layers(["layer.0.query", "layer.0.key", "key.out"], ["key"], model="x")
    ['layer.0.key']

    Raises
    ------
    InputError
        For a target that no name ends in, with the ends that there are.
    """
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            ends = sorted({_end(name) for name in names})
            raise InputError(
                f"No linear layer of {model!r} is called {target!r}; it has {', '.join(ends)}. Name some of these "
                "(targets=, --targets)."
            )
    return [name for name in names if any(name == target or name.endswith(f".{target}") for target in targets)]


def _end(name: str) -> str:
    """The shortest end of a layer's name that says something: after the last number, or its last two words."""
    parts = name.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[numbers[-1] + 1 :] if numbers else parts[-2:]) or name


def _add_adapters(encoder: TrainableEncoder, settings: Settings, *, model: str) -> None:
    names = encoder.linear_names()
    # Of the family's usual ones those that this checkpoint has: a mini may be without attention.
    usual = [target for target in encoder.adapter_targets() if any(f".{name}".endswith(f".{target}") for name in names)]
    names = chosen_layers(names, settings.targets or usual, model=model)
    try:
        import peft
    except ImportError as error:
        raise MissingPackageError(
            "Adapters (method 'lora') need the package peft. Run `pip install 'embedstore[finetune]'`."
        ) from error
    encoder.requires_grad_(False)
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.adapter_dropout,
        target_modules=names,
        use_dora=settings.dora,
        bias="none",
    )
    peft.inject_adapter_in_model(config, encoder.encoder)
    for name, weight in encoder.named_parameters():
        weight.requires_grad_(".lora_" in name)
