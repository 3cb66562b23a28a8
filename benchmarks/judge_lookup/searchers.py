"""A model's vectors and an alignment program as references that `heads.family_lookup.calibration` can learn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.aligners import NO_HIT, Aligner
from benchmarks.judge_mini.models import VectorFinder
from benchmarks.judge_mini.sets import Proteins
from embedstore.indexes import Neighbours
from heads.family_lookup.reference import NeighbourResult, Reference
from heads.family_lookup.voting import LabelTable, LabelVotes, label_table, vote
from heads.tasks.keys import row_keys

_BITS_SCALE = 2.0
"""A hit of b bits stands as the cosine whose Fisher z is log(1 + b) / 2: the order is that of bits."""

_BEST_HIT = 1e6
"""A sharpness at which the best hit alone votes."""


class Searcher(Protocol):
    """Prepares references of labelled proteins, and queries for them."""

    name: str

    def reference(self, proteins: Proteins, codes: NDArray[np.int64], n_labels: int) -> Reference:
        """A reference of these proteins with one label each."""
        ...

    def queries(self, proteins: Proteins) -> NDArray[np.float32]:
        """What `Reference.search` takes."""
        ...


class _ArraySpace:
    """Vectors in memory that look like a space."""

    def __init__(self, digests: NDArray[np.uint8], vectors: NDArray[np.float32]) -> None:
        self.dim = vectors.shape[1]
        self._vectors = vectors
        self._row = {key.tobytes(): row for row, key in enumerate(digests)}

    def find(self, digests: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.array([self._row[key.tobytes()] for key in digests], np.int64)

    def take(self, digests: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._vectors[self.find(digests)]


class ByVectors:
    """Lookup as it is, on vectors that are kept on disk."""

    def __init__(self, finder: VectorFinder) -> None:
        self.name = finder.name
        self.finder = finder

    def reference(self, proteins: Proteins, codes: NDArray[np.int64], n_labels: int) -> Reference:
        digests = proteins.digests
        space = _ArraySpace(digests, self.finder.vectors(proteins.sequences))
        return Reference(space, label_table(digests, codes[:, None].tolist(), n_labels))

    def queries(self, proteins: Proteins) -> NDArray[np.float32]:
        return self.finder.vectors(proteins.sequences)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Aligned(NeighbourResult):
    """Hits of a program; the last key of the table stands for none."""

    with_votes: bool

    def votes(self, *, sharpness: float) -> LabelVotes:
        votes = vote(self.neighbours.scores, self.positions, self.table, sharpness=_BEST_HIT)
        if self.with_votes:
            return votes
        # The bit score alone speaks: everything else is the same for all.
        return replace(
            votes,
            runner_up_score=votes.score,
            agreement=np.ones(len(votes.query)),
            size=np.ones(len(votes.query), np.int64),
        )


class AlignedReference:
    """Proteins that an alignment program searches; queries are numbers of sequences."""

    def __init__(
        self, owner: ByAlignment, sequences: Sequence[bytes], table: LabelTable, alive: NDArray[np.bool_] | None = None
    ) -> None:
        self.owner, self.sequences, self.table = owner, sequences, table
        self._alive = np.ones(len(sequences), np.bool_) if alive is None else alive

    def search(self, vectors: NDArray[np.float32], k: int) -> _Aligned:
        rows = np.flatnonzero(self._alive)
        asked = [self.owner.asked[int(number)] for number in vectors[:, 0]]
        hits, bits = self.owner.aligner.ranked(asked, [self.sequences[row] for row in rows.tolist()], k)
        positions = np.where(hits == NO_HIT, len(self.table.digests) - 1, rows[hits])
        scores = np.tanh(np.log1p(bits.astype(np.float64)) / _BITS_SCALE).astype(np.float32)
        return _Aligned(
            neighbours=Neighbours(digests=self.table.digests[positions], scores=scores),
            positions=positions,
            table=self.table,
            with_votes=self.owner.with_votes,
        )

    def without_labels(self, labels: NDArray[np.bool_]) -> Self:
        gone = self.table.has_label(labels)[:-1]
        return type(self)(self.owner, self.sequences, self.table, self._alive & ~gone)

    def within_label_similarity(self, found: NeighbourResult, votes: LabelVotes) -> NDArray[np.float32]:
        return np.full(len(votes.query), np.nan, np.float32)


class ByAlignment:
    """The label of the best hit.

    Its confidence is the bit score, which orders a query's hits as the E-value does; ``with_votes`` adds the lead over
    the next family, the agreement of the ten best hits and the family's size, which are what lookup goes by.
    """

    def __init__(self, aligner: Aligner, *, with_votes: bool) -> None:
        self.name = aligner.name + ("_votes" if with_votes else "")
        self.aligner, self.with_votes = aligner, with_votes
        self.asked: list[bytes] = []

    def reference(self, proteins: Proteins, codes: NDArray[np.int64], n_labels: int) -> AlignedReference:
        # Keys are row numbers; one more, with a label that nobody has, stands for no hit.
        sets = [*codes[:, None].tolist(), [n_labels]]
        table = label_table(row_keys(len(sets)), sets, n_labels + 1)
        sizes = table.sizes.copy()
        sizes[n_labels] = 0
        return AlignedReference(self, proteins.sequences, replace(table, sizes=sizes))

    def queries(self, proteins: Proteins) -> NDArray[np.float32]:
        first = len(self.asked)
        self.asked += proteins.sequences
        return np.arange(first, len(self.asked), dtype=np.float32)[:, None]
