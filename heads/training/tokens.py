"""Residues as numbers: the letters of many proteins in one array."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.training.checks import require_whole

STANDARD = "ACDEFGHIKLMNPQRSTVWY"
N_CODES = 27
"""Padding, 0, and the letters A to Z, 1 to 26."""

_REFUSED = 255
_CODES = np.full(256, _REFUSED, np.uint8)
for _letters in (string.ascii_uppercase, string.ascii_lowercase):
    _CODES[np.frombuffer(_letters.encode(), np.uint8)] = np.arange(1, N_CODES)
# A stop inside a chain is a residue that nobody knows.
_CODES[ord("*")] = _CODES[ord("X")]


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Numbers of N sequences, end to end.

    Attributes
    ----------
    codes
        (R,) numbers of all tokens; 0 is left for padding.
    offsets
        (N + 1,) int64: sequence i has ``codes[offsets[i]:offsets[i + 1]]``.
    lengths
        (N,) int64: tokens of each.
    """

    codes: NDArray[np.uint8] | NDArray[np.uint16]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        # Every step asks for the lengths of its rows; to take the differences of all rows anew would cost more.
        object.__setattr__(self, "lengths", np.diff(self.offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def padded(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Some sequences side by side: (n, T) int64 numbers, 0 beyond the end, and where residues are, (n, T) bool."""
        lengths = self.lengths[rows]
        here = np.arange(int(lengths.max())) < lengths[:, None]
        out = np.zeros(here.shape, np.int64)
        out[here] = self.joined(rows)
        return out, here

    def joined(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of some sequences end to end, int64."""
        return np.concatenate([self.codes[self.offsets[row] : self.offsets[row + 1]] for row in rows]).astype(np.int64)


def encode_residues(residues: Sequence[str], *, max_length: int | None = None, first_row: int = 0) -> Tokens:
    """Letters of some proteins as numbers 1 to 26; an inner ``*`` is X, and case means nothing.

    Parameters
    ----------
    residues
        N texts of letters.
    max_length
        Longest that is taken, in residues; None takes all.
    first_row
        Number of the first of them in X, for messages.

    Raises
    ------
    InputError
        For a protein without residues, longer than `max_length`, or with something that is no residue. Nothing is cut.
    """
    if max_length is not None:
        require_whole(max_length=max_length)
    lengths = np.fromiter((len(text) for text in residues), np.int64, count=len(residues))
    if not lengths.all():
        raise InputError(f"Row {first_row + int(np.argmin(lengths))} of X has no residues. Leave such rows out.")
    if max_length is not None and len(lengths) and lengths.max() > max_length:
        row = int(np.argmax(lengths > max_length))
        raise InputError(
            f"Row {first_row + row} of X has {lengths[row]:,} residues and max_length is {max_length:,}; nothing is "
            "cut. Raise max_length, set it to None, or leave such proteins out."
        )
    codes = _CODES[np.frombuffer("".join(residues).encode("ascii", errors="replace"), np.uint8)]
    offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
    if (codes == _REFUSED).any():
        place = int(np.argmax(codes == _REFUSED))
        row = int(np.searchsorted(offsets, place, side="right")) - 1
        letter = residues[row][place - int(offsets[row])]
        raise InputError(
            f"Row {first_row + row} of X holds {letter!r}; expected letters of residues. Normalise the sequence."
        )
    return Tokens(codes, offsets)


def letters_of(codes: NDArray[np.integer]) -> str:
    """The text of some numbers.

    >>> letters_of(np.array([13, 11, 22]))
    'MKV'
    """
    return bytes((codes + 64).astype(np.uint8)).decode()


def standard_shares() -> NDArray[np.float32]:
    """What each number is in terms of the 20 residues, (27, 20) float32: the input of Bileschi et al. 2022.

    B is half D, half N; Z half E, half Q; J half I, half L; X and O a twentieth of each; U is C; padding is nothing.

    >>> float(standard_shares()[2].max()), float(standard_shares()[24].sum())
    (0.5, 1.0)
    """
    shares = np.zeros((N_CODES, len(STANDARD)), np.float32)
    mixed = {"B": "DN", "Z": "EQ", "J": "IL", "U": "C", "X": STANDARD, "O": STANDARD}
    for letter in string.ascii_uppercase:
        kinds = mixed.get(letter, letter)
        for kind in kinds:
            shares[ord(letter) - 64, STANDARD.index(kind)] = 1 / len(kinds)
    return shares
