"""Clusters of similar sequences, so that a split can keep relatives together: by MMseqs2, or by shared k-mers."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.sequences import key_text
from embedstore.types import Digests
from heads.tasks.keys import sortable_keys
from heads.tasks.programs import program_version, run_program, write_fasta

METHODS = ("auto", "mmseqs", "kmer")
"""``auto`` takes MMseqs2 where it is installed."""

K = 5
"""Length of the k-mers: 3.2 million of them, so that unrelated proteins share next to none."""

MIN_SHARED = 3
"""k-mers that two sequences of any length share at least; fewer is chance."""

_MIN_LETTERS = 3
_LINCLUST_ROWS = 200_000
_COVERAGE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clusters:
    """Sequences in clusters.

    Attributes
    ----------
    codes
        (N,) int64: number of each row's cluster. Equal keys are in one.
    rule
        How they were made, in words.
    """

    codes: NDArray[np.int64]
    rule: str


def cluster_sequences(
    digests: Digests, sequences: Callable[[], Sequence[bytes]], *, identity: float, method: str = "auto"
) -> Clusters:
    """Cluster sequences.

    With MMseqs2: ``easy-cluster`` (``easy-linclust`` from 200,000 distinct sequences on) with ``--min-seq-id identity
    -c 0.8 --cov-mode 0``: each member reaches the identity with its cluster's representative over four fifths of both.
    Otherwise `kmer_clusters`. Neither guarantees that two members of different clusters are less similar than that.

    Parameters
    ----------
    digests
        (N, 24) uint8 keys.
    sequences
        Gives the residues of each row; asked only where the answer is not remembered.
    identity
        Least identity, more than 0 and at most 1.
    method
        One of `METHODS`.

    Raises
    ------
    InputError
        If MMseqs2 is asked for and is not installed.
    WorkerDiedError
        If it fails.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
    program = shutil.which("mmseqs")
    if method == "mmseqs" and program is None:
        raise InputError(
            "MMseqs2 was asked for and no program `mmseqs` is on the PATH. Install it, or use method='kmer'."
        )
    asked = hashlib.sha256(f"{method} {program} {identity!r} ".encode() + digests.tobytes()).digest()
    if asked not in _REMEMBERED:
        _REMEMBERED.clear()
        _REMEMBERED[asked] = _clusters(digests, sequences(), identity, program if method != "kmer" else None)
    return _REMEMBERED[asked]


_REMEMBERED: dict[bytes, Clusters] = {}
"""The last answer: one run reads the same task several times."""


def _clusters(digests: Digests, rows: Sequence[bytes], identity: float, program: str | None) -> Clusters:
    _, first, back = np.unique(sortable_keys(digests), return_index=True, return_inverse=True)
    distinct = tuple(rows[row] for row in first.tolist())
    if program is None:
        codes = kmer_clusters(distinct, identity=identity)
        rule = f"clusters of shared {K}-mers as at {identity:.0%} identity"
    else:
        names = [key_text(digests[row].tobytes()) for row in first.tolist()]
        step = "easy-linclust" if len(distinct) >= _LINCLUST_ROWS else "easy-cluster"
        codes = _mmseqs(program, step, names, distinct, identity)
        version = program_version(program, "version")
        rule = f"clusters of MMseqs2 {version} {step} at {identity:.0%} identity, coverage {_COVERAGE:.0%}"
    return Clusters(codes=codes[back], rule=rule)


def kmer_clusters(sequences: Sequence[bytes], *, identity: float) -> NDArray[np.int64]:
    """Clusters of sequences that share k-mers, found greedily from the longest to the shortest.

    A sequence joins the clusters of all representatives that hold ``identity ** K`` of its distinct k-mers (what is
    left of them when residues are exchanged evenly), `MIN_SHARED` at least; these clusters become one. One that no
    representative is like becomes a representative. K-mers of fewer than three different letters do not count.

    Guaranteed: no two representatives, and no sequence and the representative of another cluster of sequences as long
    or longer, share so many k-mers. Not guaranteed: that two other members of different clusters do not, and that
    relatives share k-mers at all; below about 40% identity many share none, and MMseqs2 finds them.

    Parameters
    ----------
    sequences
        Residues; distinct ones.
    identity
        More than 0 and at most 1.

    Returns
    -------
    numpy.ndarray
        (N,) int64, numbered from 0 in the order of the sequences.

    Examples
    --------
    >>> kmer_clusters([b"MKTAYIAKQRQISF", b"MKTAYIAKQRQISW", b"GDSHEVLWPNCTRF"], identity=0.4).tolist()
    [0, 0, 1]
    """
    share = identity**K
    holders: dict[bytes, list[int]] = {}
    leader = list(range(len(sequences)))

    def root(row: int) -> int:
        while leader[row] != row:
            leader[row] = row = leader[leader[row]]
        return row

    # Ties by content, so that the order of the rows does not matter.
    for row in sorted(range(len(sequences)), key=lambda row: (-len(sequences[row]), sequences[row])):
        words = _words(sequences[row])
        shared: dict[int, int] = {}
        for word in words:
            for holder in holders.get(word, ()):
                shared[holder] = shared.get(holder, 0) + 1
        needed = max(min(MIN_SHARED, len(words)), share * len(words), 1)
        like = [holder for holder, count in shared.items() if count >= needed]
        for holder in like:
            leader[root(row)] = root(holder)
        if not like:
            for word in words:
                holders.setdefault(word, []).append(row)
    roots = [root(row) for row in range(len(sequences))]
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(one, len(numbers)) for one in roots], np.int64)


def _words(sequence: bytes) -> set[bytes]:
    """The distinct k-mers that are not of low complexity; the whole of a sequence that is shorter than one."""
    found = {sequence[start : start + K] for start in range(len(sequence) - K + 1)} or {sequence}
    return {word for word in found if len(set(word)) >= _MIN_LETTERS} or {sequence}


def _mmseqs(
    program: str, step: str, names: Sequence[str], sequences: Sequence[bytes], identity: float
) -> NDArray[np.int64]:
    """Number of each sequence's cluster."""
    with tempfile.TemporaryDirectory(prefix="embedstore-mmseqs-") as folder:
        fasta, out = write_fasta(Path(folder, "in.fasta"), sequences, names), Path(folder, "out")
        options = ["--min-seq-id", f"{identity:g}", "-c", f"{_COVERAGE:g}", "--cov-mode", "0", "-v", "1"]
        run_program(program, step, fasta, out, Path(folder, "work"), *options)
        lines = Path(folder, "out_cluster.tsv").read_text().splitlines()
    representative = {member: one for one, member in (line.split("\t") for line in lines)}
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(representative[name], len(numbers)) for name in names], np.int64)
