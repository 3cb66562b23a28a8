"""Smith-Waterman: the training protein of the best local alignment, all of them tried."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.catalog import missing_package
from heads.alignment.base import NearestHead, n_threads
from heads.alignment.hits import Hits, hits_of

LAMBDA, KAPPA = 0.267, 0.041
"""Karlin and Altschul's parameters of BLOSUM62 with gaps 11/1, as BLAST has them: they make bits of scores."""


class SmithWatermanHead(NearestHead):
    """The label of the training protein with the best local alignment: BLOSUM62, gap open 11, extend 1, by pyopal.

    A gap of n residues costs 10 + n. A query hits every protein with which it has a positive score, so only a query
    without any such pair (all X, say) gets no answer.

    Parameters
    ----------
    n_hits
        Hits kept of each query.
    n_votes
        Hits that vote with their bits; 1: the best hit decides.
    gap_open, gap_extend
        pyopal's own defaults, 3 and 1, triple the error.
    threads
        None: as many as there are CPUs.
    target_type
        What is predicted.
    """

    def __init__(
        self,
        *,
        n_hits: int = 100,
        n_votes: int = 1,
        gap_open: int = 11,
        gap_extend: int = 1,
        threads: int | None = None,
        target_type: str = "class",
    ) -> None:
        self.n_hits = n_hits
        self.n_votes = n_votes
        self.gap_open = gap_open
        self.gap_extend = gap_extend
        self.threads = threads
        self.target_type = target_type

    @classmethod
    def missing(cls) -> str | None:
        """Whether pyopal is not installed, and how to get it."""
        return None if find_spec("pyopal") else str(missing_package("pyopal", purpose="smith_waterman", extra="align"))

    @classmethod
    def _version(cls) -> str:
        return f"pyopal {version('pyopal')}"

    def _index(self) -> None:
        self._database: Any = None

    def _search(self, queries: Sequence[str]) -> Hits:
        import pyopal

        if self._database is None:
            self._database = pyopal.Database([residues or "X" for residues in self.residues_])
        aligner = pyopal.Aligner("BLOSUM62", gap_open=self.gap_open, gap_extend=self.gap_extend)
        n_kept = min(max(self.n_hits, self.n_votes), len(self.residues_))

        def best_of(query: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            scores = np.zeros(len(self.residues_), np.int64)
            if query:
                # They do not come in the order of the targets.
                for result in aligner.align(query, self._database, mode="score", algorithm="sw"):
                    scores[result.target_index] = result.score
            top = np.argpartition(-scores, n_kept - 1)[:n_kept]
            # Of equal scores the earlier row leads, in whatever batch.
            top = np.flatnonzero(scores >= max(scores[top].min(), 1))
            top = top[np.argsort(-scores[top], kind="stable")][:n_kept]
            return top.astype(np.int64), scores[top]

        with ThreadPool(n_threads(self.threads)) as pool:
            found = pool.map(best_of, queries, chunksize=1)
        query = np.repeat(np.arange(len(queries)), [len(top) for top, _ in found])
        nothing = np.zeros(0)
        raw = np.concatenate([nothing, *(scores for _, scores in found)])
        bits = (LAMBDA * raw - np.log(KAPPA)) / np.log(2)
        cells = np.array([len(query) for query in queries], np.float64)[query] * sum(map(len, self.residues_))
        target = np.concatenate([nothing, *(top for top, _ in found)])
        return hits_of(len(queries), query, target, bits, cells * np.exp2(-bits))
