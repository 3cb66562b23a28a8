"""The ELECTRA family: ProtElectra's discriminator and checkpoints of its layout."""

from __future__ import annotations

from typing import Any

from transformers import ElectraModel as TransformersElectra

from embedstore.models.bert import BertModel


class ElectraModel(BertModel):
    """ProtElectra's layout, which is ProtBert's: residues separated by blanks between ``[CLS]`` and ``[SEP]``.

    The vectors are the discriminator's. U, Z, O and B are read as X (repository of ProtTrans).
    """

    family = "electra"
    model_type = "electra"

    def _encoder_class(self) -> tuple[Any, dict[str, Any]]:
        return TransformersElectra, {}
