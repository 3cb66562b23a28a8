"""Array types named by their axes, and the nouns that every layer shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Digests: TypeAlias = NDArray[np.uint8]
"""(N, 24) uint8: one key a row."""

Vectors: TypeAlias = NDArray[np.floating[Any]]
"""(N, D) floating: one protein a row."""

RESIDUES = "residues"
"""In place of the name of a pooling: one vector a residue, none a protein."""

DIGEST_BYTES = 24
"""Length of a key: the first 24 bytes of SHA-512 (GA4GH ``sha512t24u``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One protein as a file gives it, with its sequence normalised.

    Attributes
    ----------
    id
        The identifier, byte-exact as text; any character but a line break. Not unique by contract, never a path.
    residues
        Upper-case ASCII letters (and ``*`` inside), without white space, gaps and a final stop. Never empty.
    columns
        Whatever else the source says of this protein (label, split, description), as text, by column name.
    """

    id: str
    residues: bytes
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A step of a long job, handed to a callback; the command line draws a bar from it.

    ``done`` and ``total`` count ``unit`` (``residues``, ``records``, ``bytes``); ``total`` is None where unknown.
    """

    stage: str
    done: int
    total: int | None
    unit: str
    note: str = ""


ProgressCallback: TypeAlias = Callable[[Progress], None]


def null_progress(_: Progress) -> None:
    """The default progress callback: says nothing."""
