"""The alphabet of proteins and its policy: what is folded, what is removed, what is refused."""

from __future__ import annotations

import string
from dataclasses import dataclass

from embedstore.errors import SequenceError

GAPS = b"-."
STOP = b"*"
LEGAL = string.ascii_uppercase.encode() + STOP
"""What residues may hold. All 26 letters: B, J, O, U, X and Z stand in real data, and models decide what they know."""

_WHITE_SPACE = b" \t\n\r\v\f"
_LOWER_CASE = string.ascii_lowercase.encode()
_UPPER = bytes.maketrans(_LOWER_CASE, string.ascii_uppercase.encode())
_REMOVED = GAPS + _WHITE_SPACE
_IN_A_FILE = LEGAL + _LOWER_CASE + _REMOVED
_NUCLEOTIDES = b"ACGTUN"
_NUCLEOTIDE_CODES = b"ACGTUNRYSWKMBDHV"
_NUCLEOTIDE_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """Residues fit for a key, and how many characters were changed on the way.

    Attributes
    ----------
    residues
        Upper-case letters and inner ``*``; may be empty.
    n_gaps
        ``-`` and ``.`` removed.
    n_stops
        ``*`` removed from the end.
    n_white_space
        Blanks, tabs and line breaks removed.
    n_lower_case
        Letters folded to upper case.
    """

    residues: bytes
    n_gaps: int = 0
    n_stops: int = 0
    n_white_space: int = 0
    n_lower_case: int = 0


def is_normal(raw: bytes) -> bool:
    """Tell, cheaply, that normalising would change nothing; False may also mean that an inner ``*`` needs a look."""
    return raw.isalpha() and raw.isupper()


def illegal_offset(raw: bytes) -> int:
    """Find the first byte that :func:`normalise` refuses: its 0-based offset in ``raw``, or -1."""
    refused = raw.translate(None, _IN_A_FILE)
    return raw.index(refused[:1]) if refused else -1


def describe_illegal(raw: bytes, offset: int) -> str:
    """Name the character at ``offset`` and its residue position (from 1, white space not counted)."""
    character = raw[offset : offset + 4].decode("utf-8", "backslashreplace")
    shown = character[:4] if character.startswith("\\x") else character[:1]
    position = len(raw[:offset].translate(None, _WHITE_SPACE)) + 1
    return (
        f"character {shown!r} at residue {position} is not an amino acid; "
        "expected letters, '*', and the gaps '-' and '.'"
    )


def normalise(raw: bytes) -> Normalised:
    r"""Fold to upper case; remove white space, gaps and the stops at the end.

    Normalising twice changes nothing more, so that a key does not depend on how often it was done.

    Parameters
    ----------
    raw
        One sequence as a file gives it, ASCII.

    Raises
    ------
    SequenceError
        If there is anything but letters, ``*``, ``-``, ``.`` and white space.

    Examples
    --------
    >>> normalise(b"mk-lv*\n").residues
    b'MKLV'
    >>> normalise(b"mk-lv*\n").n_gaps
    1
    """
    if is_normal(raw):
        return Normalised(residues=raw)
    offset = illegal_offset(raw)
    if offset >= 0:
        raise SequenceError(f"Not a protein: {describe_illegal(raw, offset)}. Remove or replace it.")
    folded = raw.translate(_UPPER, _REMOVED)
    residues = folded.rstrip(STOP)
    n_gaps = raw.count(b"-") + raw.count(b".")
    return Normalised(
        residues=residues,
        n_gaps=n_gaps,
        n_stops=len(folded) - len(residues),
        n_white_space=len(raw) - n_gaps - len(folded),
        n_lower_case=len(raw) - len(raw.translate(None, _LOWER_CASE)),
    )


def looks_like_nucleotides(residues: bytes) -> bool:
    """Tell whether residues read like DNA or RNA: IUPAC nucleotide codes alone, nine in ten of them A C G T U N.

    A short peptide of alanine, glycine and threonine looks the same: a hint on a whole file, not a verdict on a record.

    Examples
    --------
    >>> looks_like_nucleotides(b"ATGGCCNNRTAA"), looks_like_nucleotides(b"MKTAYIAKQR")
    (True, False)
    """
    if not residues or residues.translate(None, _NUCLEOTIDE_CODES):
        return False
    return len(residues.translate(None, _NUCLEOTIDES)) <= (1 - _NUCLEOTIDE_SHARE) * len(residues)
