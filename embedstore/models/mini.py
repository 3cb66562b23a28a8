"""The mini family: a small encoder whose weights come with the package; loaded without transformers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from embedstore.errors import InputError, OutOfMemoryError, WeightsUnavailableError
from embedstore.models.checkpoint import Checkpoint, open_checkpoint
from embedstore.models.devices import DTYPES
from embedstore.models.encoder_model import EncoderModel
from embedstore.models.memory import Budget, EncoderSize, is_out_of_memory, plan_budget
from embedstore.models.mini_encoder import MiniConfig, MiniEncoder
from embedstore.models.mini_tokens import mini_tokens
from embedstore.models.pooling import find_pooling
from embedstore.models.token_table import TokenTable
from embedstore.types import RESIDUES

PACKAGED = Path(__file__).parent / "weights" / "mini"
"""The weights of catalog row ``mini``: ``config.json``, ``model.safetensors`` and their card."""

WITHOUT_ATTENTION_RESIDUES = 40_960
"""Longest stretch in one pass where no block has attention: titin has 35,000 residues."""

CPU_BATCH_RESIDUES = 2_048
"""Padded residues a batch on a CPU: a pass is so short that what is done once a batch shows in smaller ones."""


class MiniModel(EncoderModel):
    """Mini's layout: a token a residue and none around them.

    The encoder gives wide states of the residues; a linear layer makes vectors of them and of the spectrum. Under
    pooling ``mean`` it is applied once a protein, to the means, which gives the mean of the residues' vectors up to
    rounding.
    It is computed in float32 in any precision. U, Z, O, B, J, X and ``*`` are read as one unknown token. Only the last
    layer has vectors of the declared length: any other is refused.
    """

    family = "mini"
    model_type = "mini"
    unknown_to_x = b""
    half_precision = None  # float32 takes no longer where it was measured, and one space serves every machine
    dim_key = "output_size"
    layers_key = "blocks"
    blocks_path = "blocks"
    after_blocks = ("norm", "widen", "place", "project")
    adapter_targets = ("down", "along", "up", "qkv", "out", "widen", "project")
    not_learned = ("pairs.", "profile.")

    @classmethod
    def _window_residues(cls, config: dict[str, Any]) -> int:
        # Convolutions take time and memory by the residue, and the longest known proteins whole.
        return cls.longest_window if "a" in config.get(cls.layers_key, "") else WITHOUT_ATTENTION_RESIDUES

    @classmethod
    def _n_layers(cls, config: dict[str, Any]) -> int:
        return len(config.get(cls.layers_key, ""))

    def _find_checkpoint(self, directory: Path | None) -> Checkpoint:
        return open_checkpoint(PACKAGED if directory is None else directory)

    def _check_config(self, config: dict[str, Any]) -> None:
        super()._check_config(config)
        if self.layer != self.spec.n_layers:
            raise InputError(
                f"Model {self.name!r} gives vectors after its last layer, {self.spec.n_layers}, alone; got layer "
                f"{self.layer}, whose states are of another length. Leave layer= (--layer) out."
            )
        shape = MiniConfig.from_dict(config)
        if set(shape.blocks) - set("ca") or not shape.kernel_size % 2 or shape.hidden_size % (2 * shape.n_heads):
            raise InputError(
                f"{self.checkpoint.directory} has blocks {shape.blocks!r}, kernel_size {shape.kernel_size}, "
                f"hidden_size {shape.hidden_size} and n_heads {shape.n_heads} (config.json); expected blocks of 'c' "
                "and 'a', an odd kernel, and a hidden size that is a multiple of twice the heads. Use the config.json "
                "that was written with the weights."
            )

    def identity(self) -> dict[str, str | int | None]:
        """What decides the vectors; the packaged weights have the row's revision."""
        packaged = self.checkpoint.directory == PACKAGED
        identity = super().identity()
        return {**identity, "revision": self.spec.revision if packaged else identity["revision"]}

    def _read_tokens(self) -> TokenTable:
        return mini_tokens()

    def _load_encoder(self, dtype: torch.dtype) -> MiniEncoder:
        tensors = self._tensors()
        # Made at random and filled at once: on torch's "meta" device it would take seconds to import what that needs.
        with torch.random.fork_rng(devices=[]):
            encoder = MiniEncoder(MiniConfig.from_dict(self.checkpoint.config()))
        self._check_tensors(tensors, encoder)
        encoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        encoder = encoder.eval().requires_grad_(False)
        try:
            encoder = encoder.to(self.device, dtype)
            encoder.project.float()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"The weights in {self.checkpoint.directory} do not fit into memory: {error}"
            ) from error
        return encoder

    def _tensors(self) -> dict[str, torch.Tensor]:
        file = self.checkpoint.weight_files[0]
        if file.name != "model.safetensors":
            raise WeightsUnavailableError(
                f"The weights in {self.checkpoint.directory} are in {file.name}; expected model.safetensors. Save them "
                "as such: safetensors.torch.save_file(state, 'model.safetensors')."
            )
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise WeightsUnavailableError(
                f"The weights in {self.checkpoint.directory} cannot be read: {error}. Copy the checkpoint again."
            ) from error

    def _check_tensors(self, tensors: dict[str, torch.Tensor], encoder: MiniEncoder) -> None:
        """Refuse weights that do not fit the configuration: what is missing would stay random."""
        expected = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        missing = sorted(expected.keys() - shapes.keys())
        if missing:
            raise WeightsUnavailableError(
                f"The weights in {self.checkpoint.directory} lack {len(missing)} tensors of the model, {missing[0]!r} "
                "first; expected a complete encoder. Copy the checkpoint again."
            )
        differing = sorted(name for name in shapes if shapes[name] != expected.get(name))
        if differing:
            name = differing[0]
            raise WeightsUnavailableError(
                f"The weights in {self.checkpoint.directory} have {name!r} of shape {shapes[name]}; its config.json "
                f"says {expected.get(name, 'nothing of it')}. Copy both files from one training run."
            )

    def _state_size(self, encoder: Any) -> int:
        return int(encoder.config.wide_size)

    def _hidden(self, encoder: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Wide states, (n, T, wide_size), that :meth:`_pooled_each` makes vectors of."""
        states = encoder.each_layer(inputs["input_ids"], inputs["attention_mask"])
        return cast(torch.Tensor, deque(states, maxlen=1)[0])

    def residue_states(self, encoder: Any, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `TrainableModel.residue_states`: projected, since wide states are no vectors yet."""
        wide, here = self._hidden(encoder, self._inputs(tokens, mask)), mask.bool()
        both = torch.cat([wide[here].float(), encoder.spectrum(tokens, mask)[here]], dim=1)
        return cast(torch.Tensor, encoder.project(both).float())

    def mean_states(self, encoder: Any, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `TrainableModel.mean_states`."""
        wide = self._hidden(encoder, self._inputs(tokens, mask)).float()
        return cast(torch.Tensor, encoder.proteins(tokens, mask, wide).float())

    def _pool_each(
        self, sequences: Sequence[bytes], states: list[torch.Tensor], poolings: Sequence[str]
    ) -> list[dict[str, torch.Tensor]]:
        encoder = self._encoder(self.precision)
        tokens, mask = (torch.from_numpy(array).to(self.device) for array in self.tokens.batch(sequences))
        pooled: list[dict[str, torch.Tensor]] = [{} for _ in states]
        with torch.inference_mode():
            if "mean" in poolings:
                means = torch.stack([find_pooling("mean")(protein_states) for protein_states in states])
                vectors = encoder.project(torch.cat([means, encoder.mean_spectrum(tokens, mask)], dim=1))
                for row, vector in zip(pooled, vectors, strict=True):
                    row["mean"] = vector
            others = [name for name in poolings if name != "mean"]
            if others:
                spectra = encoder.spectrum(tokens, mask)[mask.bool()]
                residues = encoder.project(torch.cat([torch.cat(states), spectra], dim=1))
                for row, rows in zip(
                    pooled, residues.split([len(protein_states) for protein_states in states]), strict=True
                ):
                    row.update({name: rows if name == RESIDUES else find_pooling(name)(rows) for name in others})
        return pooled

    def _batch_budget(self) -> Budget:
        size = self._encoder_size(MiniConfig.from_dict(self.checkpoint.config()))
        weights = sum(file.stat().st_size for file in self.checkpoint.weight_files)
        return plan_budget(
            size,
            weights,
            self.device,
            itemsize=DTYPES[self.precision].itemsize,
            largest=CPU_BATCH_RESIDUES if self.device.type == "cpu" else None,
        )

    def _encoder_size(self, config: MiniConfig) -> EncoderSize:
        return EncoderSize(
            dim=config.hidden_size,
            inner=config.hidden_size,
            ff=config.wide_size + config.spectrum_size,
            n_heads=config.n_heads,
            ff_copies=3,  # wide states before and after their GELU, and their projection
            position_bias=False,
            fused=True,
        )
