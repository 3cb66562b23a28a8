"""How near each protein is to its nearest training protein: by alignment where MMseqs2 is, else by shared words."""

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
"""MMseqs2 if it is there, else words; or one of the two."""

WORD = 5
"""Residues of a word. Two unrelated proteins of 200 residues share one of 5 by chance in one case out of a hundred."""

MIN_SHARED = 3
"""Words that two relatives share at least."""

_BLOCK = 20_000
_RADIX = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nearest:
    """The nearest training protein of each query.

    Attributes
    ----------
    identity
        (n,) float64 from 0 to 1; NaN where none was found.
    row
        (n,) int64 row of it among the training proteins; -1 where none was found.
    method
        How it was found and what the identity is, in words.
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
    there = shutil.which("mmseqs") is not None
    if method == "mmseqs" and not there:
        raise InputError(
            "mmseqs is not on the path. Install MMseqs2 (Debian: apt install mmseqs2), or use 'words' (relatives=, "
            "--relatives)."
        )
    if method == "words" or not there:
        return by_kmers(queries, training)
    return _by_mmseqs(queries, training, threads)


def by_kmers(queries: Sequence[bytes], training: Sequence[bytes]) -> Nearest:
    """Identity guessed from the share c of a query's words that the training protein has: ``c ** (1 / WORD)``.

    The share of words that survive when each residue does with probability p is about p to the power of the word's
    length. Below an identity of about 0.4 hardly a word is left: relatives share fewer than `MIN_SHARED` and are not
    found.
    """
    found = np.zeros(len(queries))
    nearest = np.full(len(queries), -1, np.int64)
    words, sizes = _words(queries)
    if len(words):
        vocabulary, columns = np.unique(words, return_inverse=True)
        held = _indicators(columns, sizes, len(vocabulary))
        for start in range(0, len(training), _BLOCK):
            block_words, block_sizes = _words(training[start : start + _BLOCK])
            place = np.minimum(np.searchsorted(vocabulary, block_words), len(vocabulary) - 1)
            known = vocabulary[place] == block_words
            owner = np.repeat(np.arange(len(block_sizes)), block_sizes)[known]
            block = _indicators(place[known], np.bincount(owner, minlength=len(block_sizes)), len(vocabulary))
            shared = (held @ block.T).tocsr()
            best = shared.max(axis=1).toarray().ravel() if shared.nnz else np.zeros(len(queries))
            better = best > found
            nearest[better] = start + np.asarray(shared[np.flatnonzero(better)].argmax(axis=1)).ravel()
            found[better] = best[better]
    # A word or two in common are chance.
    alike = found >= np.minimum(MIN_SHARED, np.maximum(sizes, 1))
    share = found / np.maximum(np.asarray(held.sum(axis=1)).ravel(), 1) if len(words) else found
    return Nearest(
        identity=np.where(alike, share ** (1 / WORD), np.nan),
        row=np.where(alike, nearest, -1),
        method=f"guessed from shared {WORD}-residue words (no alignment)",
    )


def _words(sequences: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct words of each sequence, one sequence after the other, and how many each has."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    letters = np.frombuffer(b"".join(sequences), np.uint8).astype(np.int64) % _RADIX
    if len(letters) < WORD:
        return np.zeros(0, np.int64), np.zeros(len(sequences), np.int64)
    code = np.zeros(len(letters) - WORD + 1, np.int64)
    for place in range(WORD):
        code = code * _RADIX + letters[place : place + len(code)]
    stops = np.cumsum(lengths)
    owner = np.repeat(np.arange(len(sequences)), lengths)
    # Words that would run over the end of their protein are none.
    whole = np.arange(len(code)) + WORD <= stops[owner[: len(code)]]
    # Sorted by hand: np.unique hashes.
    both = np.sort(owner[: len(code)][whole] * _RADIX**WORD + code[whole])
    both = both[np.append(True, both[1:] != both[:-1])] if len(both) else both
    return both % _RADIX**WORD, np.bincount(both // _RADIX**WORD, minlength=len(sequences))


def _indicators(columns: NDArray[np.int64], sizes: NDArray[Any], n_columns: int) -> csr_array:
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return csr_array((np.ones(len(columns), np.int32), columns, starts), shape=(len(sizes), n_columns))


def _by_mmseqs(queries: Sequence[bytes], training: Sequence[bytes], threads: int) -> Nearest:
    """The hit with the highest bit score at an e-value of 10, and the identity of its aligned part."""
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
