"""What a lookup found, as arrays and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.indexes import Neighbours
from embedstore.types import Digests
from heads.calibration.risk_control import RiskThreshold
from heads.family_lookup.alignment import Alignment
from heads.family_lookup.calibration import Calibration
from heads.features.base import Float32

if TYPE_CHECKING:
    import pandas as pd


_ARRAYS = (
    "digests",
    "answered",
    "labels",
    "candidates",
    "probabilities",
    "scores",
    "votes",
    "neighbour_digests",
    "evidence_ids",
    "evidence_labels",
)
_LISTS = ("ids", "neighbour_ids")
_OPTIONAL = ("starts", "stops")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hits:
    """The nearest family of each protein, in the order of the records.

    There is one row a protein; with several labels a protein one row for each label that is given, and with windows one
    for each region. A protein for which nothing is confident has one row, whose `answered` is False.

    Attributes
    ----------
    ids
        Id of the protein of each row.
    digests
        (M, 24) uint8 key of what was asked: of the protein, or of the window.
    answered
        (M,) bool: whether the probability is over the threshold.
    labels
        (M,) text: the answer, empty where there is none.
    candidates
        (M,) text: the label that the neighbours voted for, answered or not.
    probabilities
        (M,) float32 that `candidates` is right; NaN where `calibration` says that none can be given.
    scores
        (M,) float32 cosine similarity of the nearest neighbour with that label.
    votes
        (M,) float32 share of the neighbours' weight that has the label.
    neighbour_ids
        Id of that nearest neighbour; the first of its ids where its sequence has several.
    neighbour_digests
        (M, 24) uint8 its key.
    neighbours
        Keys (M, k, 24) and scores (M, k) of all neighbours that voted.
    evidence_ids, evidence_labels
        (M, k) object: id and label (several joined) of each of them.
    starts, stops
        (M,) int64: first and last residue of the region, from 1, answered or not; None without windows.
    alignments
        With the nearest neighbour, for each row; None where not asked for.
    calibration
        How probabilities were learned.
    risk_threshold
        The threshold that was used, with its error; None without an error rate.
    """

    ids: list[str]
    digests: Digests
    answered: NDArray[np.bool_]
    labels: NDArray[np.str_]
    candidates: NDArray[np.str_]
    probabilities: Float32
    scores: Float32
    votes: Float32
    neighbour_ids: list[str]
    neighbour_digests: Digests
    neighbours: Neighbours
    evidence_ids: NDArray[Any]
    evidence_labels: NDArray[Any]
    starts: NDArray[np.int64] | None = None
    stops: NDArray[np.int64] | None = None
    alignments: list[Alignment] | None = None
    calibration: Calibration
    risk_threshold: RiskThreshold | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64]) -> Hits:
        """Some of the rows, by number."""
        kept: dict[str, Any] = {name: getattr(self, name)[rows] for name in _ARRAYS}
        kept |= {name: [getattr(self, name)[row] for row in rows.tolist()] for name in _LISTS}
        kept |= {name: getattr(self, name)[rows] for name in _OPTIONAL if getattr(self, name) is not None}
        if self.alignments is not None:
            kept["alignments"] = [self.alignments[row] for row in rows.tolist()]
        neighbours = Neighbours(digests=self.neighbours.digests[rows], scores=self.neighbours.scores[rows])
        return replace(self, neighbours=neighbours, **kept)

    def to_frame(self) -> pd.DataFrame:
        """One row a hit.

        Columns: id, start and stop (with windows), label, answered, probability, candidate, score, vote, neighbour, and
        identity, coverage (with alignments).
        """
        import pandas as pd

        return pd.DataFrame(self._columns())

    def evidence_frame(self, n: int | None = None) -> pd.DataFrame:
        """One row a neighbour: the columns of `to_frame`, then rank, neighbour_id, neighbour_label, neighbour_score.

        Parameters
        ----------
        n
            Neighbours a hit, the nearest first; None for all that voted.
        """
        import pandas as pd

        k = self.neighbours.k if n is None else min(n, self.neighbours.k)
        hit = np.repeat(np.arange(len(self)), k)
        told = {name: np.asarray(values)[hit] for name, values in self._columns().items()}
        return pd.DataFrame(
            told
            | {
                "rank": np.tile(np.arange(1, k + 1), len(self)),
                "neighbour_id": self.evidence_ids[:, :k].ravel(),
                "neighbour_label": self.evidence_labels[:, :k].ravel(),
                "neighbour_score": self.neighbours.scores[:, :k].ravel(),
            }
        )

    def to_dicts(self, n_neighbours: int = 0) -> list[dict[str, Any]]:
        """One document a hit, for JSON: the columns, and under ``neighbours`` the first so many of them."""
        columns = {name: np.asarray(values).tolist() for name, values in self._columns().items()}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        for row, told in enumerate(rows):
            if np.isnan(told["probability"]):
                told["probability"] = None
            if n_neighbours:
                ids, labels = self.evidence_ids[row], self.evidence_labels[row]
                scores = self.neighbours.scores[row].tolist()
                told["neighbours"] = [
                    {"id": name, "label": label, "score": score}
                    for name, label, score in list(zip(ids, labels, scores, strict=True))[:n_neighbours]
                ]
            if self.alignments is not None:
                told["alignment"] = self.alignments[row].to_dict()
        return rows

    def _columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = {"id": self.ids}
        if self.starts is not None and self.stops is not None:
            columns |= {"start": self.starts, "stop": self.stops}
        columns |= {
            "label": self.labels,
            "answered": self.answered,
            "probability": self.probabilities,
            "candidate": self.candidates,
            "score": self.scores,
            "vote": self.votes,
            "neighbour": self.neighbour_ids,
        }
        if self.alignments is not None:
            columns["identity"] = [alignment.identity for alignment in self.alignments]
            columns["coverage"] = [alignment.coverage for alignment in self.alignments]
        return columns


def join(parts: Sequence[Hits]) -> Hits:
    """Batches of one lookup as one; there is at least one."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def joined(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    def chained(name: str) -> list[Any]:
        return [value for part in parts for value in getattr(part, name)]

    held: dict[str, Any] = {name: joined(name) for name in _ARRAYS}
    held |= {name: chained(name) for name in _LISTS}
    held |= {name: joined(name) for name in _OPTIONAL if getattr(first, name) is not None}
    if first.alignments is not None:
        held["alignments"] = chained("alignments")
    held["neighbours"] = Neighbours(
        digests=np.concatenate([part.neighbours.digests for part in parts]),
        scores=np.concatenate([part.neighbours.scores for part in parts]),
    )
    return replace(first, **held)
