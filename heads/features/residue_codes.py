"""Residues as codes, as texts that a program takes, and packed for a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

STANDARD = b"ACDEFGHIKLMNPQRSTVWY"
"""The twenty residues; a letter's code is its place here."""

OTHER = len(STANDARD)
"""Code of every other letter."""

ALIGNABLE = STANDARD + b"BZX"
"""Letters that every alignment program and BLOSUM62 know."""

_CODES = np.full(256, OTHER, np.uint8)
for _place, _letter in enumerate(STANDARD):
    _CODES[_letter] = _CODES[ord(chr(_letter).lower())] = _place


def codes_of_residues(sequence: str) -> NDArray[np.uint8]:
    """Code of each residue, (L,) uint8; upper and lower case alike.

    >>> codes_of_residues("AcX").tolist()
    [0, 1, 20]
    """
    return _CODES[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]


def cleaned(sequences: Iterable[str], letters: bytes = ALIGNABLE) -> list[str]:
    """Sequences in upper case, with every letter that is none of `letters` as X.

    >>> cleaned(["mkU*"])
    ['MKXX']
    """
    known = letters + letters.lower()
    table = bytes(ord(chr(code).upper()) if code in known else ord("X") for code in range(256))
    return [sequence.encode("ascii", "replace").translate(table).decode() for sequence in sequences]


def pack(sequences: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Sequences as two arrays for a file: ``residues``, compressed bytes, and ``lengths``."""
    joined = zstandard.ZstdCompressor(level=9).compress("".join(sequences).encode())
    return {
        "residues": np.frombuffer(joined, np.uint8),
        "lengths": np.fromiter(map(len, sequences), np.int32, count=len(sequences)),
    }


def unpack(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """What `pack` packed.

    >>> unpack(pack(["MKV", "", "A"]))
    ['MKV', '', 'A']
    """
    joined = zstandard.ZstdDecompressor().decompress(arrays["residues"].tobytes()).decode()
    ends = np.cumsum(arrays["lengths"], dtype=np.int64)
    return [joined[end - length : end] for end, length in zip(ends.tolist(), arrays["lengths"].tolist(), strict=True)]
