"""Variants of one protein, all of one length, as residue codes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.features.residue_codes import codes_of_residues


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
