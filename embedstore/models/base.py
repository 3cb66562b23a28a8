"""What a model is: the declared row, and the contract that every family keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError

STANDARD_RESIDUES = b"ACDEFGHIKLMNPQRSTVWY"
"""The twenty letters that every model must know."""

RESIDUE_LETTERS = b"*ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Every byte that a normalised sequence can hold."""

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
        Which layout and residue policy the checkpoint has: ``"t5"``, ``"bert"``, ``"esm"``, ``"kmer"``.
    checkpoint
        Hugging Face repository id, or None for a model without weights.
    revision
        Branch, tag or commit of ``checkpoint``.
    licence
        Licence of the weights.
    dim
        Length of a vector.
    n_layers
        Number of layers; states are taken after the last one and its final normalisation.
    n_parameters
        Number of weights.
    max_residues
        Longest protein that the model can take, or None where there is no such limit.
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
    unknown_to_x: bytes = b""
    summary: str
    citation: str


class Model(Protocol):
    """Turns normalised sequences into vectors.

    Attributes
    ----------
    name
        Catalog name, or the directory's name for a local checkpoint.
    dim
        Length of a vector.
    max_residues
        Longest sequence that :meth:`embed` takes, or None.
    batch_residues
        Default budget of padded residues for one batch, for :func:`embedstore.batching.plan_batches`.
    unknown_letters
        Letters that the model has no token of its own for, as ASCII bytes: they are read as ``X`` or as "unknown".
    n_recomputed
        How many sequences gave NaN or infinity in a lower precision and were computed again in float32, so far.
    """

    name: str
    dim: int
    max_residues: int | None
    batch_residues: int
    unknown_letters: bytes
    n_recomputed: int

    def identity(self) -> dict[str, str | int | None]:
        """Everything that decides which vectors come out; needs no weights in memory.

        Keys: ``model``, ``family``, ``checkpoint``, ``revision``, ``weights_sha256``, ``tokens_sha256``,
        ``adapter_sha256``, ``layer``, ``precision``, ``residue_policy``. None means none, or not known.
        """
        ...

    def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
        """Embed one batch: (n, dim) float32, row ``i`` for ``sequences[i]``.

        Raises
        ------
        InputError
            For an empty or too long sequence, or a character that is no residue letter.
        OutOfMemoryError
            If the batch does not fit.
        """
        ...


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
