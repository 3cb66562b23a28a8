"""What all families share that transformers loads: a tokenizer's table, an encoder and its configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch

from embedstore.errors import InputError
from embedstore.models.devices import DTYPES
from embedstore.models.encoder_model import EncoderModel
from embedstore.models.memory import Budget, EncoderSize, plan_budget
from embedstore.models.token_table import TokenTable, read_token_table
from embedstore.models.transformers_loader import (
    attention_of,
    load_encoder,
    quiet_transformers,
    read_encoder_config,
    weight_bytes,
)


class TransformerModel(EncoderModel, ABC):
    """A transformer encoder from a checkpoint directory or the hub.

    A family is a subclass: it names its layout and says how its tokenizer and its encoder are loaded. Unless another
    layer is asked for, the states are the encoder's ``last_hidden_state``, which in every family here is taken after
    the final normalisation; those after layer N are its ``hidden_states[N]``.
    """

    spaced: ClassVar[bool]
    text_prefix: ClassVar[str] = ""
    n_prefix: ClassVar[int] = 1
    ff_copies: ClassVar[int] = 3

    @abstractmethod
    def _load_tokenizer(self, directory: Path) -> Any:
        """The checkpoint's own tokenizer."""

    @abstractmethod
    def _encoder_class(self) -> tuple[Any, dict[str, Any]]:
        """The transformers class of the encoder, and extra arguments of its constructor."""

    def _hidden(self, encoder: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """States of all tokens after the layer asked for, (n, T, dim); ``inputs`` as :meth:`_inputs` gives them."""
        if self.layer == self.spec.n_layers:
            return cast(torch.Tensor, encoder(**inputs).last_hidden_state)
        states = encoder(**inputs, output_hidden_states=True).hidden_states
        if len(states) != self.spec.n_layers + 1:
            raise InputError(
                f"Model {self.name!r} gave the states of {len(states) - 1} layers; expected {self.spec.n_layers}. "
                "Leave layer= (--layer) out for this checkpoint."
            )
        return cast(torch.Tensor, states[self.layer])

    def _batch_budget(self) -> Budget:
        encoder_class, extra = self._encoder_class()
        config = read_encoder_config(encoder_class, self.checkpoint)
        itemsize = DTYPES[self.precision].itemsize
        weights = weight_bytes(encoder_class, extra, config, itemsize=itemsize)
        return plan_budget(self._encoder_size(config), weights, self.device, itemsize=itemsize)

    def _encoder_size(self, config: Any) -> EncoderSize:
        """What the encoder's configuration says of its memory."""
        return EncoderSize(
            dim=config.hidden_size,
            inner=config.hidden_size,
            ff=config.intermediate_size,
            n_heads=config.num_attention_heads,
            ff_copies=self.ff_copies,
            position_bias=False,
            fused=self._attention() == "sdpa",
        )

    def _attention(self) -> str:
        return attention_of(self._encoder_class()[0])

    def _load_encoder(self, dtype: torch.dtype) -> Any:
        encoder_class, extra = self._encoder_class()
        return load_encoder(encoder_class, extra, self.checkpoint, dtype=dtype, device=self.device)

    def _read_tokens(self) -> TokenTable:
        with quiet_transformers():
            tokenizer = self._load_tokenizer(self.checkpoint.directory)
            return read_token_table(
                lambda letters: self._encode(tokenizer, letters),
                pad_id=int(tokenizer.pad_token_id),
                unk_id=int(tokenizer.unk_token_id),
                unknown_to_x=self.spec.unknown_to_x,
                n_prefix=self.n_prefix,
                source=str(self.checkpoint.directory),
            )

    def _encode(self, tokenizer: Any, letters: Sequence[str]) -> list[int]:
        """Tokens of residues as the checkpoint's own tokenizer gives them, in the spelling of its model card."""
        text = self.text_prefix + (" " if self.spaced else "").join(letters)
        return [int(token) for token in tokenizer(text)["input_ids"]]
