"""Loading an encoder's weights with transformers: no code from pickles, nothing left at random, nothing printed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers.models.bert import modeling_bert
from transformers.utils import logging

from embedstore.errors import InputError, OutOfMemoryError, WeightsUnavailableError
from embedstore.models.checkpoint import Checkpoint
from embedstore.models.memory import is_out_of_memory


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing bars and logging below an error, and put its settings back after."""
    settings: Any = logging  # its functions have no annotations
    verbosity = settings.get_verbosity()
    had_bars = settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(verbosity)
        if had_bars:
            settings.enable_progress_bar()


def transformers_class(name: str, *, since: str) -> Any:
    """A class that older releases of transformers do not have.

    Raises
    ------
    InputError
        If the installed one is too old.
    """
    try:
        return getattr(transformers, name)
    except (AttributeError, ImportError) as error:
        raise InputError(
            f"The installed transformers {transformers.__version__} has no {name}; expected {since} or newer. Run `pip "
            "install --upgrade transformers`."
        ) from error


TAKES_ADDED_MASK = hasattr(modeling_bert, "create_bidirectional_mask")
"""Whether encoders take a mask made by :func:`added_mask`; older releases know (n, T) alone."""


def added_mask(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
    """What is added to attention scores so that nothing goes to padding, (n, 1, 1, T); None without padding.

    Transformers widens a mask of zeros and ones to (n, 1, T, T), and attention turns that into numbers in every layer;
    this broadcasts to the same sums, bit by bit, in less time.
    """
    if bool(mask.all()):
        return None
    added = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return added.masked_fill(mask == 0, torch.finfo(dtype).min)[:, None, None, :]


def attention_of(encoder_class: Any) -> str:
    """The attention that transformers is asked for; some architectures have the fused one in newer releases alone."""
    return "sdpa" if getattr(encoder_class, "_supports_sdpa", False) else "eager"


def load_encoder(
    encoder_class: Any, extra: dict[str, Any], checkpoint: Checkpoint, *, dtype: torch.dtype, device: torch.device
) -> Any:
    """The encoder of a checkpoint, ready to compute.

    Parameters
    ----------
    encoder_class, extra
        A class of transformers, and further arguments of its constructor.
    checkpoint
        Whose weights.
    dtype, device
        Where it computes, and in what.

    Raises
    ------
    WeightsUnavailableError
        If the weights cannot be read or lack a tensor.
    OutOfMemoryError
        If they do not fit.
    """
    directory = checkpoint.directory
    try:
        with quiet_transformers():
            encoder, report = encoder_class.from_pretrained(
                directory,
                dtype=dtype,
                attn_implementation=attention_of(encoder_class),
                use_safetensors=checkpoint.is_safetensors,
                weights_only=True,
                local_files_only=True,
                output_loading_info=True,
                **extra,
            )
        encoder = encoder.eval().to(device)
    except (SafetensorError, UnpicklingError, EOFError, OSError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(f"The weights in {directory} do not fit into memory: {error}") from error
        raise WeightsUnavailableError(
            f"The weights in {directory} cannot be read: {error}. Download the checkpoint again."
        ) from error
    # Whatever is missing was initialised at random. The contact head is not on the way to the states.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("contact_head."))
    if missing:
        raise WeightsUnavailableError(
            f"The weights in {directory} lack {len(missing)} tensors of the model, {missing[0]!r} first; expected "
            "a complete encoder. Download the checkpoint again."
        )
    return encoder


def read_encoder_config(encoder_class: Any, checkpoint: Checkpoint) -> Any:
    """The configuration of an encoder as transformers reads it, with its defaults."""
    with quiet_transformers():
        return encoder_class.config_class.from_pretrained(checkpoint.directory, local_files_only=True)


def weight_bytes(encoder_class: Any, extra: dict[str, Any], config: Any, *, itemsize: int) -> int:
    """Memory of the weights in bytes, in a precision of ``itemsize`` bytes a number; allocates none of it."""
    with quiet_transformers(), torch.device("meta"):
        encoder = encoder_class(config, **extra)
    return itemsize * sum(int(weight.numel()) for weight in encoder.parameters())
