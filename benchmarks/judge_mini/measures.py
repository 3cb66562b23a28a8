"""What a measure is: a figure for each model with its interval, and how far `mini` is from it on the same proteins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.aligners import NO_HIT
from benchmarks.judge_mini.intervals import difference, share
from benchmarks.judge_mini.sets import Proteins
from heads.evaluation.metrics import Interval

MINI = "mini"


class Finder(Protocol):
    """Finds the nearest protein: a model, or an aligner."""

    name: str

    def nearest(
        self, queries: list[bytes], base: list[bytes], own: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Row of `base` for each query, (n,); `NO_HIT` where there is none; ``own`` is passed over."""
        ...


@dataclass(slots=True)
class Measure:
    """Figures of one kind by model.

    Attributes
    ----------
    name
        What was measured.
    n
        Proteins asked.
    figures
        A value and its interval.
    minus
        `mini` less the model, on the same proteins and resamples.
    notes
        Further numbers by model, such as ``no_hit``.
    """

    name: str
    n: int
    figures: dict[str, Interval] = field(default_factory=dict)
    minus: dict[str, Interval] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "n": self.n,
            "models": {name: m.to_dict() | self.notes.get(name, {}) for name, m in self.figures.items()},
            "mini_minus": {name: metric.to_dict() for name, metric in self.minus.items()},
        }

    def __str__(self) -> str:
        lines = [f"{self.name} (n = {self.n:,})"]
        for name, metric in self.figures.items():
            minus = f"   mini - {name}: {_signed(self.minus[name])}" if name in self.minus else ""
            notes = "".join(f"   {key} {value}" for key, value in self.notes.get(name, {}).items())
            lines.append(f"  {name:<10} {metric}{minus}{notes}")
        return "\n".join(lines)


def shares(
    name: str,
    right: Mapping[str, NDArray[Any]],
    *,
    of: NDArray[Any] | None = None,
    groups: ArrayLike | None = None,
    notes: dict[str, dict[str, Any]] | None = None,
) -> Measure:
    """A measure of what share is right: (n,) counts by model, of ``of`` a protein, by default 1."""
    found = Measure(name, len(next(iter(right.values()))), notes=notes or {})
    for model, counts in right.items():
        found.figures[model] = share(counts, of, groups=groups)
        if model != MINI and MINI in right:
            found.minus[model] = difference(right[MINI], counts, of, groups=groups)
    return found


def agreement(found: NDArray[np.int64], truth: NDArray[np.str_], labels: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Whether the label of the row that was found is the true one, (n,); no hit is an error."""
    return (found != NO_HIT) & (labels[found] == truth)


def no_hits(found: Mapping[str, NDArray[np.int64]]) -> dict[str, dict[str, Any]]:
    """How many queries found nothing, where some did."""
    counts = {name: int((rows == NO_HIT).sum()) for name, rows in found.items()}
    return {name: {"no_hit": count} for name, count in counts.items() if count}


def lengths(proteins: Proteins) -> NDArray[np.int64]:
    """Residues of each row."""
    return np.array([len(sequence) for sequence in proteins.sequences], np.int64)


def _signed(metric: Interval) -> str:
    return f"{metric.value:+.4f} [{metric.low:+.4f}, {metric.high:+.4f}]"
