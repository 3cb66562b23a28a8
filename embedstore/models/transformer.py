"""What all transformer families share: tokens in, states of the residues out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers.utils import logging

from embedstore.errors import EmbedstoreError, InputError, NonFiniteError, OutOfMemoryError, WeightsUnavailableError
from embedstore.models.base import ModelSpec, check_sequences
from embedstore.models.checkpoint import Checkpoint, find_checkpoint, read_config
from embedstore.models.devices import DTYPES, resolve_device, resolve_precision
from embedstore.models.memory import USABLE_SHARE, EncoderSize, available_bytes
from embedstore.models.tokens import TokenTable, read_token_table
from embedstore.pooling import Pooling, find_pooling

# Padded residues a batch: enough to keep the device busy, little enough for common amounts of memory.
_BATCH_RESIDUES = {"cpu": 4_096, "cuda": 16_384}
_TAKE_SMALLER = "Take smaller batches: batch_residues= (--batch-residues); or a device with more memory."
_CPU_ALLOCATION_FAILED = ("can't allocate memory", "not enough memory")


class TransformerModel(ABC):
    """A transformer encoder from a checkpoint directory or the hub.

    A family is a subclass: it names its layout and says how its tokenizer and its encoder are loaded. The states are
    the encoder's ``last_hidden_state``, which in every family here is taken after the final normalisation.

    Parameters
    ----------
    spec
        The catalog row, or what :meth:`spec_of` makes of a directory.
    directory
        A local checkpoint, or None for the hub and its cache.
    device, precision
        As :func:`embedstore.models.load_model` takes them.

    Attributes
    ----------
    n_recomputed
        How many sequences gave NaN or infinity in a lower precision and were computed again in float32.

    Raises
    ------
    WeightsUnavailableError
        If the checkpoint is neither on disk nor reachable.
    InputError
        If the checkpoint is of another kind than the family, or of another size than the row.
    """

    family: ClassVar[str]
    model_type: ClassVar[str]
    spaced: ClassVar[bool]
    unknown_to_x: ClassVar[bytes]
    dim_key: ClassVar[str] = "hidden_size"
    layers_key: ClassVar[str] = "num_hidden_layers"
    ff_copies: ClassVar[int] = 3

    def __init__(
        self, spec: ModelSpec, *, directory: Path | None = None, device: str = "auto", precision: str = "auto"
    ) -> None:
        self.spec = spec
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.checkpoint: Checkpoint = find_checkpoint(spec, directory)
        config = self.checkpoint.config()
        self._check_config(config)
        self.name = spec.name
        self.dim = spec.dim
        self.max_residues = self._longest(config)
        self.batch_residues = _BATCH_RESIDUES.get(self.device.type, _BATCH_RESIDUES["cpu"])
        with quiet_transformers():
            self.tokens: TokenTable = self._read_tokens()
        self.unknown_letters = self.tokens.unknown_letters
        self.n_recomputed = 0
        self._encoders: dict[str, Any] = {}

    @classmethod
    def spec_of(cls, directory: Path) -> ModelSpec:
        """A row for a local checkpoint: sizes from its configuration, residue policy from the family.

        Raises
        ------
        InputError
            If the directory's ``model_type`` is another family's.
        """
        config = read_config(directory)
        cls._check_model_type(config, str(directory))
        return ModelSpec(
            name=directory.name,
            target=f"{cls.__module__}:{cls.__qualname__}",
            family=cls.family,
            checkpoint=None,
            revision=None,
            licence="unknown",
            dim=int(config[cls.dim_key]),
            n_layers=int(config[cls.layers_key]),
            n_parameters=0,
            max_residues=cls._longest(config),
            unknown_to_x=cls.unknown_to_x,
            summary=f"local checkpoint, family {cls.family}",
            citation="unknown",
        )

    @classmethod
    def _longest(cls, config: dict[str, Any]) -> int | None:
        """Most residues that the configuration allows; None where positions are relative or rotary."""
        return None

    @abstractmethod
    def _load_tokenizer(self, directory: Path) -> Any:
        """The checkpoint's own tokenizer."""

    @abstractmethod
    def _encoder_class(self) -> tuple[Any, dict[str, Any]]:
        """The transformers class of the encoder, and extra arguments of its constructor."""

    def identity(self) -> dict[str, str | int | None]:
        """What decides the vectors; reads the weight files once to hash them, and does not load them."""
        return {
            "model": self.name,
            "family": self.family,
            "checkpoint": self.spec.checkpoint or self.checkpoint.repository,
            "revision": self.checkpoint.revision,
            "weights_sha256": self.checkpoint.weights_sha256(),
            "tokens_sha256": self.tokens.sha256,
            "adapter_sha256": None,
            "layer": self.spec.n_layers,
            "precision": self.precision,
            "residue_policy": self.tokens.policy,
        }

    def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
        """Embed one batch in one forward pass: (n, dim) float32, row ``i`` for ``sequences[i]``.

        Residues alone are pooled, in float32: no CLS, SEP, EOS or padding.

        Raises
        ------
        InputError
            For an empty or too long sequence, or a character that is no residue letter.
        OutOfMemoryError
            If the batch does not fit.
        NonFiniteError
            If a sequence gives NaN or infinity even in float32.
        """
        pool = find_pooling(pooling)
        if not sequences:
            return np.empty((0, self.dim), dtype=np.float32)
        with _named_out_of_memory(sequences):
            return torch.stack(self._finite(sequences, pool)).cpu().numpy()

    def embed_residues(self, sequences: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """Embed one batch, unpooled: for each sequence (L, dim) float32, one row a residue. Raises as :meth:`embed`."""
        if not sequences:
            return []
        with _named_out_of_memory(sequences):
            return [states.cpu().numpy() for states in self._finite(sequences, lambda states: states)]

    def _finite(self, sequences: Sequence[bytes], pool: Pooling) -> list[torch.Tensor]:
        """What ``pool`` makes of each sequence's (L, dim) float32 states, proved finite; on the device."""
        check_sequences(sequences, name=self.name, max_residues=self.max_residues)
        pooled = [pool(states) for states in self._forward(sequences, self.precision)]
        # One number a sequence: NaN and infinity survive every sum, and a check of all states would cost more.
        sums = torch.stack([one.sum() for one in pooled])
        for row in torch.isfinite(sums).logical_not().nonzero().flatten().tolist():
            if self.precision != "float32":
                pooled[row] = pool(self._forward([sequences[row]], "float32")[0])
                self.n_recomputed += 1
            if not bool(torch.isfinite(pooled[row]).all()):
                raise NonFiniteError(
                    f"Model {self.name!r} gave NaN or infinity for sequence {row} of the batch "
                    f"({len(sequences[row])} residues), also in float32. The weights are damaged, or not this model's."
                )
        return pooled

    def _forward(self, sequences: Sequence[bytes], precision: str) -> list[torch.Tensor]:
        encoder = self._encoder(precision)
        self._check_memory(sequences, encoder.config, precision)
        tokens, mask = self.tokens.batch(sequences)
        with torch.inference_mode():
            output = encoder(
                input_ids=torch.from_numpy(tokens).to(self.device),
                # Never left out: a padded T5 batch without it moves vectors by up to 2.1.
                attention_mask=torch.from_numpy(mask).to(self.device),
            )
            hidden = output.last_hidden_state
        if tuple(hidden.shape) != (*tokens.shape, self.dim):
            raise InputError(
                f"Model {self.name!r} gave states of shape {tuple(hidden.shape)}; expected {(*tokens.shape, self.dim)}."
            )
        start = len(self.tokens.prefix)
        return [hidden[row, start : start + len(sequence)].float() for row, sequence in enumerate(sequences)]

    def _check_memory(self, sequences: Sequence[bytes], config: Any, precision: str) -> None:
        """Refuse a batch that would not fit: on Linux the allocation succeeds, and its use gets the process killed."""
        lengths = [len(sequence) for sequence in sequences]
        needed = self._encoder_size(config).forward_bytes(
            len(lengths),
            len(self.tokens.prefix) + max(lengths) + len(self.tokens.suffix),
            padded=min(lengths) < max(lengths),
            itemsize=DTYPES[precision].itemsize,
            on_gpu=self.device.type == "cuda",
        )
        available = available_bytes(self.device)
        if needed > USABLE_SHARE * available:
            raise OutOfMemoryError(
                f"{_described(sequences)} needs about {needed / 2**30:,.1f} GiB of memory; "
                f"{available / 2**30:,.1f} GiB are available, of which {USABLE_SHARE:.0%} may be taken. {_TAKE_SMALLER}"
            )

    def _encoder_size(self, config: Any) -> EncoderSize:
        """What the loaded encoder's configuration says of its memory."""
        return EncoderSize(
            dim=config.hidden_size,
            inner=config.hidden_size,
            ff=config.intermediate_size,
            n_heads=config.num_attention_heads,
            ff_copies=self.ff_copies,
            position_bias=False,
            fused=self._attention() == "sdpa",
        )

    def _attention(self) -> str:
        """The attention that transformers is asked for; its T5 has the fused one only in newer releases."""
        return "sdpa" if getattr(self._encoder_class()[0], "_supports_sdpa", False) else "eager"

    def _encoder(self, precision: str) -> Any:
        """The encoder in one precision, loaded on first use."""
        if precision not in self._encoders:
            self._encoders[precision] = self._load_encoder(DTYPES[precision])
        return self._encoders[precision]

    def _load_encoder(self, dtype: torch.dtype) -> Any:
        encoder_class, extra = self._encoder_class()
        directory = self.checkpoint.directory
        try:
            with quiet_transformers():
                encoder, report = encoder_class.from_pretrained(
                    directory,
                    dtype=dtype,
                    attn_implementation=self._attention(),
                    use_safetensors=self.checkpoint.is_safetensors,
                    weights_only=True,
                    local_files_only=True,
                    output_loading_info=True,
                    **extra,
                )
        except (SafetensorError, UnpicklingError, EOFError, OSError, ValueError, RuntimeError) as error:
            if _is_out_of_memory(error):
                raise OutOfMemoryError(f"The weights in {directory} do not fit into memory: {error}") from error
            raise WeightsUnavailableError(
                f"The weights in {directory} cannot be read: {error}. Download the checkpoint again."
            ) from error
        # Whatever is missing was initialised at random. The contact head is not on the way to the states.
        missing = sorted(key for key in report["missing_keys"] if not key.startswith("contact_head."))
        if missing:
            raise WeightsUnavailableError(
                f"The weights in {directory} lack {len(missing)} tensors of the model, {missing[0]!r} first; expected "
                "a complete encoder. Download the checkpoint again."
            )
        return encoder.eval().to(self.device)

    def _read_tokens(self) -> TokenTable:
        tokenizer = self._load_tokenizer(self.checkpoint.directory)
        return read_token_table(
            lambda text: [int(token) for token in tokenizer(text)["input_ids"]],
            pad_id=int(tokenizer.pad_token_id),
            unk_id=int(tokenizer.unk_token_id),
            spaced=self.spaced,
            unknown_to_x=self.spec.unknown_to_x,
            source=str(self.checkpoint.directory),
        )

    @classmethod
    def _check_model_type(cls, config: dict[str, Any], source: str) -> None:
        found = config.get("model_type")
        if found != cls.model_type:
            raise InputError(
                f"{source} holds a model of type {found!r} (config.json, model_type); family {cls.family!r} needs "
                f"{cls.model_type!r}. Pass the family that the checkpoint has, or another checkpoint."
            )

    def _check_config(self, config: dict[str, Any]) -> None:
        source = str(self.checkpoint.directory)
        self._check_model_type(config, source)
        for what, key, expected in (
            ("dimensions", self.dim_key, self.spec.dim),
            ("layers", self.layers_key, self.spec.n_layers),
        ):
            if config.get(key) != expected:
                raise InputError(
                    f"{source} has {config.get(key)} {what} (config.json, {key}); model {self.spec.name!r} has "
                    f"{expected}. It is another checkpoint: load it as a directory with "
                    f"family={self.family!r} (--family)."
                )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing bars and logging below an error, and put its settings back after."""
    settings: Any = logging  # its functions have no annotations
    verbosity = settings.get_verbosity()
    had_bars = settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(verbosity)
        if had_bars:
            settings.enable_progress_bar()


@contextmanager
def _named_out_of_memory(sequences: Sequence[bytes]) -> Iterator[None]:
    """Turn torch's two ways of running out of memory into ours; let every other error through."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, EmbedstoreError) or not _is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"{_described(sequences)} did not fit into memory. {_TAKE_SMALLER}") from error


def _described(sequences: Sequence[bytes]) -> str:
    plural = "" if len(sequences) == 1 else "s"
    return f"A batch of {len(sequences)} sequence{plural}, {max(map(len, sequences)):,} residues the longest,"


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # On a CPU torch raises a plain RuntimeError, known by its text alone.
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _CPU_ALLOCATION_FAILED)
