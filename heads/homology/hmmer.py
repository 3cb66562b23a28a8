"""HMMER in this process, by pyhmmer: what phmmer and the profiles of families share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal

from heads.homology.residues import ALIGNABLE

MAX_RESIDUES = 100_000
"""Longest sequence that HMMER searches in."""

LETTERS = ALIGNABLE + b"JOU"
"""All that HMMER knows but for gaps and stops."""

EVERYTHING = {"bias_filter": False, "F1": 1.0, "F2": 1.0, "F3": 1.0, "E": 1e6, "Z": 1.0, "incE": 1e6}
"""A search without filters, as ``hmmsearch --max``, that reports whatever it finds."""


PARALLEL: Literal["queries"] = "queries"
"""How threads share the work. Shared by targets, hits are merged, which has crashed (pyhmmer issue 103)."""


def missing_pyhmmer(head: str) -> str | None:
    """Whether pyhmmer is not installed, and how to get it."""
    if find_spec("pyhmmer") is None:
        return f"{head} needs the package pyhmmer, which is not installed: `pip install 'embedstore[align]'`."
    return None


def pyhmmer_version() -> str:
    """Name and version."""
    return f"pyhmmer {version('pyhmmer')}"


def digital(sequences: Iterable[tuple[int, str]]) -> Any:
    """A block of sequences for HMMER, named by number; empty ones are left out."""
    from pyhmmer.easel import Alphabet, DigitalSequenceBlock, TextSequence

    alphabet = Alphabet.amino()
    block = DigitalSequenceBlock(alphabet)
    for number, residues in sequences:
        if residues:
            block.append(TextSequence(name=str(number), sequence=residues).digitize(alphabet))
    return block


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
