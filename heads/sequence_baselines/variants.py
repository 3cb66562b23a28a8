"""Variants of one protein, all of one length, as residue codes; the BLOSUM62 substitution matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.features.encoding import codes_of_residues

_LOWER = """
4
0 9
-2 -3 6
-1 -4 2 5
-2 -2 -3 -3 6
0 -3 -1 -2 -3 6
-2 -3 -1 0 -1 -2 8
-1 -1 -3 -3 0 -4 -3 4
-1 -3 -1 1 -3 -2 -1 -3 5
-1 -1 -4 -3 0 -4 -3 2 -2 4
-1 -1 -3 -2 0 -3 -2 1 -1 2 5
-2 -3 1 0 -3 0 1 -3 0 -3 -2 6
-1 -3 -1 -1 -4 -2 -2 -3 -1 -3 -2 -2 7
-1 -3 0 2 -3 -2 0 -3 1 -2 0 0 -1 5
-1 -3 -2 0 -3 -2 0 -3 2 -2 -1 0 -2 1 5
1 -1 0 0 -2 0 -1 -2 0 -2 -1 1 -1 0 -1 4
0 -1 -1 -1 -2 -2 -2 -1 -1 -1 -1 0 -1 -1 -1 1 5
0 -1 -3 -2 -1 -3 -3 3 -2 1 1 -3 -2 -2 -3 -2 0 4
-3 -2 -4 -3 1 -2 -2 -3 -3 -2 -1 -4 -4 -2 -3 -3 -2 -3 11
-2 -2 -3 -2 3 -3 2 -1 -2 -1 -1 -2 -3 -1 -2 -2 -2 -1 2 7
"""


def aligned_codes(residues: Sequence[str], length: int | None = None, *, first_row: int = 0) -> NDArray[np.uint8]:
    """Code of each residue of variants, (N, L) uint8.

    Parameters
    ----------
    length
        L; None takes that of the first variant.
    first_row
        Number of the first variant in X, for messages.

    Raises
    ------
    InputError
        If a sequence has another length.
    """
    expected = len(residues[0]) if length is None else length
    for row, sequence in enumerate(residues, start=first_row):
        if len(sequence) != expected:
            raise InputError(
                f"Row {row} of X has {len(sequence):,} residues and the others {expected:,}; expected variants of one "
                "protein, all of one length. Use a head that needs no alignment (kmer, composition)."
            )
    return np.array([codes_of_residues(sequence) for sequence in residues], np.uint8).reshape(len(residues), expected)


def consensus(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most frequent residue of each position, (L,): the wild type of single mutants."""
    counts = np.stack([(codes == code).sum(axis=0) for code in range(21)])
    return np.asarray(counts.argmax(axis=0), np.uint8)


def blosum62() -> NDArray[np.int64]:
    """(21, 21) int64 scores in half bits, by the codes of `heads.features.encoding`; other letters score -1, as X.

    Henikoff and Henikoff 1992, Amino acid substitution matrices from protein blocks, PNAS 89:10915.

    >>> blosum62()[0, 0], blosum62()[0, 1], (blosum62() == blosum62().T).all()
    (np.int64(4), np.int64(0), np.True_)
    """
    matrix = np.full((21, 21), -1, np.int64)
    for row, line in enumerate(_LOWER.split("\n")[1:-1]):
        matrix[row, : row + 1] = matrix[: row + 1, row] = [int(score) for score in line.split()]
    return matrix
