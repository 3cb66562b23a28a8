"""What an encoder model needs to be fine-tuned: where adapters go, and the states of residues with gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from embedstore.models.devices import DTYPES
from embedstore.models.token_table import TokenTable

if TYPE_CHECKING:
    from embedstore.models.adapters import Adapter


class Learner(ABC):
    """The part of `embedstore.models.encoder_model.EncoderModel` that training needs.

    Attributes
    ----------
    adapter
        What was learnt on top of the weights, or None; set by `embedstore.models.finetuned`.
    blocks_path, after_blocks
        Name of the encoder's list of layers, None where they share their weights; names of what follows them.
    adapter_targets
        Ends of the names of the linear layers that adapters go on, unless others are asked for.
    not_learned
        Beginnings of the names of weights that training leaves alone.
    """

    blocks_path: ClassVar[str | None] = "encoder.layer"
    after_blocks: ClassVar[tuple[str, ...]] = ()
    adapter_targets: ClassVar[tuple[str, ...]] = ("query", "key", "value", "attention.output.dense")
    not_learned: ClassVar[tuple[str, ...]] = ()

    adapter: Adapter | None = None
    tokens: TokenTable

    @abstractmethod
    def _load_encoder(self, dtype: torch.dtype) -> Any:
        """The encoder with its weights in ``dtype``, on the device, with what it was configured by as ``config``."""

    @abstractmethod
    def _hidden(self, encoder: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """States of all tokens after the layer asked for, (n, T, dim); ``inputs`` as :meth:`_inputs` gives them."""

    @abstractmethod
    def _inputs(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        """Arguments of the encoder's forward pass, for padded tokens and their mask, each (n, T) int64."""

    def new_encoder(self, precision: str = "float32") -> Any:
        """The encoder with weights of its own, what an adapter has learnt added to them."""
        encoder = self._load_encoder(DTYPES[precision])
        if self.adapter is not None:
            # Added in float32: what is learnt is small beside what is there.
            exact = encoder if precision == "float32" else self._load_encoder(torch.float32)
            self.adapter.add_to(exact)
            if exact is not encoder:
                encoder.load_state_dict(exact.state_dict())
        return encoder

    def residue_states(self, encoder: Any, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The vectors of all residues of a batch, one protein behind the other, with gradients where they are on.

        Parameters
        ----------
        encoder
            As :meth:`new_encoder` gives it.
        tokens, mask
            (n, T) int64, as the token table gives them.

        Returns
        -------
        torch.Tensor
            (sum of lengths, dim) float32: no special token, no padding.
        """
        hidden = self._hidden(encoder, self._inputs(tokens, mask))
        return hidden[self._is_residue(mask)].float()

    def mean_states(self, encoder: Any, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mean of each protein's residue vectors, (n, dim) float32; arguments as of :meth:`residue_states`."""
        hidden = self._hidden(encoder, self._inputs(tokens, mask)).float()
        here = self._is_residue(mask).to(hidden.dtype)
        return torch.bmm((here / here.sum(dim=1, keepdim=True))[:, None], hidden)[:, 0]

    def _is_residue(self, mask: torch.Tensor) -> torch.Tensor:
        """(n, T) bool: which tokens are residues."""
        start = len(self.tokens.prefix)
        ends = mask.sum(dim=1, keepdim=True) - len(self.tokens.suffix)
        places = torch.arange(mask.shape[1], device=mask.device)[None]
        return (places >= start) & (places < ends)
