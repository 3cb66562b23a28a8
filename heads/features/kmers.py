"""Counts of k-mers, as sparse rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from heads.features.residue_codes import OTHER, codes_of_residues

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BASE = OTHER + 1
_BLOCK = 4096


def kmer_counts(sequences: Sequence[str], k: int) -> csr_array:
    """Counts of all k-mers of length 1 to `k`, (N, 21 + 21^2 + ...) sparse float32, short ones first.

    >>> kmer_counts(["ACA"], 2).toarray().nonzero()[1].tolist(), kmer_counts(["ACA"], 2).sum(axis=1).tolist()
    ([0, 1, 22, 42], [5.0])
    """
    from scipy.sparse import csr_array, vstack

    width = sum(_BASE**length for length in range(1, k + 1))
    # In blocks, because the columns and rows of all k-mers are int64 arrays.
    blocks = [_counts(sequences[start : start + _BLOCK], k, width) for start in range(0, len(sequences), _BLOCK)]
    return csr_array(vstack(blocks, format="csr")) if blocks else csr_array((0, width), dtype=np.float32)


def _counts(sequences: Sequence[str], k: int, width: int) -> csr_array:
    from scipy.sparse import csr_array

    columns, rows, first = [], [], 0
    codes = [codes_of_residues(sequence).astype(np.int64) for sequence in sequences]
    lengths = np.array([len(code) for code in codes])
    joined = np.concatenate(codes)
    ends = np.repeat(np.cumsum(lengths), lengths)
    row = np.repeat(np.arange(len(sequences)), lengths)
    kmer = np.zeros(len(joined), np.int64)
    for length in range(1, k + 1):
        # The k-mer that starts at each residue; those that would run past the end of their protein are left out.
        complete = np.arange(len(joined)) + length <= ends
        following = np.append(joined[length - 1 :], np.zeros(min(length - 1, len(joined)), np.int64))[: len(joined)]
        kmer = kmer * _BASE + following
        columns.append(first + kmer[complete])
        rows.append(row[complete])
        first += _BASE**length
    flat = np.concatenate(rows) * width + np.concatenate(columns)
    cells, counts = np.unique(flat, return_counts=True)
    indptr = np.searchsorted(cells, np.arange(len(sequences) + 1) * width)
    return csr_array((counts.astype(np.float32), cells % width, indptr), shape=(len(sequences), width))
