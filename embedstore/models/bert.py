"""The BERT families: ProtBert, ProtElectra, ProtAlbert and checkpoints of their layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AlbertModel as TransformersAlbert
from transformers import AlbertTokenizer, BertTokenizer
from transformers import BertModel as TransformersBert
from transformers import ElectraModel as TransformersElectra

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
    def _max_residues(cls, config: dict[str, Any]) -> int | None:
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


class ElectraModel(BertModel):
    """ProtElectra's layout, which is ProtBert's: residues separated by blanks between ``[CLS]`` and ``[SEP]``.

    The vectors are the discriminator's. U, Z, O and B are read as X (repository of ProtTrans).
    """

    family = "electra"
    model_type = "electra"

    def _encoder_class(self) -> tuple[Any, dict[str, Any]]:
        return TransformersElectra, {}


class AlbertModel(BertModel):
    """ProtAlbert's layout: ProtBert's with SentencePiece tokens, and one layer's weights used by all.

    U, Z, O and B are read as X (model card of Rostlab/prot_albert). Its card says nothing of half precision, and 4,096
    dimensions are wide: bfloat16, whose range is float32's.
    """

    family = "albert"
    model_type = "albert"
    half_precision = "bfloat16"
    blocks_path = None
    adapter_targets = ("query", "key", "value", "attention.dense")

    def _load_tokenizer(self, directory: Path) -> Any:
        return AlbertTokenizer.from_pretrained(directory, do_lower_case=False, local_files_only=True)

    def _encoder_class(self) -> tuple[Any, dict[str, Any]]:
        return TransformersAlbert, {"add_pooling_layer": False}
