"""The T5 encoder family: ProtT5 and checkpoints of its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import T5EncoderModel, T5Tokenizer
from transformers.models.t5 import modeling_t5

from embedstore.errors import InputError
from embedstore.models.memory import EncoderSize
from embedstore.models.tokens import TokenTable
from embedstore.models.transformer import TransformerModel

PROST_T5_PREFIX = "<AA2fold>"
"""What stands before amino acids in ProstT5's input."""


# Older releases widen a mask themselves, and know (n, T) alone.
_TAKES_A_MASK_TO_ADD = hasattr(modeling_t5, "create_bidirectional_mask")


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

    @classmethod
    def _check_kind(cls, config: dict[str, Any], source: str) -> None:
        super()._check_kind(config, source)
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
        mask = inputs["attention_mask"]
        if _TAKES_A_MASK_TO_ADD and not bool(mask.all()):
            # From a mask of zeros and ones transformers makes one of (n, 1, T, T), anew in every layer; this broadcasts
            # to the same sums, bit by bit, and saves a tenth of the time.
            added = torch.zeros(mask.shape, dtype=encoder.dtype, device=mask.device)
            added = added.masked_fill(mask == 0, torch.finfo(encoder.dtype).min)
            inputs = {**inputs, "attention_mask": added[:, None, None, :]}
        return super()._hidden(encoder, inputs)

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
