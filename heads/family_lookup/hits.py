"""The result of a lookup, as arrays and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hits:
    """The nearest family of each protein, in the order of the records.

    There is one hit a protein; with several labels a protein one for each predicted label, and with windows one for
    each region. A protein without a confident hit has one, with `answered` False.

    Attributes
    ----------
    ids
        Id of the protein of each hit.
    digests
        (M, 24) uint8 key of the query: the protein, or the window.
    answered
        (M,) bool, False where the lookup abstains.
    labels
        (M,) text: the answer, empty where there is none.
    candidates
        (M,) text: the label with the highest vote, answered or not.
    probabilities
        (M,) float32 that `candidates` is correct; NaN without a calibration.
    scores
        (M,) float32 cosine similarity of the nearest neighbour with that label.
    votes
        (M,) float32 share of the neighbours' weight that has the label.
    nearest_ids
        Id of that nearest neighbour; the first of its ids where its sequence has several.
    nearest_digests
        (M, 24) uint8 its key.
    neighbours
        Keys (M, k, 24) and scores (M, k) of all neighbours.
    neighbour_ids, neighbour_labels
        (M, k) object: id and label (several joined) of each of them.
    starts, stops
        (M,) int64: first and last residue of the region, from 1; None without windows.
    alignments
        With the nearest neighbour; None without alignments.
    calibration
        How probabilities were fitted.
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
    nearest_ids: list[str]
    nearest_digests: Digests
    neighbours: Neighbours
    neighbour_ids: NDArray[Any]
    neighbour_labels: NDArray[Any]
    starts: NDArray[np.int64] | None = None
    stops: NDArray[np.int64] | None = None
    alignments: list[Alignment] | None = None
    calibration: Calibration
    risk_threshold: RiskThreshold | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, indices: NDArray[np.int64]) -> Hits:
        """Some of the hits."""
        subset: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                subset[field.name] = value[indices]
            elif isinstance(value, list):
                subset[field.name] = [value[index] for index in indices.tolist()]
        neighbours = Neighbours(digests=self.neighbours.digests[indices], scores=self.neighbours.scores[indices])
        return replace(self, neighbours=neighbours, **subset)

    def to_frame(self) -> pd.DataFrame:
        """One row a hit.

        Columns: id, start and stop (with windows), label, answered, probability, candidate, score, vote, neighbour, and
        identity, coverage (with alignments).
        """
        import pandas as pd

        return pd.DataFrame(self._columns())

    def neighbours_frame(self, n: int | None = None) -> pd.DataFrame:
        """One row a neighbour: the columns of `to_frame`, then rank, neighbour_id, neighbour_label, neighbour_score.

        Parameters
        ----------
        n
            Neighbours a hit, the nearest first; None for all.
        """
        import pandas as pd

        k = self.neighbours.k if n is None else min(n, self.neighbours.k)
        hit = np.repeat(np.arange(len(self)), k)
        columns = {name: np.asarray(values)[hit] for name, values in self._columns().items()}
        return pd.DataFrame(
            columns
            | {
                "rank": np.tile(np.arange(1, k + 1), len(self)),
                "neighbour_id": self.neighbour_ids[:, :k].ravel(),
                "neighbour_label": self.neighbour_labels[:, :k].ravel(),
                "neighbour_score": self.neighbours.scores[:, :k].ravel(),
            }
        )

    def to_dicts(self, n_neighbours: int = 0) -> list[dict[str, Any]]:
        """One document a hit, for JSON: the columns, and under ``neighbours`` the first so many of them."""
        columns = {name: np.asarray(values).tolist() for name, values in self._columns().items()}
        documents = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        for row, document in enumerate(documents):
            if np.isnan(document["probability"]):
                document["probability"] = None
            if n_neighbours:
                ids, labels = self.neighbour_ids[row], self.neighbour_labels[row]
                scores = self.neighbours.scores[row].tolist()
                document["neighbours"] = [
                    {"id": name, "label": label, "score": score}
                    for name, label, score in list(zip(ids, labels, scores, strict=True))[:n_neighbours]
                ]
            if self.alignments is not None:
                document["alignment"] = asdict(self.alignments[row])
        return documents

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
            "neighbour": self.nearest_ids,
        }
        if self.alignments is not None:
            columns["identity"] = [alignment.identity for alignment in self.alignments]
            columns["coverage"] = [alignment.coverage for alignment in self.alignments]
        return columns


def join(parts: Sequence[Hits]) -> Hits:
    """The hits of one or more batches of one lookup."""
    first = parts[0]
    joined: dict[str, Any] = {}
    for field in fields(first) if len(parts) > 1 else ():
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], np.ndarray):
            joined[field.name] = np.concatenate(values)
        elif isinstance(values[0], list):
            joined[field.name] = [value for part in values for value in part]
        elif isinstance(values[0], Neighbours):
            digests, scores = ([getattr(part, name) for part in values] for name in ("digests", "scores"))
            joined[field.name] = Neighbours(digests=np.concatenate(digests), scores=np.concatenate(scores))
    return replace(first, **joined)
