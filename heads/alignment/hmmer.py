"""HMMER through pyhmmer, for phmmer and for profiles of families."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from threading import Lock
from typing import Any, Literal

from embedstore.catalog import missing_package
from embedstore.errors import InputError
from heads.features.encoding import ALIGNABLE

MAX_RESIDUES = 100_000
"""Longest sequence that HMMER accepts."""

LETTERS = ALIGNABLE + b"JOU"
"""HMMER's alphabet without gaps and stops."""

EVERYTHING = {"bias_filter": False, "F1": 1.0, "F2": 1.0, "F3": 1.0, "E": 1e6, "Z": 1.0, "incE": 1e6}
"""Options of a search without filters, as ``hmmsearch --max``, that reports every hit."""

LOOSE = {**EVERYTHING, "F1": 0.2, "F2": 0.1, "F3": 0.05}
"""The same with filters that 5% of unrelated profiles pass; they rarely reject the best of hundreds of profiles."""


PARALLEL: Literal["queries"] = "queries"
"""How threads share the work; ``targets`` merges hits, which has crashed (pyhmmer issue 103)."""


def missing_pyhmmer(head: str) -> str | None:
    """Whether pyhmmer is missing, and how to install it."""
    return None if find_spec("pyhmmer") else str(missing_package("pyhmmer", purpose=head, extra="align"))


def pyhmmer_version() -> str:
    """Name and version."""
    return f"pyhmmer {version('pyhmmer')}"


_LOCK = Lock()


def amino() -> Any:
    """The alphabet of proteins, one for the process.

    An alignment by hmmalign points into the alphabet of its sequences without holding it; with several alphabets it
    would read freed memory.
    """
    # The lock, because two first callers at once would make two.
    with _LOCK:
        return _amino()


@cache
def _amino() -> Any:
    from pyhmmer.easel import Alphabet

    return Alphabet.amino()


def digital(sequences: Iterable[tuple[int, str]]) -> Any:
    """A block of sequences for HMMER, named by index; empty ones are left out."""
    from pyhmmer.easel import DigitalSequenceBlock, TextSequence

    alphabet = amino()
    block = DigitalSequenceBlock(alphabet)
    for number, residues in sequences:
        if residues:
            block.append(TextSequence(name=str(number), sequence=residues).digitize(alphabet))
    return block


def require_searchable(residues: Iterable[str], what: str) -> None:
    """Refuse sequences that are too long for HMMER."""
    for sequence in residues:
        if len(sequence) > MAX_RESIDUES:
            raise InputError(
                f"HMMER searches in proteins of at most {MAX_RESIDUES:,} residues, and {what} has {len(sequence):,} "
                f"({sequence[:30]}…). Leave it out, or use another alignment head (smith_waterman, blastp)."
            )


def profile_text(profiles: Sequence[Any]) -> str:
    """Profiles as HMMER's text format has them."""
    from io import BytesIO

    file = BytesIO()
    for profile in profiles:
        profile.write(file, binary=False)
    return file.getvalue().decode("ascii")


def read_profiles(text: str) -> list[Any]:
    """Profiles from the text of `profile_text`, which has five decimals."""
    from io import BytesIO

    from pyhmmer.plan7 import HMMFile

    file = HMMFile(BytesIO(text.encode("ascii")))
    profiles = list(file)
    file.close()
    return profiles
