"""Base of all models with an encoder: tokens in, states of the residues out; independent of transformers."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from embedstore.errors import InputError, NonFiniteError
from embedstore.models.base import (
    Embedded,
    Model,
    ModelSpec,
    check_sequences,
    require_poolings,
    resolve_layer,
)
from embedstore.models.checkpoint import Checkpoint, read_config
from embedstore.models.devices import DTYPES, resolve_device, resolve_precision
from embedstore.models.hub import find_checkpoint
from embedstore.models.memory import (
    USABLE_SHARE,
    Budget,
    EncoderSize,
    available_bytes,
    not_enough_memory,
    translate_oom,
)
from embedstore.models.pooling import find_pooling
from embedstore.models.token_table import TokenTable
from embedstore.models.trainable import TrainableModel
from embedstore.types import RESIDUES

WINDOW_RESIDUES = 4_096
"""Longest stretch in one pass under the windows policy, for models without a shorter limit of their own."""


class EncoderModel(TrainableModel, Model, ABC):
    """An encoder from a checkpoint directory, whatever loads it.

    Parameters
    ----------
    spec
        The catalog row, or what :meth:`spec_of` makes of a directory.
    directory
        A local checkpoint, or None for where the row says that it is.
    device, precision, layer
        As :func:`embedstore.models.load_model` takes them.

    Attributes
    ----------
    layer
        After which layer the states are taken, counted from 1; 0: what enters the first.
    n_recomputed
        How many sequences gave NaN or infinity in a lower precision and were computed again in float32.

    Raises
    ------
    WeightsUnavailableError
        If the checkpoint is neither on disk nor reachable.
    InputError
        If the checkpoint is of another kind than the family, or of another size than the row; or has no such layer.
    """

    family: ClassVar[str]
    model_type: ClassVar[str]
    unknown_to_x: ClassVar[bytes]
    half_precision: ClassVar[str | None]
    longest_window: ClassVar[int] = WINDOW_RESIDUES
    dim_key: ClassVar[str] = "hidden_size"
    layers_key: ClassVar[str] = "num_hidden_layers"
    has_residues = True

    def __init__(
        self,
        spec: ModelSpec,
        *,
        directory: Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        layer: int | None = None,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.dim = spec.dim
        self.layer = resolve_layer(layer, spec.n_layers, name=spec.name)
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device, half=spec.half_precision)
        self.checkpoint: Checkpoint = self._find_checkpoint(directory)
        config = self.checkpoint.config()
        self._check_config(config)
        self.max_residues = self._max_residues(config)
        self.window_residues = self._window_residues(config)
        self.tokens: TokenTable = self._read_tokens()
        self.unknown_letters = self.tokens.unknown_letters
        self.poolings = ("mean", "max", "first") if self.tokens.prefix else ("mean", "max")
        self.batch_residues, self._n_fitting = self._batch_budget()
        self._encoders: dict[str, Any] = {}
        self._n_sharing = 1

    @classmethod
    def spec_of(cls, directory: Path, *, name: str | None = None, checkpoint: str | None = None) -> ModelSpec:
        """A row for a checkpoint that is in no catalog: sizes from its configuration, residue policy from the family.

        Parameters
        ----------
        directory
            Where it is.
        name
            What to call it; by default as its directory.
        checkpoint
            Its hub id, if it has one.

        Raises
        ------
        InputError
            If the directory's ``model_type`` is another family's.
        """
        config = read_config(directory)
        cls._check_model_type(config, str(directory))
        return ModelSpec(
            name=name or directory.name,
            target=f"{cls.__module__}:{cls.__qualname__}",
            family=cls.family,
            checkpoint=checkpoint,
            revision=None,
            licence="unknown",
            dim=int(config[cls.dim_key]),
            n_layers=cls._n_layers(config),
            n_parameters=0,
            max_residues=cls._max_residues(config),
            window_residues=cls._window_residues(config),
            half_precision=cls.half_precision,
            unknown_to_x=cls.unknown_to_x,
            summary=f"checkpoint from elsewhere, family {cls.family}",
            citation="unknown",
        )

    @classmethod
    def _n_layers(cls, config: dict[str, Any]) -> int:
        """How many layers the configuration says."""
        return int(config.get(cls.layers_key, 0))

    @classmethod
    def _max_residues(cls, config: dict[str, Any]) -> int | None:
        """Most residues that the configuration allows; None where positions are relative or rotary."""
        return None

    @classmethod
    def _window_residues(cls, config: dict[str, Any]) -> int:
        longest = cls._max_residues(config)
        return cls.longest_window if longest is None else min(cls.longest_window, longest)

    def _state_size(self, encoder: Any) -> int:
        """Numbers of a residue's state as :meth:`_hidden` gives it."""
        return self.dim

    @abstractmethod
    def _read_tokens(self) -> TokenTable:
        """How proteins become tokens."""

    @abstractmethod
    def _encoder_size(self, config: Any) -> EncoderSize:
        """What the encoder's configuration says of its memory."""

    @abstractmethod
    def _batch_budget(self) -> Budget:
        """Default budget of padded residues a batch."""

    def _find_checkpoint(self, directory: Path | None) -> Checkpoint:
        return find_checkpoint(self.spec, directory)

    def _inputs(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        """Arguments of the encoder's forward pass, for padded tokens and their mask, each (n, T) int64."""
        # The mask is never left out: a padded T5 batch without it moves vectors by up to 2.1.
        return {"input_ids": tokens, "attention_mask": mask}

    def identity(self) -> dict[str, str | int | None]:
        """All that determines the vectors; reads the weight files once to hash them, and does not load them."""
        return {
            "model": self.name,
            "family": self.family,
            "checkpoint": self.spec.checkpoint or self.checkpoint.repository,
            "revision": self.checkpoint.revision,
            "weights_sha256": self.checkpoint.weights_sha256(),
            "config_sha256": self.checkpoint.config_sha256(),
            "tokens_sha256": self.tokens.sha256,
            "adapter_sha256": None if self.adapter is None else self.adapter.sha256,
            "layer": self.layer,
            "precision": self.precision,
            "residue_policy": self.tokens.policy,
        }

    def in_precision(self, precision: str) -> Self:
        """The same model computing in another precision; itself if it does already."""
        if precision == self.precision:
            return self
        model = type(self)(
            self.spec,
            directory=self.checkpoint.directory,
            device=str(self.device),
            precision=precision,
            layer=self.layer,
        )
        model.adapter = self.adapter
        return model

    @property
    def n_parallel(self) -> int:  # type: ignore[override]
        """Batches in parallel: on a CPU one for each of torch's threads, if they fit; on a GPU one."""
        return min(torch.get_num_threads(), self._n_fitting) if self.device.type == "cpu" else 1

    @contextmanager
    def parallel(self, n: int) -> Iterator[Callable[[], EncoderModel]]:
        """See `Model.parallel`; torch's threads are divided among the copies.

        Raises
        ------
        OutOfMemoryError
            If the weights do not fit.
        """
        self._encoder(self.precision)
        n_threads = torch.get_num_threads()
        states = [encoder.state_dict(keep_vars=True) for encoder in self._encoders.values()]
        weights = {id(tensor): tensor for state in states for tensor in state.values()}

        def make_copy() -> EncoderModel:
            torch.set_num_threads(max(1, n_threads // n))
            model = copy.copy(self)
            # Modules may keep on themselves what one pass needs; the weights are only read.
            model._encoders = copy.deepcopy(self._encoders, dict(weights))
            model._n_sharing = n
            model.n_recomputed = 0
            return model

        try:
            yield make_copy
        finally:
            # For threads that begin from now on, which take the number that was set last.
            torch.set_num_threads(n_threads)

    def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
        """Embed one batch in one forward pass: (n, dim) float32, row ``i`` for ``sequences[i]``.

        Residues alone are pooled, in float32: no CLS, SEP, EOS or padding.

        Raises
        ------
        InputError
            For an empty or too long sequence, a character that is no residue letter, or a pooling that it has not.
        OutOfMemoryError
            If the batch does not fit.
        NonFiniteError
            If a sequence gives NaN or infinity even in float32.
        """
        if pooling == RESIDUES:
            raise InputError("pooling='residues' gives no vector a protein; call embed_residues(sequences).")
        return cast("NDArray[np.float32]", self.embed_each(sequences, [pooling])[pooling])

    def embed_residues(self, sequences: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """Embed one batch, unpooled: for each sequence (L, dim) float32, one row a residue. Raises as :meth:`embed`."""
        return cast("list[NDArray[np.float32]]", self.embed_each(sequences, [RESIDUES])[RESIDUES])

    def embed_each(self, sequences: Sequence[bytes], poolings: Sequence[str]) -> dict[str, Embedded]:
        """Embed one batch under several poolings, in one forward pass. Raises as :meth:`embed`.

        ``"first"`` is the state of the special token before the residues; ``"residues"`` what :meth:`embed_residues`
        gives.
        """
        require_poolings(self, poolings)
        check_sequences(sequences, name=self.name, max_residues=self.max_residues)
        if not sequences:
            return {name: [] if name == RESIDUES else np.empty((0, self.dim), np.float32) for name in poolings}
        with translate_oom(sequences, self.device):
            rows = self._finite_states(sequences, poolings)
            return {name: self._gather(name, [row[name] for row in rows]) for name in dict.fromkeys(poolings)}

    def _gather(self, pooling: str, tensors: list[torch.Tensor]) -> Embedded:
        if pooling == RESIDUES:
            return [states.cpu().numpy() for states in tensors]
        return cast("NDArray[np.float32]", torch.stack(tensors).cpu().numpy())

    def _finite_states(self, sequences: Sequence[bytes], poolings: Sequence[str]) -> list[dict[str, torch.Tensor]]:
        """Each sequence's states under each pooling, checked to be finite; on the device."""
        states = self._forward(sequences, self.precision)
        # One number a sequence, of all its states: a maximum would hide what is NaN or infinite below it.
        sums = torch.stack([protein_states.sum() for protein_states in states])
        for row in torch.isfinite(sums).logical_not().nonzero().flatten().tolist():
            if self.precision != "float32":
                states[row] = self._forward([sequences[row]], "float32")[0]
                self.n_recomputed += 1
            if not bool(torch.isfinite(states[row]).all()):
                raise NonFiniteError(
                    f"Model {self.name!r} gave NaN or infinity for sequence {row} of the batch "
                    f"({len(sequences[row])} residues), also in float32. The weights are damaged, or not this model's."
                )
        return self._pool_each(sequences, states, poolings)

    def _pool_each(
        self, sequences: Sequence[bytes], states: list[torch.Tensor], poolings: Sequence[str]
    ) -> list[dict[str, torch.Tensor]]:
        """For each sequence what the poolings make of its states, (prefix + L, D) float32."""
        return [self._pool(protein_states, poolings) for protein_states in states]

    def _pool(self, states: torch.Tensor, poolings: Sequence[str]) -> dict[str, torch.Tensor]:
        """(prefix + L, D) float32 under each pooling."""
        start = len(self.tokens.prefix)
        residues = states[start:]
        return {
            name: residues if name == RESIDUES else find_pooling(name)(states[:1] if name == "first" else residues)
            for name in poolings
        }

    def _forward(self, sequences: Sequence[bytes], precision: str) -> list[torch.Tensor]:
        """For each sequence the states of its prefix and residues, (prefix + L, dim) float32, on the device."""
        encoder = self._encoder(precision)
        self._check_memory(sequences, encoder.config, precision)
        tokens, mask = self.tokens.batch(sequences)
        with torch.inference_mode():
            inputs = self._inputs(torch.from_numpy(tokens).to(self.device), torch.from_numpy(mask).to(self.device))
            hidden = self._hidden(encoder, inputs)
        expected = (*tokens.shape, self._state_size(encoder))
        if tuple(hidden.shape) != expected:
            raise InputError(f"Model {self.name!r} gave states of shape {tuple(hidden.shape)}; expected {expected}.")
        end = len(self.tokens.prefix)
        return [hidden[row, : end + len(sequence)].float() for row, sequence in enumerate(sequences)]

    def _check_memory(self, sequences: Sequence[bytes], config: Any, precision: str) -> None:
        """Refuse a batch that would not fit: on Linux the allocation succeeds, and its use gets the process killed."""
        lengths = [len(sequence) for sequence in sequences]
        n_tokens = len(self.tokens.prefix) + max(lengths) + len(self.tokens.suffix)
        itemsize = DTYPES[precision].itemsize
        needed = self._encoder_size(config).forward_bytes(
            len(lengths),
            n_tokens,
            padded=min(lengths) < max(lengths),
            itemsize=itemsize,
            on_gpu=self.device.type == "cuda",
        )
        if self.layer != self.spec.n_layers:
            # The states of every layer are kept until one is chosen.
            needed += (self.spec.n_layers + 1) * len(lengths) * n_tokens * self.dim * itemsize
        # Each of those who share the memory may want as much at the same moment.
        needed *= self._n_sharing
        available = available_bytes(self.device)
        if needed > USABLE_SHARE * available:
            raise not_enough_memory(sequences, needed, available)

    def _encoder(self, precision: str) -> Any:
        """The encoder in one precision, loaded on first use."""
        if precision not in self._encoders:
            self._encoders[precision] = self.new_encoder(precision)
        return self._encoders[precision]

    @classmethod
    def _check_model_type(cls, config: dict[str, Any], source: str) -> None:
        """Refuse a checkpoint of another architecture; families that share one add what tells them apart."""
        model_type = config.get("model_type")
        if model_type != cls.model_type:
            raise InputError(
                f"{source} holds a model of type {model_type!r} (config.json, model_type); family {cls.family!r} needs "
                f"{cls.model_type!r}. Pass the family that the checkpoint has, or another checkpoint."
            )

    def _check_config(self, config: dict[str, Any]) -> None:
        source = str(self.checkpoint.directory)
        self._check_model_type(config, source)
        for what, key, value, expected in (
            ("dimensions", self.dim_key, config.get(self.dim_key), self.spec.dim),
            ("layers", self.layers_key, self._n_layers(config), self.spec.n_layers),
        ):
            if value != expected:
                raise InputError(
                    f"{source} has {value} {what} (config.json, {key}); model {self.spec.name!r} has "
                    f"{expected}. It is another checkpoint: load it as a directory with "
                    f"family={self.family!r} (--family)."
                )
