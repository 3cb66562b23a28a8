"""The ESM family: ESM-1b, ESM-1v, ESM-2 and checkpoints of their layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import EsmModel as TransformersEsm
from transformers import EsmTokenizer

from embedstore.models.transformer import TransformerModel
from embedstore.models.transformers_loader import TAKES_ADDED_MASK, added_mask


class EsmModel(TransformerModel):
    """ESM's layout: residues without blanks between ``<cls>`` and ``<eos>``.

    ESM-2 has rotary positions and takes any length; ESM-1b and ESM-1v have a table of 1,026 absolute positions, of
    which 1,022 are left for residues. U, Z, O, B and X are tokens of their own. Token dropout rescales the embeddings
    by 0.88 also when nothing is masked (Lin et al. 2023; ``EsmEmbeddings`` in transformers), as in training: it is left
    on.
    """

    family = "esm"
    model_type = "esm"
    spaced = False
    unknown_to_x = b""
    half_precision = "float16"
    after_blocks = ("encoder.emb_layer_norm_after",)
    ff_copies = 6  # its GELU is written out in four steps

    @classmethod
    def _max_residues(cls, config: dict[str, Any]) -> int | None:
        if config.get("position_embedding_type", "absolute") == "rotary":
            return None
        # ESM-1b: positions begin after the padding id; CLS and EOS take two of them.
        return int(config["max_position_embeddings"]) - int(config["pad_token_id"]) - 1 - 2

    def _hidden(self, encoder: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if not TAKES_ADDED_MASK:
            return super()._hidden(encoder, inputs)
        # The embeddings need the mask as it is: token dropout counts residues.
        embedded = encoder.embeddings(**inputs)
        added = added_mask(inputs["attention_mask"], encoder.dtype)
        return super()._hidden(encoder, {"inputs_embeds": embedded, "attention_mask": added})

    def _load_tokenizer(self, directory: Path) -> Any:
        return EsmTokenizer.from_pretrained(directory, local_files_only=True)

    def _encoder_class(self) -> tuple[Any, dict[str, Any]]:
        return TransformersEsm, {"add_pooling_layer": False}
