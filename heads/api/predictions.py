"""What a head says of any proteins, as arrays and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.types import Digests
from heads.calibration.risk_control import RiskThreshold
from heads.features.base import Float32

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """Predictions in the order of the records.

    Attributes
    ----------
    kind, input
        What is predicted, and of what: see `heads.tasks.targets.KINDS` and `heads.tasks.data.INPUTS`.
    ids
        Id of each protein, or pair.
    digests
        (N, 24) uint8 keys; of a pair the first protein's.
    labels
        ``"class"`` and ``"ordinal"``: (N, top), the most probable first; None where the head has no prediction.
    probabilities
        (N, top) float32 of those.
    sets
        ``"multilabel"``: for each protein the labels over their thresholds with their probabilities, the most probable
        first.
    letters, letter_probabilities
        Where residues are predicted: for each protein a text with a letter a residue, ``?`` where it is not answered,
        and the probability of each.
    values, low, high
        ``"regression"``: (N,) float64, and the 95% interval where the validation rows allow one.
    answered
        (N,) bool: whether the first label is answered at the error rate that was asked for; None where none was.
    risk_threshold
        The threshold that was used, with its error; None without an error rate.
    """

    target_type: str
    input: str
    ids: list[str]
    digests: Digests
    labels: NDArray[Any] | None = None
    probabilities: Float32 | None = None
    sets: list[list[tuple[str, float]]] | None = None
    letters: list[str] | None = None
    letter_probabilities: list[Float32] | None = None
    values: NDArray[np.float64] | None = None
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None
    answered: NDArray[np.bool_] | None = None
    risk_threshold: RiskThreshold | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self) -> dict[str, list[Any]]:
        """A table: equal lists by name, a row a protein, or a row a label where several were asked for or given.

        id, then: label and probability (and rank with several), where an error rate was asked for with no label
        where the head abstains, ``answered``, and ``candidate``; value, low and high; letters.
        """
        if self.letters is not None:
            return {"id": list(self.ids), "labels": list(self.letters)}
        if self.values is not None:
            return {"id": list(self.ids)} | {
                name: column.tolist()
                for name, column in (("value", self.values), ("low", self.low), ("high", self.high))
                if column is not None
            }
        if self.sets is not None:
            rows = zip(self.ids, self.sets, strict=True)
            none: list[tuple[Any, Any]] = [(None, None)]
            flat = [(name, *one) for name, column in rows for one in column or none]
            return {name: [row[place] for row in flat] for place, name in enumerate(("id", "label", "probability"))}
        return self._label_columns()

    def _label_columns(self) -> dict[str, list[Any]]:
        assert self.labels is not None  # noqa: S101
        assert self.probabilities is not None  # noqa: S101
        n, top = self.labels.shape
        columns: dict[str, list[Any]] = {"id": np.repeat(np.array(self.ids, dtype=object), top).tolist()}
        if top > 1:
            columns["rank"] = np.tile(np.arange(1, top + 1), n).tolist()
        names = self.labels.ravel().tolist()
        if self.answered is None:
            columns["label"] = names
        else:
            given = np.repeat(self.answered, top).tolist()
            columns["label"] = [name if answered else None for name, answered in zip(names, given, strict=True)]
            columns |= {"answered": given, "candidate": names}
        columns["probability"] = self.probabilities.ravel().tolist()
        return columns

    def to_frame(self) -> pd.DataFrame:
        """`columns` as a frame."""
        import pandas as pd

        return pd.DataFrame(self.columns())

    def to_dicts(self) -> list[dict[str, Any]]:
        """One document a protein, for JSON: labels nested where there can be several."""
        if self.sets is not None:
            return [
                {"id": name, "labels": [{"label": label, "probability": p} for label, p in pairs]}
                for name, pairs in zip(self.ids, self.sets, strict=True)
            ]
        if self.letters is not None and self.letter_probabilities is not None:
            return [
                {"id": name, "labels": text, "probabilities": [round(float(p), 4) for p in shares]}
                for name, text, shares in zip(self.ids, self.letters, self.letter_probabilities, strict=True)
            ]
        columns = self.columns()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def join(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of several batches, one after the other; at least one."""
    first = parts[0]
    joined: dict[str, Any] = {}
    for name in first.__slots__:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], np.ndarray):
            joined[name] = np.concatenate(values)
        elif isinstance(values[0], list):
            joined[name] = [item for value in values for item in value]
        else:
            joined[name] = values[0]
    return Predictions(**joined)
