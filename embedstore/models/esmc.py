"""The ESM C family: ESM Cambrian checkpoints in the layout of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedstore.models.transformer import TransformerModel
from embedstore.models.transformers_loader import transformers_class

_SINCE = "5.23"


class EsmcModel(TransformerModel):
    """ESM C's layout: residues without blanks between ``<cls>`` and ``<eos>``, rotary positions, SwiGLU.

    U, Z, O, B and X are tokens of their own. It was trained on up to 2,048 positions, and longer proteins are refused.
    It was trained in bfloat16.
    """

    family = "esmc"
    model_type = "esmc"
    spaced = False
    unknown_to_x = b""
    half_precision = "bfloat16"
    blocks_path = "layers"
    after_blocks = ("norm",)
    adapter_targets = ("q_proj", "k_proj", "v_proj", "o_proj")

    @classmethod
    def _max_residues(cls, config: dict[str, Any]) -> int | None:
        return int(config["max_position_embeddings"])

    def _load_tokenizer(self, directory: Path) -> Any:
        return transformers_class("EsmcTokenizer", since=_SINCE).from_pretrained(directory, local_files_only=True)

    def _encoder_class(self) -> tuple[Any, dict[str, Any]]:
        return transformers_class("EsmcModel", since=_SINCE), {}
