"""HMMER in this process, by pyhmmer: what phmmer and the profiles of families share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from threading import Lock
from typing import Any, Literal

from embedstore.catalog import missing_package
from embedstore.errors import InputError
from heads.features.residue_codes import ALIGNABLE

MAX_RESIDUES = 100_000
"""Longest sequence that HMMER searches in."""

LETTERS = ALIGNABLE + b"JOU"
"""All that HMMER knows but for gaps and stops."""

EVERYTHING = {"bias_filter": False, "F1": 1.0, "F2": 1.0, "F3": 1.0, "E": 1e6, "Z": 1.0, "incE": 1e6}
"""A search without filters, as ``hmmsearch --max``, that reports whatever it finds."""

LOOSE = {**EVERYTHING, "F1": 0.2, "F2": 0.1, "F3": 0.05}
"""The same with filters that one profile in twenty passes by chance. Among hundreds of profiles the best is hardly ever
held back, though it can be."""


PARALLEL: Literal["queries"] = "queries"
"""How threads share the work. Shared by targets, hits are merged, which has crashed (pyhmmer issue 103)."""


def missing_pyhmmer(head: str) -> str | None:
    """Whether pyhmmer is not installed, and how to get it."""
    return None if find_spec("pyhmmer") else str(missing_package("pyhmmer", purpose=head, extra="align"))


def pyhmmer_version() -> str:
    """Name and version."""
    return f"pyhmmer {version('pyhmmer')}"


_ONE_AT_A_TIME = Lock()


def amino() -> Any:
    """The alphabet of proteins: the one that everything here is made with.

    An alignment that hmmalign makes points into the alphabet of its sequences and does not hold it. With an alphabet of
    its own each, that memory was used after it had been freed, which in threads ended the process.
    """
    # Two first callers at once would get two.
    with _ONE_AT_A_TIME:
        return _amino()


@cache
def _amino() -> Any:
    from pyhmmer.easel import Alphabet

    return Alphabet.amino()


def digital(sequences: Iterable[tuple[int, str]]) -> Any:
    """A block of sequences for HMMER, named by number; empty ones are left out."""
    from pyhmmer.easel import DigitalSequenceBlock, TextSequence

    alphabet = amino()
    block = DigitalSequenceBlock(alphabet)
    for number, residues in sequences:
        if residues:
            block.append(TextSequence(name=str(number), sequence=residues).digitize(alphabet))
    return block


def require_searchable(residues: Iterable[str], what: str) -> None:
    """Refuse sequences that are longer than HMMER searches in.

    Raises
    ------
    InputError
        Naming the first.
    """
    for one in residues:
        if len(one) > MAX_RESIDUES:
            raise InputError(
                f"HMMER searches in proteins of at most {MAX_RESIDUES:,} residues, and {what} has {len(one):,} "
                f"({one[:30]}…). Leave it out, or use another head of alignments (smith_waterman, blastp)."
            )


def profile_text(profiles: Sequence[Any]) -> str:
    """Profiles as HMMER's text format has them."""
    from io import BytesIO

    file = BytesIO()
    for profile in profiles:
        profile.write(file, binary=False)
    return file.getvalue().decode("ascii")


def read_profiles(text: str) -> list[Any]:
    """What `profile_text` wrote; the text keeps five decimals, so a profile is what its text says."""
    from io import BytesIO

    from pyhmmer.plan7 import HMMFile

    file = HMMFile(BytesIO(text.encode("ascii")))
    profiles = list(file)
    file.close()
    return profiles
