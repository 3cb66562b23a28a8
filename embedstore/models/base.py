"""The contract of a model, and its entry in the catalog."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.models.pooling import find_pooling
from embedstore.types import RESIDUES

STANDARD_RESIDUES = b"ACDEFGHIKLMNPQRSTVWY"
"""The twenty letters that every model must know."""

RESIDUE_LETTERS = b"*ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Every byte that a normalised sequence can hold."""

Embedded: TypeAlias = NDArray[np.float32] | list[NDArray[np.float32]]
"""(n, D) float32, a row a sequence; or for the residues a list of (L, D) float32, one a sequence."""

_IS_RESIDUE_LETTER = np.zeros(256, dtype=np.bool_)
_IS_RESIDUE_LETTER[np.frombuffer(RESIDUE_LETTERS, dtype=np.uint8)] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A row of the model catalog.

    Attributes
    ----------
    name
        Registry name, snake_case, naming the checkpoint: ``"esm2_650m"``.
    target
        ``"module:Class"``; called as ``Class(spec, directory=..., device=..., precision=...)``.
    family
        Which layout and residue policy the checkpoint has: ``"kmer"`` or a name in
        `embedstore.models.catalog.FAMILIES`.
    checkpoint
        Hugging Face repository id, or None for a model without weights, or with weights that come with the package.
    revision
        Branch, tag or commit of ``checkpoint``; of packaged weights their number, raised with every training.
    licence
        Licence of the weights.
    dim
        Length of a vector.
    n_layers
        Number of layers; unless another is asked for, states are taken after the last one and its final
        normalisation.
    n_parameters
        Number of weights of the encoder alone, without heads.
    max_residues
        Longest protein that the model can take, or None where there is no such limit.
    window_residues
        Longest stretch that is embedded in one pass where long proteins are cut into windows; None: no windows.
    half_precision
        ``"float16"`` or ``"bfloat16"``: what ``precision="auto"`` takes on a GPU, by what the card allows; None where
        it takes float32, on a CPU too.
    unknown_to_x
        Letters that are replaced by ``X`` before the model sees them, as its card asks.
    summary
        One line for a list of models.
    citation
        Where the model was published.
    """

    name: str
    target: str
    family: str
    checkpoint: str | None
    revision: str | None
    licence: str
    dim: int
    n_layers: int
    n_parameters: int
    max_residues: int | None = None
    window_residues: int | None = None
    half_precision: str | None = None
    unknown_to_x: bytes = b""
    summary: str
    citation: str


class Model(Protocol):
    """Turns normalised sequences into vectors.

    A plug-in that inherits from it need only set the attributes without a default and write :meth:`identity` and
    :meth:`embed`.

    Attributes
    ----------
    name
        Catalog name, or for a checkpoint from elsewhere the name of its directory or repository.
    dim
        Length of a vector.
    max_residues
        Longest sequence that :meth:`embed` takes, or None.
    batch_residues
        Default budget of padded residues for one batch, for :func:`embedstore.sequences.batching.plan_batches`.
    unknown_letters
        Letters that the model has no token of its own for, as ASCII bytes: they are read as ``X`` or as "unknown".
    window_residues
        Longest stretch that is embedded in one pass where long proteins are cut into windows; None: no windows.
    poolings
        Names of the poolings that it can give, the default first.
    has_residues
        Whether it can give the vectors of single residues.
    n_recomputed
        How many sequences gave NaN or infinity in a lower precision and were computed again in float32, so far.
    n_lanes
        How many batches to compute in parallel threads: on a CPU, which one batch does not keep busy, up to one a
        core.
    load_options
        Keyword arguments with which :func:`embedstore.models.load_model` gives the same model again in another process,
        as JSON takes them; all but the device. None where it was not made by `load_model`.
    """

    name: str
    dim: int
    max_residues: int | None
    batch_residues: int
    unknown_letters: bytes
    window_residues: int | None = None
    poolings: tuple[str, ...] = ("mean",)
    has_residues: bool = False
    n_recomputed: int = 0
    n_parallel: int = 1
    load_options: dict[str, Any] | None = None

    def identity(self) -> dict[str, str | int | None]:
        """Everything that determines the vectors; needs no weights in memory.

        Keys: ``model``, ``family``, ``checkpoint``, ``revision``, ``weights_sha256``, ``tokens_sha256``,
        ``adapter_sha256``, ``layer``, ``precision``, ``residue_policy``. None means none, or not known.
        """
        ...

    def parallel(self, n: int) -> AbstractContextManager[Callable[[], Model]]:
        """A context manager for ``n`` threads that yields a function; each thread calls it once for its own copy.

        Copies share the weights; each has its own state and its share of the processor.
        """
        return nullcontext(lambda: self)

    def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
        """Embed one batch: (n, dim) float32, row ``i`` for ``sequences[i]``.

        Raises
        ------
        InputError
            For an empty or too long sequence, a character that is no residue letter, or a pooling that it has not.
        OutOfMemoryError
            If the batch does not fit.
        """
        ...

    def embed_residues(self, sequences: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """Embed one batch, unpooled: for each sequence (L, dim) float32, one row a residue. Raises as :meth:`embed`."""
        raise InputError(_without(self.name, RESIDUES, self.poolings))

    def embed_each(self, sequences: Sequence[bytes], poolings: Sequence[str]) -> dict[str, Embedded]:
        """Embed one batch under several poolings, by name; ``"residues"`` is what :meth:`embed_residues` gives.

        Models of ours do it in one pass. Raises as :meth:`embed`.
        """
        require_poolings(self, poolings)
        return {
            name: self.embed_residues(sequences) if name == RESIDUES else self.embed(sequences, pooling=name)
            for name in poolings
        }


def require_poolings(model: Model, poolings: Sequence[str]) -> None:
    """Raise :class:`~embedstore.errors.InputError` for the first name that this model cannot give.

    >>> from embedstore.models import load_model
    >>> require_poolings(load_model("kmer"), ["mean", "max"])
    Traceback (most recent call last):
    ...
    embedstore.errors.InputError: Unknown pooling 'max' for model 'kmer'; it has mean. Pass one of these as pooling= \
(--pooling), or take another model.
    """
    for name in poolings:
        if name in model.poolings or (name == RESIDUES and model.has_residues):
            continue
        if name != RESIDUES:
            find_pooling(name)
        has = (*model.poolings, RESIDUES) if model.has_residues else model.poolings
        raise InputError(_without(model.name, name, has))


def _without(model: str, pooling: str, has: Sequence[str]) -> str:
    return (
        f"Unknown pooling {pooling!r} for model {model!r}; it has {', '.join(has)}. Pass one of these as pooling= "
        "(--pooling), or take another model."
    )


def resolve_layer(layer: int | None, n_layers: int, *, name: str) -> int:
    """The number of a layer, counted from 1; 0 is what enters the first one.

    None is the last layer, and so is -1: negative numbers count from the end.

    >>> resolve_layer(-1, 33, name="esm2_650m"), resolve_layer(-34, 33, name="esm2_650m")
    (33, 0)

    Raises
    ------
    InputError
        If there is no such layer.
    """
    if layer is None:
        return n_layers
    if not -n_layers - 1 <= layer <= n_layers:
        raise InputError(
            f"Model {name!r} has no layer {layer}; it has {n_layers}. Pass 0 (what enters the first) to {n_layers} "
            f"(the last), or -1 to {-n_layers - 1} from the end, as layer= (--layer)."
        )
    return layer if layer >= 0 else n_layers + 1 + layer


def check_sequences(sequences: Sequence[bytes], *, name: str, max_residues: int | None = None) -> None:
    """Raise :class:`~embedstore.errors.InputError` for the first sequence that a model cannot take.

    >>> check_sequences([b"MKV", b"mkv"], name="kmer")
    Traceback (most recent call last):
    ...
    embedstore.errors.InputError: Sequence 1 of the batch for kmer has 'm' at residue 1; expected the letters \
A-Z and '*'. Normalise it first (embedstore.sequences.normalise).
    """
    for row, sequence in enumerate(sequences):
        if not sequence:
            raise InputError(
                f"Sequence {row} of the batch for {name} is empty; expected at least one residue. Drop it."
            )
        if max_residues is not None and len(sequence) > max_residues:
            raise InputError(
                f"Sequence {row} of the batch for {name} has {len(sequence)} residues; the model takes at most "
                f"{max_residues}. Skip it or cut it into windows."
            )
        legal = _IS_RESIDUE_LETTER[np.frombuffer(sequence, dtype=np.uint8)]
        if not legal.all():
            place = int(np.argmin(legal))
            raise InputError(
                f"Sequence {row} of the batch for {name} has {chr(sequence[place])!r} at residue {place + 1}; "
                "expected the letters A-Z and '*'. Normalise it first (embedstore.sequences.normalise)."
            )
