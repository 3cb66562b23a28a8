"""What a fine-tuning is told: method, adapters, optimiser, batches; with the presets of published studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from embedstore.catalog import unknown_name
from embedstore.errors import InputError

METHODS = ("frozen", "lora", "full", "last_n")
"""The encoder stays; learns low-rank adapters; learns whole; learns in its last layers."""

LONG = ("error", "skip", "crop")
"""What happens to training proteins over the limit."""

STARTS = ("auto", "linear", "random")
"""Where a head begins: with a linear head's map of the frozen vectors, or at random."""

ENCODER_RATES = {"frozen": 0.0, "lora": 3e-4, "full": 2e-5, "last_n": 2e-5}
"""Learning rates of the encoder (Schmirler et al. 2024, Nature Communications 15:7407)."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "protbert_study": {
        "model": "prot_bert",
        "method": "frozen",
        "hidden": (),
        "dropout": 0.0,
        "norm": False,
        "start": "random",
        "head_rate": 3e-5,
        "optimizer": "adam",
        "weight_decay": 0.0,
        "schedule": "constant",
        "clip": None,
        "epochs": 1,
        "batch_size": 1,
        "patience": None,
        "max_residues": 1536,
        "long": "crop",
        "precision": "mixed",
    },
    "deepprotein": {
        "model": "prot_t5",
        "method": "full",
        "hidden": (),
        "dropout": 0.0,
        "norm": False,
        "start": "random",
        "head_rate": 1e-4,
        "encoder_rate": 1e-4,
        "optimizer": "adam",
        "weight_decay": 0.0,
        "schedule": "constant",
        "clip": None,
        "epochs": 50,
        "batch_size": 16,
        "max_residues": 300,
        "long": "crop",
        "precision": "mixed",
    },
}
"""`protbert_study`: the Pfam study's frozen ProtBert; `deepprotein`: DeepProt-T5 with all its weights learning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides a fine-tuning, apart from the data.

    Attributes
    ----------
    method
        One of `METHODS`.
    rank, alpha, adapter_dropout, targets, dora
        Of the adapters: rank, scale (times 1 / rank), dropout before them, ends of the names of the layers that they
        go on (None: the family's usual ones), and whether they learn directions and sizes apart (DoRA).
    n_last
        How many of the last layers learn under ``last_n``.
    hidden, dropout, norm
        Of the head: widths of its inner layers, dropout before each layer, and whether the states are normalised first.
    start
        ``linear``: the head, which is then one linear layer, begins as a linear head on the vectors of the encoder as
        it is; ``random``: at random; ``auto``: ``linear`` but for levels and heads with inner layers. Where no epoch is
        better on validation than a linear start, that is what is kept.
    pairing
        For pairs: which of concatenation, sum, product and difference of the two means go in, with ``+`` between.
    head_rate, encoder_rate
        Learning rates; None for the encoder's: that of `ENCODER_RATES`.
    optimizer, weight_decay, clip
        ``adamw`` or ``adam``; largest norm of the gradient, None for any.
    schedule, warmup
        ``cosine`` or ``constant``; share of all steps in which the rate rises.
    epochs, patience, monitor
        Most epochs; epochs without a better validation ``score`` or ``loss`` after which it stops (None: never).
    batch_size, batch_residues
        Proteins a step; padded residues in one pass (None: 2,048 on a CPU, 16,384 on a GPU). Passes of a step are added
        up.
    balanced
        Draw as many rows of each class.
    gradient_checkpointing
        Keep no activations inside the layers.
    encoder_dropout
        A rate for all dropouts of the encoder; None: what its configuration says.
    precision
        ``float32``; ``bfloat16`` or ``float16`` products with float32 weights; ``mixed`` for the one of the two that
        the device is good at; ``auto``: mixed where the model's card allows it and the device is good at it.
    max_residues, long
        Longest training protein (None: what the model takes in one pass), and what happens to longer ones.
    checkpoint_steps
        Steps between two checkpoints; there is one after each epoch too.
    seed
        Of everything that is drawn.
    """

    method: str = "lora"
    rank: int = 8
    alpha: int = 16
    adapter_dropout: float = 0.0
    targets: tuple[str, ...] | None = None
    dora: bool = False
    n_last: int = 1
    hidden: tuple[int, ...] = ()
    dropout: float = 0.1
    norm: bool = True
    start: str = "auto"
    pairing: str = "concatenation+product+difference"
    head_rate: float = 1e-3
    encoder_rate: float | None = None
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    clip: float | None = 1.0
    schedule: str = "cosine"
    warmup: float = 0.1
    epochs: int = 10
    patience: int | None = 3
    monitor: str = "score"
    batch_size: int = 32
    batch_residues: int | None = None
    balanced: bool = False
    gradient_checkpointing: bool = False
    encoder_dropout: float | None = None
    precision: str = "auto"
    max_residues: int | None = None
    long: str = "error"
    checkpoint_steps: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("method", METHODS),
            ("long", LONG),
            ("start", STARTS),
            ("optimizer", ("adam", "adamw")),
            ("schedule", ("cosine", "constant")),
            ("monitor", ("score", "loss")),
            ("precision", ("auto", "mixed", "float32", "bfloat16", "float16")),
        ):
            if getattr(self, name) not in known:
                raise unknown_name(name, str(getattr(self, name)), list(known))
        for name in ("rank", "n_last", "epochs", "batch_size", "checkpoint_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected 1 or more.")
        for name in ("dropout", "adapter_dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 0 and less than 1.")
        if self.start == "linear" and self.hidden:
            raise InputError(f"start is 'linear', and hidden is {list(self.hidden)}. Take one of the two.")
        for name in ("head_rate", "alpha"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; expected more than 0.")

    @property
    def rate(self) -> float:
        """The encoder's learning rate."""
        return ENCODER_RATES[self.method] if self.encoder_rate is None else self.encoder_rate


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings from a mapping that may hold more; lists become tuples."""
    chosen: dict[str, Any] = {field.name: values[field.name] for field in fields(Settings) if field.name in values}
    made: Callable[..., Settings] = Settings
    return made(**{name: tuple(value) if isinstance(value, list) else value for name, value in chosen.items()})


def with_preset(preset: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a preset, in front of which those that were given go.

    >>> with_preset("protbert_study", {"epochs": 2})["epochs"]
    2

    Raises
    ------
    UnknownNameError
        If there is no such preset.
    """
    if preset is None:
        return dict(given)
    if preset not in PRESETS:
        raise unknown_name("preset", preset, list(PRESETS))
    return {**PRESETS[preset], **given}
