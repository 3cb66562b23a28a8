"""phmmer: each query as a profile of one sequence, searched among the training proteins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from heads.alignment.base import NearestHead, n_threads
from heads.alignment.hits import Hits, hits_of
from heads.alignment.hmmer import LETTERS, digital, missing_pyhmmer, pyhmmer_version, require_searchable

MAX_CELLS = 5 * 10**7
"""Residues of a query times those of the longest training protein: HMMER's tables take some 24 bytes a cell."""


class PhmmerHead(NearestHead):
    """The label of the training protein with the best full-sequence score of ``phmmer -E 10`` (Bileschi et al. 2022).

    Hits and scores are those of HMMER's program. A query that is too long for memory (`MAX_CELLS`) is searched in
    windows that overlap by half, and has the score of its best window.

    The parameters are those of `heads.alignment.base.NearestHead`.
    """

    letters = LETTERS

    @classmethod
    def missing(cls) -> str | None:
        """Whether pyhmmer is missing, and how to install it."""
        return missing_pyhmmer("phmmer")

    @classmethod
    def _version(cls) -> str:
        return pyhmmer_version()

    def _index(self) -> None:
        self._targets: Any = None

    def _search(self, queries: Sequence[str]) -> Hits:
        from pyhmmer.hmmer import phmmer

        if self._targets is None:
            require_searchable(self.residues_, "a training protein")
            self._targets = digital(enumerate(self.residues_))
        longest = max(map(len, self._targets), default=1)
        windows = list(_windows(queries, MAX_CELLS // longest))
        reported = []
        searches = phmmer(digital(windows), self._targets, cpus=n_threads(self.threads), E=self.evalue)
        for top in searches:
            number = int(top.query.name)
            hits = ((number, int(hit.name), hit.score, hit.evalue) for hit in top.reported)
            reported += [hit for hit, _ in zip(hits, range(self.max_hits), strict=False)]
        rows = np.array(reported, np.float64).reshape(-1, 4)
        if len(windows) > len(queries):
            rows = rows[np.argsort(-rows[:, 2], kind="stable")]
        query, target, score, evalue = rows.T
        return hits_of(len(queries), query, target, score, evalue).top(self.max_hits)


def _windows(queries: Sequence[str], width: int) -> Iterator[tuple[int, str]]:
    """Row and residues of each query, long ones in windows that overlap by half.

    >>> list(_windows(["ABCDE", "AB"], 4))
    [(0, 'ABCD'), (0, 'CDE'), (1, 'AB')]
    """
    for row, residues in enumerate(queries):
        width = max(width, 2)
        for start in range(0, max(len(residues) - width // 2, 1) if len(residues) > width else 1, width // 2):
            yield row, residues[start : start + width]
