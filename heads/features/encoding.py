"""Sequences as residue codes, as k-mer counts, as texts for other programs, and packed for a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

STANDARD = b"ACDEFGHIKLMNPQRSTVWY"
"""The twenty residues; a letter's code is its position here."""

OTHER = len(STANDARD)
"""Code of every other letter."""

ALIGNABLE = STANDARD + b"BZX"
"""Letters that every alignment program and BLOSUM62 know."""

_N_CODES = OTHER + 1
_BLOCK_ROWS = 4096

_CODES = np.full(256, OTHER, np.uint8)
for _position, _letter in enumerate(STANDARD):
    _CODES[_letter] = _CODES[ord(chr(_letter).lower())] = _position


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


def kmer_counts(sequences: Sequence[str], k: int) -> csr_array:
    """Counts of all k-mers of length 1 to `k`, (N, 21 + 21^2 + ...) sparse float32, short ones first.

    >>> kmer_counts(["ACA"], 2).toarray().nonzero()[1].tolist(), kmer_counts(["ACA"], 2).sum(axis=1).tolist()
    ([0, 1, 22, 42], [5.0])
    """
    from scipy.sparse import csr_array, vstack

    width = sum(_N_CODES**length for length in range(1, k + 1))
    # In blocks, because the columns and rows of all k-mers are int64 arrays.
    blocks = [
        _counts(sequences[start : start + _BLOCK_ROWS], k, width) for start in range(0, len(sequences), _BLOCK_ROWS)
    ]
    return csr_array(vstack(blocks, format="csr")) if blocks else csr_array((0, width), dtype=np.float32)


def _counts(sequences: Sequence[str], k: int, width: int) -> csr_array:
    from scipy.sparse import csr_array

    columns, rows, first = [], [], 0
    codes = [codes_of_residues(sequence).astype(np.int64) for sequence in sequences]
    lengths = np.array([len(code) for code in codes])
    joined = np.concatenate(codes)
    ends = np.repeat(np.cumsum(lengths), lengths)
    row = np.repeat(np.arange(len(sequences)), lengths)
    kmer = np.zeros(len(joined), np.int64)
    for length in range(1, k + 1):
        # The k-mer that starts at each residue; those that would run past the end of their protein are left out.
        complete = np.arange(len(joined)) + length <= ends
        following = np.append(joined[length - 1 :], np.zeros(min(length - 1, len(joined)), np.int64))[: len(joined)]
        kmer = kmer * _N_CODES + following
        columns.append(first + kmer[complete])
        rows.append(row[complete])
        first += _N_CODES**length
    flat = np.concatenate(rows) * width + np.concatenate(columns)
    cells, counts = np.unique(flat, return_counts=True)
    indptr = np.searchsorted(cells, np.arange(len(sequences) + 1) * width)
    return csr_array((counts.astype(np.float32), cells % width, indptr), shape=(len(sequences), width))
