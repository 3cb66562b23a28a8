"""Queries to hits: neighbours, votes, probabilities, answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.indexes import Neighbours
from embedstore.store.store import Store
from embedstore.types import Digests, Vectors
from heads.calibration.risk_control import RiskThreshold
from heads.family_lookup.alignment import Alignment, align
from heads.family_lookup.calibration import Calibration
from heads.family_lookup.hits import Hits
from heads.family_lookup.reference import NeighbourResult, Reference
from heads.family_lookup.reference_data import Labelled
from heads.family_lookup.voting import LabelVotes

MIN_PROBABILITY = 0.5
"""What is answered where no error rate is stated: whatever is more likely right than wrong."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FamilyLookup:
    """Says of any vectors which labels they have.

    Attributes
    ----------
    reference
        What is searched.
    labelled
        Names and ids of its rows.
    calibration
        What votes are worth.
    risk_threshold
        Its threshold and error; None for answers from `MIN_PROBABILITY` on.
    k
        Neighbours that vote.
    exclude_self
        Whether a query may not find its own key.
    """

    reference: Reference
    labelled: Labelled
    calibration: Calibration
    risk_threshold: RiskThreshold | None
    k: int
    exclude_self: bool

    def hits(
        self, ids: Sequence[str], digests: Digests, vectors: Vectors, *, chances: NDArray[np.float64] | None = None
    ) -> Hits:
        """A row for each query, or for each label of it where there can be several.

        Parameters
        ----------
        ids
            (n,) of the queries.
        digests
            (n, 24) their keys.
        vectors
            (n, D).
        chances
            (n,) how many times something else could have been asked in the place of each query; the odds of its labels
            are divided by it. None for 1.
        """
        found = self.reference.find(vectors, self.k, not_these=digests if self.exclude_self else None)
        ballots = found.ballots(sharpness=self.calibration.sharpness)
        several = self.labelled.separator is not None
        if not several:
            ballots = ballots.take(ballots.winners())
        logits, probabilities = self._judge(found, ballots)
        if chances is not None:
            times = chances[ballots.query]
            logits = logits - np.log(times)
            probabilities = probabilities / (probabilities + (1 - probabilities) * times)
        answered = self._is_answered(logits, probabilities)
        if several:
            chosen = _given(ballots, logits, answered)
            ballots, probabilities, answered = ballots.take(chosen), probabilities[chosen], answered[chosen]
        candidates = self.labelled.names[ballots.label]
        evidence_ids, evidence_labels = self._evidence(found)
        asked = ballots.query
        return Hits(
            ids=[ids[row] for row in asked.tolist()],
            digests=digests[asked],
            answered=answered,
            labels=np.where(answered, candidates, ""),
            candidates=candidates,
            probabilities=probabilities.astype(np.float32),
            scores=ballots.score,
            votes=ballots.vote.astype(np.float32),
            neighbour_ids=[self.labelled.ids[row] for row in ballots.row.tolist()],
            neighbour_digests=found.neighbours.digests[asked, ballots.place],
            neighbours=Neighbours(digests=found.neighbours.digests[asked], scores=found.neighbours.scores[asked]),
            evidence_ids=evidence_ids[asked],
            evidence_labels=evidence_labels[asked],
            calibration=self.calibration,
            risk_threshold=self.risk_threshold,
        )

    def _judge(self, found: NeighbourResult, ballots: LabelVotes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        calibrator = self.calibration.calibrator
        if calibrator is None:
            # The vote orders labels where nothing better can.
            return ballots.vote, np.full(len(ballots.query), np.nan)
        logits = calibrator.logits(ballots.features(self.reference.cohesion(found, ballots)))
        return logits, calibrator.probabilities(logits)

    def _is_answered(self, logits: NDArray[np.float64], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        if self.risk_threshold is not None:
            return logits >= self.risk_threshold.threshold
        if self.calibration.calibrator is None:
            return logits >= MIN_PROBABILITY
        return probabilities >= MIN_PROBABILITY

    def _evidence(self, found: NeighbourResult) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Ids and labels of all neighbours, (n, k) each."""
        table = found.table
        wanted, back = np.unique(found.positions, return_inverse=True)
        ids, labels = np.empty(len(wanted), object), np.empty(len(wanted), object)
        for number, key in enumerate(wanted.tolist()):
            entries = slice(table.starts[key], table.starts[key + 1])
            ids[number] = self.labelled.ids[int(table.rows[entries].min())]
            labels[number] = self.labelled.text(table.codes[entries])
        return ids[back].reshape(found.positions.shape), labels[back].reshape(found.positions.shape)


def _given(ballots: LabelVotes, logits: NDArray[np.float64], answered: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The entries that are reported, by query and then the likeliest first: all answers of a query, or its best."""
    order = np.lexsort((ballots.label, -logits, ballots.query))
    first = np.append(True, np.diff(ballots.query[order]) > 0) if len(order) else np.zeros(0, np.bool_)
    return order[answered[order] | first]


def aligned(hits: Hits, residues: Sequence[bytes], store: Store) -> list[Alignment]:
    """Each hit's query with its nearest neighbour; ``residues`` are those of the rows of `hits`.

    Raises
    ------
    InputError
        If the store has no sequence of a neighbour, because its vector was imported.
    """
    distinct, back = np.unique(hits.neighbour_digests, axis=0, return_inverse=True)
    there = store.sequences.contains(distinct)
    if not there.all():
        raise InputError(
            f"The store has no sequence of {int((~there).sum()):,} of the {len(there):,} neighbours to align with. Add "
            "them (`embedstore add NAME PATH`), or leave alignments out (align=, --align)."
        )
    targets = store.sequences.take(distinct)
    return [align(query, targets[row]) for query, row in zip(residues, back.ravel().tolist(), strict=True)]
