"""Multiple alignment of a family: from a table, by an installed aligner, or by HMMER alone."""

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
from heads.features.encoding import cleaned, kmer_counts
from heads.tasks.programs import run_program, write_fasta

INSTALL: Mapping[str, str] = {
    "pyfamsa": "`pip install pyfamsa` (GPL-3.0)",
    "famsa": "`conda install -c bioconda famsa`",
    "mafft": "`apt-get install mafft`, or `conda install -c bioconda mafft`",
}
"""Aligners in the order of preference, and how to install them."""

ALIGNERS = (*INSTALL, "hmmer")
"""``hmmer`` is `align_by_profile`, which needs no aligner and is worse; used only where it is named."""

ALIGNED = "aligned_sequence"
"""The column of aligned sequences in a table of families, as in Bileschi et al. (2022)."""

_ROUNDS = 2
_GAPS = str.maketrans("", "", "-.")
_UNKNOWN_TO_FAMSA = str.maketrans("JOU", "XXX")


def find_aligner(name: str | None) -> str:
    """The named aligner, or the first that is installed.

    Raises
    ------
    InputError
        For an unknown one.
    MissingPackageError
        If it is not installed, or none is.
    """
    if name is not None and name not in ALIGNERS:
        raise InputError(f"aligner is {name!r}; expected one of {', '.join(ALIGNERS)}.")
    if name == "hmmer":
        return name
    candidates = tuple(INSTALL) if name is None else (name,)
    for candidate in candidates:
        if find_spec(candidate) if candidate == "pyfamsa" else shutil.which(candidate):
            return candidate
    which = f"The aligner {name} is not"
    if name is None:
        which = f"To align families one of {', '.join(candidates)} is needed, and none is"
    how = ", or ".join(INSTALL[candidate] for candidate in candidates)
    raise MissingPackageError(
        f"{which} installed. Install it: {how}. aligner='hmmer' needs none, but its profiles are worse."
    )


AlignedRows = Mapping[str, Mapping[int, str]]
"""Aligned sequences by residues and by number of columns; a protein may be in several families."""


def read_alignment(path: str | PathLike[str]) -> AlignedRows:
    """Read aligned sequences from the column `ALIGNED` of a table, or of a folder of tables.

    Raises
    ------
    InputError
        If there is no such column, an aligned sequence is not the sequence with gaps, or a protein has two different
        ones with the same number of columns.
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
                f"{len(row):,} columns, so the family is ambiguous. Leave one of them out."
            )
    return rows


def select_aligned(members: Sequence[str], rows: AlignedRows) -> Any:
    """The digital alignment of a family's members, from `read_alignment`.

    Raises
    ------
    InputError
        If a member has no aligned sequence, or those of all members do not have one number of columns in common.
    """
    if len(members) == 1:
        return _digital_msa(members)
    missing = [member for member in members if member not in rows]
    if missing:
        raise InputError(f"the alignment lacks {len(missing):,} of its members, the first of them {missing[0][:30]}….")
    lengths = set.intersection(*(set(rows[member]) for member in members))
    if len(lengths) != 1:
        raise InputError("its aligned sequences do not have the same number of columns.")
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
    """Align members to a profile of the most central one, then to a profile of that alignment.

    The first profile is of one sequence with BLOSUM62, as in phmmer. As with hmmalign, residues outside the columns of
    the profile are not aligned.
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
    """The member with the highest mean cosine similarity of 3-mer counts to all others.

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
    """Aligned by famsa or its Python package, with X for residues that it refuses."""
    known = [member.translate(_UNKNOWN_TO_FAMSA) for member in members]
    rows = _by_pyfamsa(known) if aligner == "pyfamsa" else _by_program(known, "famsa")
    return ["".join(_with_residues(row, member)) for row, member in zip(rows, members, strict=True)]


def _with_residues(row: str, residues: str) -> Iterable[str]:
    """The letters of an aligned row, with the original residues.

    >>> "".join(_with_residues("M-XK", "MUK"))
    'M-UK'
    """
    originals = iter(residues)
    return ("-" if letter == "-" else next(originals) for letter in row)


def _by_pyfamsa(members: Sequence[str]) -> list[str]:
    import pyfamsa

    sequences = [pyfamsa.Sequence(str(number).encode(), member.encode()) for number, member in enumerate(members)]
    rows = {int(row.id): row.sequence.decode() for row in pyfamsa.Aligner(threads=1, refine=False).align(sequences)}
    return [rows[number] for number in range(len(members))]


def _by_program(members: Sequence[str], program: str) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="embedstore-") as work:
        unaligned, aligned = write_fasta(Path(work) / "members.fasta", members), Path(work) / "aligned.fasta"
        if program == "famsa":
            # Its refinement is random.
            run_program("famsa", "-t", "1", "-refine_mode", "off", unaligned, aligned)
            text = aligned.read_text(encoding="ascii")
        else:
            # FFT-NS-2, because --auto is much slower for small families; --anysymbol, for letters that are no residue.
            fast = ("--retree", "2", "--maxiterate", "0")
            text = run_program("mafft", *fast, "--amino", "--anysymbol", "--quiet", "--thread", "1", unaligned)
    rows = dict(record.split("\n", 1) for record in text.split(">")[1:])
    return [rows[str(number)].replace("\n", "").upper() for number in range(len(members))]
