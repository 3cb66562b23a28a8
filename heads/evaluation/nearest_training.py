"""Identity of proteins to their nearest training protein: by alignment with MMseqs2, or by shared k-mers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from embedstore.errors import InputError
from heads.tasks.programs import program_version, run_program, write_fasta

METHODS = ("auto", "mmseqs", "words")
"""``auto``: MMseqs2 if it is installed, else k-mers (``words``)."""

K = 5
"""Length of the k-mers; two unrelated proteins of 200 residues share one in 1% of cases."""

MIN_SHARED = 3
"""Fewest k-mers that two related proteins share; fewer can be chance."""

_BLOCK = 20_000
_RADIX = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nearest:
    """The nearest training protein of each query.

    Attributes
    ----------
    identity
        (n,) float64 from 0 to 1; NaN without a match.
    row
        (n,) int64 its row among the training proteins; -1 without a match.
    method
        How it was found and how identity is defined, in words.
    """

    identity: NDArray[np.float64]
    row: NDArray[np.int64]
    method: str


def nearest_training(
    queries: Sequence[bytes], training: Sequence[bytes], *, method: str = "auto", threads: int = 1
) -> Nearest:
    """Identity of each query to its nearest training protein.

    Parameters
    ----------
    queries, training
        Residues.
    method
        One of `METHODS`.
    threads
        For MMseqs2.

    Raises
    ------
    InputError
        For another method, or MMseqs2 where it is not installed.
    """
    if method not in METHODS:
        raise InputError(
            f"relatives is {method!r}; expected one of {', '.join(METHODS)}, none (relatives=, --relatives)."
        )
    is_installed = shutil.which("mmseqs") is not None
    if method == "mmseqs" and not is_installed:
        raise InputError(
            "mmseqs is not on the path. Install MMseqs2 (Debian: apt install mmseqs2), or use 'words' (relatives=, "
            "--relatives)."
        )
    if method == "words" or not is_installed:
        return by_kmers(queries, training)
    return _by_mmseqs(queries, training, threads)


def by_kmers(queries: Sequence[bytes], training: Sequence[bytes]) -> Nearest:
    """Identity estimated from the share c of a query's k-mers that the training protein has: ``c ** (1 / K)``.

    If each residue is conserved with probability p, so are about p ** K of the k-mers. Below an identity of about 0.4
    hardly any are left: such proteins share fewer than `MIN_SHARED` and have no match.
    """
    n_shared = np.zeros(len(queries))
    nearest = np.full(len(queries), -1, np.int64)
    kmers, sizes = _distinct_kmers(queries)
    if len(kmers):
        vocabulary, columns = np.unique(kmers, return_inverse=True)
        has_kmer = _indicators(columns, sizes, len(vocabulary))
        for start in range(0, len(training), _BLOCK):
            block_kmers, block_sizes = _distinct_kmers(training[start : start + _BLOCK])
            column = np.minimum(np.searchsorted(vocabulary, block_kmers), len(vocabulary) - 1)
            is_known = vocabulary[column] == block_kmers
            owner = np.repeat(np.arange(len(block_sizes)), block_sizes)[is_known]
            block = _indicators(column[is_known], np.bincount(owner, minlength=len(block_sizes)), len(vocabulary))
            shared = (has_kmer @ block.T).tocsr()
            best = shared.max(axis=1).toarray().ravel() if shared.nnz else np.zeros(len(queries))
            is_better = best > n_shared
            nearest[is_better] = start + np.asarray(shared[np.flatnonzero(is_better)].argmax(axis=1)).ravel()
            n_shared[is_better] = best[is_better]
    is_match = n_shared >= np.minimum(MIN_SHARED, np.maximum(sizes, 1))
    share = n_shared / np.maximum(sizes, 1)
    return Nearest(
        identity=np.where(is_match, share ** (1 / K), np.nan),
        row=np.where(is_match, nearest, -1),
        method=f"guessed from shared {K}-residue words (no alignment)",
    )


def _distinct_kmers(sequences: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct k-mers of each sequence, one sequence after the other, and their number in each."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    letters = np.frombuffer(b"".join(sequences), np.uint8).astype(np.int64) % _RADIX
    if len(letters) < K:
        return np.zeros(0, np.int64), np.zeros(len(sequences), np.int64)
    code = np.zeros(len(letters) - K + 1, np.int64)
    for place in range(K):
        code = code * _RADIX + letters[place : place + len(code)]
    owner = np.repeat(np.arange(len(sequences)), lengths)[: len(code)]
    # K-mers that would run past the end of their protein are left out.
    is_complete = np.arange(len(code)) + K <= np.cumsum(lengths)[owner]
    # Sorting is faster than np.unique, which hashes.
    pairs = np.sort(owner[is_complete] * _RADIX**K + code[is_complete])
    pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])] if len(pairs) else pairs
    return pairs % _RADIX**K, np.bincount(pairs // _RADIX**K, minlength=len(sequences))


def _indicators(columns: NDArray[np.int64], sizes: NDArray[Any], n_columns: int) -> csr_array:
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return csr_array((np.ones(len(columns), np.int32), columns, starts), shape=(len(sizes), n_columns))


def _by_mmseqs(queries: Sequence[bytes], training: Sequence[bytes], threads: int) -> Nearest:
    """The hit with the highest bit score up to an E-value of 10, and the identity of the aligned part."""
    identity, row = np.full(len(queries), np.nan), np.full(len(queries), -1, np.int64)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        table = work / "hits.tsv"
        query_file, training_file = write_fasta(work / "q.fasta", queries), write_fasta(work / "t.fasta", training)
        run_program(
            "mmseqs", "easy-search", query_file, training_file, table, work / "tmp", "-s", "5.7", "-e", "10",
            "--max-seqs", "20", "--format-output", "query,target,fident,bits", "--threads", str(threads), "-v", "1",
        )  # fmt: skip
        best = np.zeros(len(queries))
        for line in table.read_text(encoding="ascii").splitlines():
            query, target, share, bits = line.split("\t")
            if float(bits) > best[int(query)]:
                best[int(query)], identity[int(query)], row[int(query)] = float(bits), float(share), int(target)
    return Nearest(
        identity=identity,
        row=row,
        method=f"MMseqs2 {program_version('mmseqs', 'version')} -s 5.7 -e 10 --max-seqs 20: "
        "identity of the aligned part of the best hit",
    )
