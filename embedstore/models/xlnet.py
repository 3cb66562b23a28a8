"""The XLNet family: ProtXLNet and checkpoints of its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import XLNetModel as TransformersXLNet
from transformers import XLNetTokenizer

from embedstore.errors import InputError
from embedstore.models.memory import EncoderSize
from embedstore.models.transformer import TransformerModel


class XLNetModel(TransformerModel):
    """ProtXLNet's layout: residues separated by blanks, ``<sep><cls>`` after the last, relative positions.

    Its vocabulary holds the twenty residues alone: X, U, Z, O and B are unknown (model card of Rostlab/prot_xlnet).

    Notes
    -----
    Its tokenizer pads on the left; here padding is on the right, as everywhere. Attention sees the distance of two
    tokens, and with ``attn_type`` "bi" no order of computation: where the padding is, which is masked, changes nothing.
    Segments are not given, as in the notebooks of ProtTrans, whatever the tokenizer's release says of them: with them
    vectors differ.
    """

    family = "xlnet"
    model_type = "xlnet"
    spaced = True
    n_prefix = 0
    unknown_to_x = b""
    half_precision = "bfloat16"
    dim_key = "d_model"
    layers_key = "n_layer"
    blocks_path = "layer"
    adapter_targets = ("layer_1", "layer_2")  # the matrices of its attention are no layers of their own

    @classmethod
    def _check_model_type(cls, config: dict[str, Any], source: str) -> None:
        super()._check_model_type(config, source)
        if config.get("attn_type", "bi") != "bi" or config.get("bi_data", False):
            raise InputError(
                f"{source} holds an XLNet that attends in one direction or trains on both (config.json, attn_type and "
                "bi_data); expected attn_type 'bi' and bi_data false, as ProtXLNet has them."
            )

    def _load_tokenizer(self, directory: Path) -> Any:
        return XLNetTokenizer.from_pretrained(directory, do_lower_case=False, local_files_only=True)

    def _encoder_class(self) -> tuple[Any, dict[str, Any]]:
        return TransformersXLNet, {}

    def _inputs(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        # Memories are for text that goes on in another pass.
        return {**super()._inputs(tokens, mask), "use_mems": False}

    def _load_encoder(self, dtype: torch.dtype) -> Any:
        # transformers makes the matrices of its attention in float32 and leaves them so.
        return super()._load_encoder(dtype).to(dtype)

    def _encoder_size(self, config: Any) -> EncoderSize:
        return EncoderSize(
            dim=config.d_model,
            inner=config.n_head * config.d_head,
            ff=config.d_inner,
            n_heads=config.n_head,
            ff_copies=self.ff_copies,
            position_bias=False,
            fused=False,
            relative=True,
        )
