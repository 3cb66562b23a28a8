"""The BERT family: ProtBert and checkpoints of its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import BertModel as TransformersBert
from transformers import BertTokenizer

from embedstore.models.transformer import TransformerModel
from embedstore.models.transformers_loader import TAKES_ADDED_MASK, added_mask


class BertModel(TransformerModel):
    """ProtBert's layout: residues separated by blanks between ``[CLS]`` and ``[SEP]``, absolute positions.

    U, Z, O and B are read as X (model card of Rostlab/prot_bert). There is no pooler.
    """

    family = "bert"
    model_type = "bert"
    spaced = True
    unknown_to_x = b"UZOB"
    half_precision = "float16"

    @classmethod
    def _longest(cls, config: dict[str, Any]) -> int | None:
        # CLS and SEP take two positions.
        return int(config["max_position_embeddings"]) - 2

    def _hidden(self, encoder: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if TAKES_ADDED_MASK:
            inputs = {**inputs, "attention_mask": added_mask(inputs["attention_mask"], encoder.dtype)}
        return super()._hidden(encoder, inputs)

    def _load_tokenizer(self, directory: Path) -> Any:
        # The default lower-cases, after which every residue is [UNK].
        return BertTokenizer.from_pretrained(directory, do_lower_case=False, local_files_only=True)

    def _encoder_class(self) -> tuple[Any, dict[str, Any]]:
        return TransformersBert, {"add_pooling_layer": False}
