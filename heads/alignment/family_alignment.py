"""One alignment of a family's members: one that is given, or by a program that the user has, or by HMMER alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.errors import InputError, MissingPackageError
from embedstore.sequences import read_records
from heads.alignment.hmmer import LETTERS, amino, digital
from heads.features.kmers import kmer_counts
from heads.features.residue_codes import cleaned
from heads.tasks.programs import run_program, write_fasta

INSTALL: Mapping[str, str] = {
    "pyfamsa": "`pip install pyfamsa` (GPL-3.0)",
    "famsa": "`conda install -c bioconda famsa`",
    "mafft": "`apt-get install mafft`, or `conda install -c bioconda mafft`",
}
"""Programs and packages that align, in the order in which they are looked for, and how to get them."""

ALIGNERS = (*INSTALL, "hmmer")
"""``hmmer`` is `align_by_profile`, which needs nothing else and is worse: used where it is asked for by name."""

ALIGNED = "aligned_sequence"
"""The column of a table of families that holds aligned rows, as in Bileschi et al. (2022)."""

_ROUNDS = 2
_GAPS = str.maketrans("", "", "-.")
_UNKNOWN_TO_FAMSA = str.maketrans("JOU", "XXX")


def usable_aligner(asked: str | None) -> str:
    """The aligner that is asked for, or the first that is installed.

    Raises
    ------
    InputError
        For an unknown one.
    MissingPackageError
        If it is not installed, or none is.
    """
    if asked is not None and asked not in ALIGNERS:
        raise InputError(f"aligner is {asked!r}; expected one of {', '.join(ALIGNERS)}.")
    if asked == "hmmer":
        return asked
    wanted = tuple(INSTALL) if asked is None else (asked,)
    for name in wanted:
        if find_spec(name) if name == "pyfamsa" else shutil.which(name):
            return name
    any_of = f"To align families one of {', '.join(wanted)} is needed, and none is"
    which = any_of if asked is None else f"The aligner {asked} is not"
    how = ", or ".join(INSTALL[name] for name in wanted)
    raise MissingPackageError(
        f"{which} installed. Install it: {how}. With aligner='hmmer' none is needed, and profiles are worse."
    )


GivenRows = Mapping[str, Mapping[int, str]]
"""Aligned rows by their residues and by their length: a protein may be in families of several lengths."""


def given_alignment(path: str | PathLike[str]) -> GivenRows:
    """The rows of a table, or a folder of tables, with a column `ALIGNED`.

    Raises
    ------
    InputError
        If there is no such column, a row is not its sequence with gaps, or a protein is aligned in two ways of one
        length.
    MissingFileError, FileFormatError
        As `embedstore.sequences.read_records`.
    """
    rows: dict[str, dict[int, str]] = {}
    for record in read_records(path):
        row = record.columns.get(ALIGNED)
        if row is None:
            raise InputError(f"{path} has no column {ALIGNED!r}, from which the alignment of each family is taken.")
        row = row.upper().replace(".", "-").rstrip("*")
        residues, bare = cleaned([record.residues.decode("ascii"), row.translate(_GAPS)], LETTERS)
        if residues != bare:
            raise InputError(f"{path}: {ALIGNED} of {record.id!r} is not its sequence with gaps. Correct that row.")
        if rows.setdefault(residues, {}).setdefault(len(row), row) != row:
            raise InputError(
                f"{path}: {ALIGNED} of {record.id!r} differs from that of an equal sequence before it, and both have "
                f"{len(row):,} columns: which one is meant cannot be told. Leave one of them out."
            )
    return rows


def align_as_given(members: Sequence[str], rows: GivenRows) -> Any:
    """A digital alignment of a family's members, of rows as `given_alignment` gives them.

    Raises
    ------
    InputError
        If a member has no row, or the rows of all are of no length in common, or of several.
    """
    if len(members) == 1:
        return _digital_msa(members)
    lacking = [member for member in members if member not in rows]
    if lacking:
        raise InputError(
            f"the alignment that is given lacks {len(lacking):,} of its members, the first of them {lacking[0][:30]}…."
        )
    lengths = set.intersection(*(set(rows[member]) for member in members))
    if len(lengths) != 1:
        raise InputError("its rows in the alignment that is given are not of one length.")
    (length,) = lengths
    return _digital_msa([rows[member][length] for member in members])


def align_family(members: Sequence[str], aligner: str, builder: Any) -> Any:
    """A digital alignment of a family's members, for `pyhmmer.plan7.Builder.build_msa`.

    Parameters
    ----------
    members
        Clean, at least one, none empty.
    aligner
        One of `ALIGNERS`, installed.
    builder
        A `pyhmmer.plan7.Builder`.
    """
    if len(members) == 1:
        return _digital_msa(members)
    if aligner == "hmmer":
        return align_by_profile(members, builder)
    rows = _by_program(members, "mafft") if aligner == "mafft" else _by_famsa(members, aligner)
    return _digital_msa(rows)


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
    counts = kmer_counts(members, 3)
    norms = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    total = np.asarray((counts / np.maximum(norms, 1)[:, None]).sum(axis=0)).ravel()
    return int(((counts @ total) / np.maximum(norms, 1)).argmax())


def _digital_msa(rows: Sequence[str]) -> Any:
    from pyhmmer.easel import TextMSA, TextSequence

    sequences = [TextSequence(name=str(number), sequence=row) for number, row in enumerate(rows)]
    return TextMSA(name="family", sequences=sequences).digitize(amino())


def _by_famsa(members: Sequence[str], aligner: str) -> list[str]:
    """Rows of famsa, or of its Python package; residues that it refuses are unknown ones to it."""
    known = [member.translate(_UNKNOWN_TO_FAMSA) for member in members]
    rows = _by_pyfamsa(known) if aligner == "pyfamsa" else _by_program(known, "famsa")
    return ["".join(_with_residues(row, member)) for row, member in zip(rows, members, strict=True)]


def _with_residues(row: str, residues: str) -> Iterable[str]:
    """The letters of an aligned row, residues in the places of its own.

    >>> "".join(_with_residues("M-XK", "MUK"))
    'M-UK'
    """
    own = iter(residues)
    return ("-" if letter == "-" else next(own) for letter in row)


def _by_pyfamsa(members: Sequence[str]) -> list[str]:
    import pyfamsa

    given = [pyfamsa.Sequence(str(number).encode(), member.encode()) for number, member in enumerate(members)]
    rows = {int(row.id): row.sequence.decode() for row in pyfamsa.Aligner(threads=1, refine=False).align(given)}
    return [rows[number] for number in range(len(members))]


def _by_program(members: Sequence[str], program: str) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="embedstore-") as work:
        given, made = write_fasta(Path(work) / "members.fasta", members), Path(work) / "aligned.fasta"
        if program == "famsa":
            # Its refinement draws at random, and twice the same is not the same.
            run_program("famsa", "-t", "1", "-refine_mode", "off", given, made)
            text = made.read_text(encoding="ascii")
        else:
            # FFT-NS-2: for small families --auto takes a much slower method. Letters that are no residue are refused
            # without --anysymbol.
            fast = ("--retree", "2", "--maxiterate", "0")
            text = run_program("mafft", *fast, "--amino", "--anysymbol", "--quiet", "--thread", "1", given)
    rows = dict(record.split("\n", 1) for record in text.split(">")[1:])
    return [rows[str(number)].replace("\n", "").upper() for number in range(len(members))]
