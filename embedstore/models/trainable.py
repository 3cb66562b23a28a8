"""Training an encoder: the states of its residues with gradients, the layers that learn, where adapters go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from embedstore.errors import InputError
from embedstore.models.base import Model, ModelSpec, check_sequences
from embedstore.models.devices import DTYPES
from embedstore.models.token_table import TokenTable

if TYPE_CHECKING:
    from embedstore.models.adapters import Adapter

PROBE = b"ACDEFGHIKLMNPQRSTVWY"
"""What is run once to find the weights that the states do not depend on."""

_RATES = ("dropout", "dropout_prob", "attention_dropout", "p")


class TrainableModel(ABC):
    """The part of `embedstore.models.encoder_model.EncoderModel` that training needs.

    Attributes
    ----------
    adapter
        A trained adapter on top of the weights, or None; set by `embedstore.models.finetuned`.
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

    name: str
    family: ClassVar[str]
    dim: int
    max_residues: int | None
    spec: ModelSpec
    layer: int
    device: torch.device
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
        """A new encoder with its own weights, a trained adapter added to them."""
        encoder = self._load_encoder(DTYPES[precision])
        if self.adapter is not None:
            # Added in float32: the adapter is small compared with the weights.
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


class TrainableEncoder(nn.Module):
    """The encoder of a model in float32, and how the model reads tokens and residues off it.

    The tokens, the slices and the layer are those of `embedstore.models.encoder_model.EncoderModel.embed`: who trains
    sees the same residues as who builds a space.

    Attributes
    ----------
    encoder
        The encoder, with weights of its own: the model's are not touched.
    dim
        Length of a residue's vector.
    family
        Of the model.
    """

    def __init__(self, model: TrainableModel, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.dim = model.dim
        self.family = model.family
        self._model = model

    def tokens(self, sequences: Sequence[bytes]) -> tuple[torch.Tensor, torch.Tensor]:
        """Padded tokens and their mask, each (n, T) int64, on the model's device.

        Raises
        ------
        InputError
            As `embedstore.models.Model.embed`.
        """
        check_sequences(sequences, name=self._model.name, max_residues=self._model.max_residues)
        tokens, mask = self._model.tokens.batch(sequences)
        device = self._model.device
        return torch.from_numpy(tokens).to(device), torch.from_numpy(mask).to(device)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The vectors of all residues, one protein behind the other: (sum of lengths, D) float32."""
        return self._model.residue_states(self.encoder, tokens, mask)

    def means(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mean over each protein's residues, (n, D) float32."""
        return self._model.mean_states(self.encoder, tokens, mask)

    def blocks(self) -> list[nn.Module]:
        """The layers, first to last, up to the one that the states are taken after.

        Raises
        ------
        InputError
            If all layers share one set of weights.
        """
        path = self._model.blocks_path
        if path is None:
            raise InputError(
                f"The layers of {self._model.name!r} (family {self.family!r}) share one set of weights, so none "
                "of them can be trained alone. Take method 'full' or 'lora'."
            )
        return list(self.encoder.get_submodule(path).children())[: self._model.layer]

    def after_blocks(self) -> list[nn.Module]:
        """What stands between the last layer and the states: the final normalisation, if there is one."""
        if self._model.layer != self._model.spec.n_layers:
            return []
        modules = dict(self.encoder.named_modules())
        return [modules[name] for name in self._model.after_blocks if name in modules]

    def linear_names(self) -> list[str]:
        """Names of the linear layers of the encoder, which adapters can be put on."""
        return [name for name, module in self.encoder.named_modules() if isinstance(module, nn.Linear)]

    def adapter_targets(self) -> tuple[str, ...]:
        """Ends of the names of the linear layers that the family's adapters usually go on."""
        return self._model.adapter_targets

    def thaw(self) -> None:
        """Train every weight that the states depend on and that was trained before; freeze the others."""
        for name, weight in self.encoder.named_parameters():
            weight.requires_grad_(not name.startswith(self._model.not_learned))
        tokens, mask = self.tokens([PROBE])
        self.means(tokens, mask).sum().backward()  # type: ignore[no-untyped-call]
        for weight in self.encoder.parameters():
            # A weight without a gradient is not on the way: the contact head of ESM, the letters of mini.
            weight.requires_grad_(weight.grad is not None)
            weight.grad = None

    def checkpoint_gradients(self) -> None:
        """Keep no activations inside the layers, and compute them again for the gradients: less memory, more time.

        Raises
        ------
        InputError
            If the encoder does not support it.
        """
        if not getattr(self.encoder, "supports_gradient_checkpointing", False):
            raise InputError(
                f"Model {self._model.name!r} (family {self.family!r}) cannot checkpoint gradients. Leave "
                "gradient_checkpointing out, and take a smaller batch_residues where memory is short."
            )
        encoder: Any = self.encoder
        # Newer releases of transformers call it by the first name, older ones by the second.
        names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
        enable = next(getattr(encoder, name) for name in names if hasattr(encoder, name))
        enable({"use_reentrant": False})

    def set_dropout(self, rate: float | None) -> None:
        """Take one rate for every dropout of the encoder in training; None leaves what its configuration says."""
        if rate is None:
            return
        for module, name in self._rates():
            setattr(module, name, rate)

    def _rates(self) -> Iterator[tuple[nn.Module, str]]:
        for module in self.encoder.modules():
            for name in _RATES:
                # Not of layers that adapters brought along, whose own are modules.
                if isinstance(vars(module).get(name), float):
                    yield module, name


def trainable(model: Model) -> TrainableEncoder:
    """A model's encoder to train, in float32, with weights of its own.

    Raises
    ------
    InputError
        If the model has nothing that learns by gradients.
    WeightsUnavailableError, OutOfMemoryError
        If the weights cannot be read, or do not fit.
    """
    if not isinstance(model, TrainableModel):
        raise InputError(
            f"Model {model.name!r} has no weights that learn by gradients. Take a model with an encoder: mini, "
            "esm2_8m, prot_t5 …; `embedstore models` lists them."
        )
    return TrainableEncoder(model, model.new_encoder())
