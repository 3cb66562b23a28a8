"""The Ankh family: T5 encoders with a gated feed-forward layer and bare residues as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from embedstore.errors import WeightsUnavailableError
from embedstore.models.t5 import T5Model


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
