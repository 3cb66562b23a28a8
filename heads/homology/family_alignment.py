"""One alignment of a family's members, by a program that the user has, or by HMMER alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.errors import InputError, MissingPackageError
from heads.homology.hmmer import amino, digital
from heads.homology.kmer import word_counts
from heads.homology.programs import run

ALIGNERS = ("hmmer", "mafft", "famsa", "pyfamsa")
"""What aligns: HMMER by `align_by_profile`, or a program or package that is found at run time."""

_ROUNDS = 2


def missing_aligner(aligner: str) -> str | None:
    """What an aligner lacks, and how to get it.

    Raises
    ------
    InputError
        For an unknown one.
    """
    if aligner not in ALIGNERS:
        raise InputError(f"aligner is {aligner!r}; expected one of {', '.join(ALIGNERS)}.")
    there = find_spec("pyfamsa") if aligner == "pyfamsa" else aligner == "hmmer" or shutil.which(aligner)
    if there:
        return None
    how = "`pip install pyfamsa` (GPL-3.0)" if aligner == "pyfamsa" else f"`conda install -c bioconda {aligner}`"
    return f"The aligner {aligner} is not installed. Install it: {how}, or use aligner='hmmer'."


def align_family(members: Sequence[str], aligner: str, builder: Any) -> Any:
    """A digital alignment of a family's members, for `pyhmmer.plan7.Builder.build_msa`.

    Parameters
    ----------
    members
        Clean, at least one, none empty.
    aligner
        One of `ALIGNERS`.
    builder
        A `pyhmmer.plan7.Builder`.

    Raises
    ------
    MissingPackageError
        If the aligner is not installed.
    """
    lacking = missing_aligner(aligner)
    if lacking is not None:
        raise MissingPackageError(lacking)
    if len(members) == 1:
        return _digital_msa(members)
    if aligner == "hmmer":
        return align_by_profile(members, builder)
    return _digital_msa(_by_pyfamsa(members) if aligner == "pyfamsa" else _by_program(members, aligner))


def align_by_profile(members: Sequence[str], builder: Any) -> Any:
    """Align members to a profile of their most central one, make a profile of that alignment, and align to it again.

    The first profile is made of one sequence with BLOSUM62, as phmmer makes it. As in a Pfam seed's extension by
    hmmalign, residues outside the profile's columns are not aligned with each other.
    """
    from pyhmmer.hmmer import hmmalign
    from pyhmmer.plan7 import Background

    block = digital(enumerate(members))
    background = Background(block.alphabet)
    profile, _, _ = builder.build(block[central_member(members)], background)
    alignment = None
    for round_ in range(_ROUNDS):
        alignment = hmmalign(profile, block, digitize=True, trim=False, cpus=1)
        alignment.name = "family"
        if round_ < _ROUNDS - 1:
            profile, _, _ = builder.build_msa(alignment, background)
    return alignment


def central_member(members: Sequence[str]) -> int:
    """The member with the most words of three residues in common with all others, by cosine.

    >>> central_member(["MKVLAA", "MKVLSS", "GGMKVL", "WWWWWW"])
    0
    """
    counts = word_counts(members, 3)
    norms = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    total = np.asarray((counts / np.maximum(norms, 1)[:, None]).sum(axis=0)).ravel()
    return int(((counts @ total) / np.maximum(norms, 1)).argmax())


def _digital_msa(rows: Sequence[str]) -> Any:
    from pyhmmer.easel import TextMSA, TextSequence

    sequences = [TextSequence(name=str(number), sequence=row) for number, row in enumerate(rows)]
    return TextMSA(name="family", sequences=sequences).digitize(amino())


def _by_program(members: Sequence[str], program: str) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="embedstore-") as work:
        given, made = Path(work) / "members.fasta", Path(work) / "aligned.fasta"
        given.write_text("".join(f">{number}\n{member}\n" for number, member in enumerate(members)), encoding="ascii")
        if program == "famsa":
            run("famsa", "-t", "1", given, made)
            text = made.read_text(encoding="ascii")
        else:
            # Letters that are no residue are refused without --anysymbol.
            text = run("mafft", "--auto", "--amino", "--anysymbol", "--quiet", "--thread", "1", given)
    rows = dict(record.split("\n", 1) for record in text.split(">")[1:])
    return [rows[str(number)].replace("\n", "").upper() for number in range(len(members))]


def _by_pyfamsa(members: Sequence[str]) -> list[str]:
    import pyfamsa

    given = [pyfamsa.Sequence(str(number).encode(), member.encode()) for number, member in enumerate(members)]
    rows = {int(row.id): row.sequence.decode() for row in pyfamsa.Aligner(threads=1).align(given)}
    return [rows[number].upper() for number in range(len(members))]
