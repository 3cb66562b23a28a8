"""The ALBERT family: ProtAlbert and checkpoints of its layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AlbertModel as TransformersAlbert
from transformers import AlbertTokenizer

from embedstore.models.bert import BertModel


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
