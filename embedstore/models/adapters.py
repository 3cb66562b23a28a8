"""Low-rank adapters as peft writes them, added to the weights of their base; peft is not needed to read them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from embedstore.errors import FileFormatError, WeightsUnavailableError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What peft puts before the name of a module."""

_A, _B, _MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"
_DECIDING = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """A trained adapter: LoRA (Hu et al. 2021, arXiv:2106.09685) or DoRA (Liu et al. 2024, arXiv:2402.09353).

    Attributes
    ----------
    scale
        What the product of the two matrices is multiplied with: alpha / rank, or alpha / sqrt(rank) in rank-stabilised
        LoRA.
    tensors
        By name, as in the file, less peft's prefix.
    sha256
        Of the tensors and of what else decides the weights.
    """

    scale: float
    tensors: dict[str, torch.Tensor]
    sha256: str

    @property
    def targets(self) -> list[str]:
        """Names of the modules that it changes."""
        return sorted(name.removesuffix(_A) for name in self.tensors if name.endswith(_A))

    def add_to(self, encoder: nn.Module) -> None:
        """Add it to the weights of a float32 encoder, in place.

        Raises
        ------
        FileFormatError
            If the encoder lacks a module, or has it in another shape.
        """
        modules = dict(encoder.named_modules())
        for name in self.targets:
            weight = getattr(modules.get(name), "weight", None)
            a, b = self.tensors[name + _A].float(), self.tensors[name + _B].float()
            if weight is None or tuple(weight.shape) != (b.shape[0], a.shape[1]):
                present = "no such module" if weight is None else f"a weight of shape {tuple(weight.shape)}"
                raise FileFormatError(
                    f"The adapter changes {name!r} by {(b.shape[0], a.shape[1])}; the model has {present} there. "
                    "It was trained on another model: load it with the base that its folder names."
                )
            with torch.no_grad():
                changed = weight + self.scale * (b @ a).to(weight.device)
                if (magnitude := self.tensors.get(name + _MAGNITUDE)) is not None:
                    size = changed.norm(dim=1, keepdim=True)
                    changed = changed * (magnitude.to(weight.device)[:, None] / size)
                weight.copy_(changed)


def read_adapter(directory: Path) -> Adapter:
    """The adapter in a directory.

    Raises
    ------
    WeightsUnavailableError
        If a file is missing or cannot be read.
    FileFormatError
        If it is an adapter of another kind.
    """
    try:
        config: dict[str, Any] = json.loads((directory / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        named = load_file(directory / ADAPTER_FILE)
        bytes_ = (directory / ADAPTER_FILE).read_bytes()
    except (OSError, ValueError, SafetensorError) as error:
        raise WeightsUnavailableError(
            f"The adapter in {directory} cannot be read: {error}. Copy the folder again."
        ) from error
    kind, bias = config.get("peft_type"), config.get("bias", "none")
    if kind != "LORA" or bias != "none" or config.get("rank_pattern") or config.get("alpha_pattern"):
        raise FileFormatError(
            f"{directory / ADAPTER_CONFIG} has an adapter of kind {kind!r} with bias {bias!r}; expected LORA without "
            "biases and with one rank and one alpha for all layers, as `heads finetune` writes it."
        )
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    deciding = {name: config.get(name) for name in _DECIDING}
    digest = hashlib.sha256(bytes_)
    digest.update(json.dumps(deciding, sort_keys=True).encode())
    return Adapter(
        scale=alpha / (rank**0.5 if config.get("use_rslora") else rank),
        tensors={name.removeprefix(PREFIX): tensor for name, tensor in named.items()},
        sha256=digest.hexdigest(),
    )
