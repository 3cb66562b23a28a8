"""The model cards' own loops, one protein at a time: what every vector of ours is compared with.

Nothing here uses our token tables, batches or loading: text as the card writes it, the checkpoint's tokenizer, one
forward pass in float32, a plain slice. It is slow, and meant for tests and for `embedstore.models.parity`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from embedstore.catalog import unknown_name
from embedstore.errors import InputError
from embedstore.models.encoder_model import EncoderModel
from embedstore.models.mini_reference import MiniReference
from embedstore.models.transformers_loader import quiet_transformers, transformers_class


class Reference:
    """A checkpoint under its model card's own loop, loaded in float32.

    Parameters
    ----------
    directory
        The checkpoint.
    family
        Whose card: a name in `embedstore.models.catalog.FAMILIES`.
    device
        Where it computes.

    Raises
    ------
    UnknownNameError
        If there is no recipe for the family.
    """

    def __init__(self, directory: Path, family: str, *, device: str = "cpu") -> None:
        if family not in _LOADERS:
            raise unknown_name("recipe", family, list(_LOADERS))
        self.family = family
        self.device = device
        with quiet_transformers():
            self.tokenizer, encoder = _LOADERS[family](directory)
            self.encoder = encoder.float().eval().to(device)

    def text(self, protein: str) -> str | list[str]:
        """A protein as the card hands it to the tokenizer."""
        if self.family in ("esm", "esmc"):
            return protein
        if self.family == "ankh":
            return list(protein)
        rare, read_as = ("[UZOBX]", "<unk>") if self.family == "xlnet" else ("[UZOB]", "X")
        letters = [re.sub(rare, read_as, letter) for letter in protein]
        return " ".join(["<AA2fold>", *letters] if self.family == "prost_t5" else letters)

    def tokens(self, protein: str) -> dict[str, torch.Tensor]:
        """The tokenizer's ids and mask for one protein, each (1, T) int64."""
        split = {"is_split_into_words": True} if self.family == "ankh" else {}
        with quiet_transformers():
            encoded = self.tokenizer(self.text(protein), return_tensors="pt", add_special_tokens=True, **split)
        # ProtTrans's loops hand over these two alone. What else a release of the tokenizer adds is all zero for one
        # protein, but for XLNet's segments, with which the vectors would depend on the release.
        return {name: encoded[name].to(self.device) for name in ("input_ids", "attention_mask")}

    def residues(self, protein: bytes, *, layer: int | None = None) -> NDArray[np.float32]:
        """States of the residues, (L, D) float32: ``last_hidden_state``, or ``hidden_states[layer]``.

        Raises
        ------
        InputError
            If the tokenizer does not give a token a residue.
        """
        tokens = self.tokens(protein.decode())
        with torch.no_grad():
            output = self.encoder(**tokens, output_hidden_states=layer is not None)
        hidden = output.last_hidden_state if layer is None else output.hidden_states[layer]
        start = 0 if self.family in ("t5", "ankh", "xlnet") else 1
        n_specials = {"t5": 1, "ankh": 1}.get(self.family, 2)
        if hidden.shape[1] != len(protein) + n_specials:
            raise InputError(
                f"The tokenizer gave {hidden.shape[1]} tokens for {len(protein)} residues; expected {n_specials} more. "
                "It is not one of this family, or this release of transformers reads it wrongly."
            )
        rows: NDArray[np.float32] = hidden[0, start : start + len(protein)].float().cpu().numpy()
        return rows


def reference_of(model: EncoderModel) -> Reference | MiniReference:
    """The recipe of a model's checkpoint, on the model's device where it is a recipe of torch."""
    if model.family == "mini":
        return MiniReference(model.checkpoint.directory)
    return Reference(model.checkpoint.directory, model.family, device=str(model.device))


def intermediate_layer(model: EncoderModel) -> int | None:
    """The layer to ask a recipe for, None for the last."""
    return None if model.layer == model.spec.n_layers else model.layer


def _prottrans(tokenizer: Any, encoder: Any) -> Callable[[Path], tuple[Any, Any]]:
    """As the cards of ProtTrans load: cased, whatever the tokenizer's own default."""

    def load(directory: Path) -> tuple[Any, Any]:
        # Never from pickles that run code; older releases of torch would otherwise.
        return (
            tokenizer.from_pretrained(directory, do_lower_case=False),
            encoder.from_pretrained(directory, weights_only=True),
        )

    return load


def _load_ankh(directory: Path) -> tuple[Any, Any]:
    # As AutoTokenizer read it when the card was written: transformers 5 puts a blank before each residue.
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))  # type: ignore[no-untyped-call]
    return tokenizer, transformers.T5EncoderModel.from_pretrained(directory, weights_only=True)


def _load_auto(directory: Path) -> tuple[Any, Any]:
    return (
        transformers.AutoTokenizer.from_pretrained(directory),
        transformers.AutoModel.from_pretrained(directory, weights_only=True),
    )


def _load_esmc(directory: Path) -> tuple[Any, Any]:
    tokenizer = transformers_class("EsmcTokenizer", since="5.23")
    encoder = transformers_class("EsmcModel", since="5.23")
    return tokenizer.from_pretrained(directory), encoder.from_pretrained(directory)


_LOADERS: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "t5": _prottrans(transformers.T5Tokenizer, transformers.T5EncoderModel),
    "prost_t5": _prottrans(transformers.T5Tokenizer, transformers.T5EncoderModel),
    "ankh": _load_ankh,
    "bert": _prottrans(transformers.BertTokenizer, transformers.BertModel),
    "electra": _prottrans(transformers.BertTokenizer, transformers.ElectraModel),
    "albert": _prottrans(transformers.AlbertTokenizer, transformers.AlbertModel),
    "xlnet": _prottrans(transformers.XLNetTokenizer, transformers.XLNetModel),
    "esm": _load_auto,
    "esmc": _load_esmc,
}
