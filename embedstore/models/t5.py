"""The T5 encoder family: ProtT5 and checkpoints of its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import T5EncoderModel, T5Tokenizer

from embedstore.models.memory import EncoderSize
from embedstore.models.transformer import TransformerModel


class T5Model(TransformerModel):
    """ProtT5's layout: residues separated by blanks, ``</s>`` after the last, relative positions.

    U, Z, O and B are read as X (model card of Rostlab/prot_t5_xl_half_uniref50-enc). In float16 transformers keeps
    the second feed-forward matrix, ``wo``, in float32, without which the states overflow.
    """

    family = "t5"
    model_type = "t5"
    spaced = True
    unknown_to_x = b"UZOB"
    dim_key = "d_model"
    layers_key = "num_layers"

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
