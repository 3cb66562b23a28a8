"""Smith-Waterman alignment with every training protein."""

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
"""Karlin-Altschul parameters of BLOSUM62 with gaps 11/1, as in BLAST; they convert scores to bits."""


class SmithWatermanHead(NearestHead):
    """The label of the training protein with the best local alignment: BLOSUM62, gap open 11, extend 1, by pyopal.

    A gap of n residues costs 10 + n. A query hits every protein with a positive score, so almost every query has a hit.

    Parameters
    ----------
    n_hits, n_votes, threads, target_type
        See `heads.alignment.base.NearestHead`.
    gap_open, gap_extend
        Gap costs; pyopal's defaults, 3 and 1, triple the error.
    """

    def __init__(
        self,
        *,
        n_hits: int | None = None,
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
        """Whether pyopal is missing, and how to install it."""
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
        n_hits = min(self.max_hits, len(self.residues_))

        def best_hits(query: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
            scores = np.zeros(len(self.residues_), np.int64)
            if query:
                # Results are not in the order of the targets.
                for result in aligner.align(query, self._database, mode="score", algorithm="sw"):
                    scores[result.target_index] = result.score
            top = np.argpartition(-scores, n_hits - 1)[:n_hits]
            # Ties go to the earlier row, whatever the batch.
            top = np.flatnonzero(scores >= max(scores[top].min(), 1))
            top = top[np.argsort(-scores[top], kind="stable")][:n_hits]
            return top.astype(np.int64), scores[top]

        with ThreadPool(n_threads(self.threads)) as pool:
            results = pool.map(best_hits, queries, chunksize=1)
        query = np.repeat(np.arange(len(queries)), [len(top) for top, _ in results])
        empty = np.zeros(0)
        raw = np.concatenate([empty, *(scores for _, scores in results)])
        bits = (LAMBDA * raw - np.log(KAPPA)) / np.log(2)
        cells = np.array([len(query) for query in queries], np.float64)[query] * sum(map(len, self.residues_))
        target = np.concatenate([empty, *(top for top, _ in results)])
        return hits_of(len(queries), query, target, bits, cells * np.exp2(-bits))
