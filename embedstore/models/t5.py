"""The T5 families: the encoders of ProtT5, ProstT5, Ankh and checkpoints of their layouts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from transformers import PreTrainedTokenizerFast, T5EncoderModel, T5Tokenizer

from embedstore.errors import InputError, WeightsUnavailableError
from embedstore.models.memory import EncoderSize
from embedstore.models.token_table import TokenTable
from embedstore.models.transformer import TransformerModel
from embedstore.models.transformers_loader import TAKES_ADDED_MASK, added_mask

PROST_T5_PREFIX = "<AA2fold>"
"""What stands before amino acids in ProstT5's input."""


def _masked_position_bias(
    attention: Any, added: torch.Tensor | None, query_length: int, key_length: int, **_: Any
) -> torch.Tensor:
    """What is added to the scores of every layer, (1 or n, heads, T, T): position bias and mask.

    The bias depends on the distance alone, so 2T - 1 values of it are made instead of T squared.
    """
    device = attention.relative_attention_bias.weight.device
    distances = torch.arange(1 - query_length, key_length, device=device)
    buckets = attention._relative_position_bucket(
        distances,
        bidirectional=True,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    by_distance = attention.relative_attention_bias(buckets).T
    bias = by_distance.unfold(1, key_length, 1).flip(1)[None]
    return cast(torch.Tensor, bias if added is None else bias + added)


class T5Model(TransformerModel):
    """ProtT5's layout: residues separated by blanks, ``</s>`` after the last, relative positions.

    U, Z, O and B are read as X (model card of Rostlab/prot_t5_xl_half_uniref50-enc). In float16 transformers keeps
    the second feed-forward matrix, ``wo``, in float32, without which the states overflow.
    """

    family = "t5"
    model_type = "t5"
    spaced = True
    n_prefix = 0
    unknown_to_x = b"UZOB"
    half_precision: ClassVar[str | None] = "float16"
    gated: ClassVar[bool] = False
    dim_key = "d_model"
    layers_key = "num_layers"
    blocks_path = "encoder.block"
    after_blocks = ("encoder.final_layer_norm",)
    adapter_targets = ("q", "k", "v", "o")

    @classmethod
    def _check_model_type(cls, config: dict[str, Any], source: str) -> None:
        super()._check_model_type(config, source)
        form = str(config.get("feed_forward_proj", "relu"))
        if form.startswith("gated") != cls.gated:
            raise InputError(
                f"{source} holds a T5 with the feed-forward layer {form!r} (config.json, feed_forward_proj); family "
                f"{cls.family!r} needs one that is {'gated' if cls.gated else 'not gated'}. Ankh's is gated, ProtT5's "
                "and ProstT5's are not: pass the family that the checkpoint has."
            )

    def _read_tokens(self) -> TokenTable:
        if self.text_prefix == "" and PROST_T5_PREFIX in self._load_tokenizer(self.checkpoint.directory).get_vocab():
            raise InputError(
                f"{self.checkpoint.directory} holds a ProstT5, which needs {PROST_T5_PREFIX} before the residues. Pass "
                "family='prost_t5' (--family)."
            )
        return super()._read_tokens()

    def _hidden(self, encoder: Any, inputs: dict[str, Any]) -> torch.Tensor:
        # Where gradients are checkpointed, a layer is computed again when what is set below is gone.
        if not TAKES_ADDED_MASK or torch.is_grad_enabled():
            return super()._hidden(encoder, inputs)
        # Each layer would add the mask to the position bias again, (n, heads, T, T) both: added once here, to the same
        # bits, in less time.
        added = added_mask(inputs["attention_mask"], encoder.dtype)
        attention = encoder.encoder.block[0].layer[0].SelfAttention
        attention.compute_bias = partial(_masked_position_bias, attention, added)
        try:
            return super()._hidden(encoder, {**inputs, "attention_mask": None})
        finally:
            del attention.compute_bias

    def _load_tokenizer(self, directory: Path) -> Any:
        return T5Tokenizer.from_pretrained(directory, do_lower_case=False, local_files_only=True)

    def _encoder_class(self) -> tuple[Any, dict[str, Any]]:
        return T5EncoderModel, {}

    def _encoder_size(self, config: Any) -> EncoderSize:
        return EncoderSize(
            dim=config.d_model,
            inner=config.num_heads * config.d_kv,
            ff=config.d_ff,
            n_heads=config.num_heads,
            ff_copies=self.ff_copies,
            position_bias=True,
            fused=self._attention() == "sdpa",
        )


class ProstT5Model(T5Model):
    """ProstT5's layout: ProtT5's with ``<AA2fold>`` before the residues, which says that they are amino acids.

    Residues are upper case; lower-case letters are structure states (3Di). U, Z, O and B are read as X (model card of
    Rostlab/ProstT5). Pooling ``"first"`` takes the state of ``<AA2fold>``.
    """

    family = "prost_t5"
    text_prefix = f"{PROST_T5_PREFIX} "
    n_prefix = 1


class AnkhModel(T5Model):
    """Ankh's layout: a list of residues, ``</s>`` after the last, relative positions.

    Every letter from B to Z that it has a token for is kept as it is. In float16 its states overflow: bfloat16 or
    float32.

    Notes
    -----
    The tokenizer is ``tokenizer.json`` as the checkpoint has it. Class ``T5Tokenizer`` of transformers 5, which
    AutoTokenizer picks, builds another one out of the vocabulary, with a blank before each residue: since Ankh's tokens
    are bare letters, half of what it gives is unknown.
    """

    family = "ankh"
    unknown_to_x = b""
    half_precision = "bfloat16"
    gated = True
    ff_copies = 6  # two matrices side by side, and its GELU is written out in steps

    def _load_tokenizer(self, directory: Path) -> Any:
        file = directory / "tokenizer.json"
        if not file.is_file():
            raise WeightsUnavailableError(f"No tokenizer.json in {directory}; expected Ankh's. Download it again.")
        special = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "</s>"}
        return PreTrainedTokenizerFast(tokenizer_file=str(file), **special)  # type: ignore[no-untyped-call]

    def _encode(self, tokenizer: Any, letters: Sequence[str]) -> list[int]:
        return [int(token) for token in tokenizer(list(letters), is_split_into_words=True)["input_ids"]]
