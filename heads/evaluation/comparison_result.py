"""The result of a comparison: one for each method, and all of them on one split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.exchange.atomic_files import finite, write_text
from heads.evaluation.leakage import IdentityBin, LeakageReport
from heads.evaluation.metrics import Bin, BootstrapEstimate, Paired
from heads.evaluation.pair_classes import PartnerClass
from heads.evaluation.published_comparison import PublishedComparison
from heads.evaluation.scoring import LOWER_IS_BETTER, SPLIT_WARNINGS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparisonResult:
    """The result of one method.

    Attributes
    ----------
    name, head, source
        See `heads.evaluation.methods.Method`.
    failure
        Why there are no metrics; else empty.
    metrics
        With several seeds their mean, with the interval of the mean.
    by_seed
        The main metric for each seed.
    fit_seconds, predict_seconds, fit_cpu_seconds, predict_cpu_seconds, peak_bytes
        Wall and processor time, mean over seeds; the highest peak.
    against_best
        The main metric of the best method less this one's, with its p-value; None for the best.
    p_holm
        That p-value, corrected for the number of methods (Holm 1979).
    n_without_vector, n_unseen
        Rows that count as errors because they have no vector, or a class that is not in training.
    reliability, by_identity, by_partners, worst_pairs
        For the first seed.
    settings
        The parameters, and what the last fit selected.
    right
        (n,) bool whether each row is predicted correctly, for McNemar's test; None where it does not apply.
    """

    name: str
    head: str
    source: str
    failure: str = ""
    metrics: Mapping[str, BootstrapEstimate] = field(default_factory=dict)
    by_seed: tuple[float, ...] = ()
    fit_seconds: float | None = None
    predict_seconds: float | None = None
    fit_cpu_seconds: float | None = None
    predict_cpu_seconds: float | None = None
    peak_bytes: int | None = None
    against_best: Paired | None = None
    p_holm: float | None = None
    n_without_vector: int = 0
    n_unseen: int = 0
    reliability: tuple[Bin, ...] = ()
    by_identity: tuple[IdentityBin, ...] = ()
    by_partners: tuple[PartnerClass, ...] = ()
    worst_pairs: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    right: NDArray[np.bool_] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = {name: getattr(self, name) for name in self.__slots__ if name not in ("metrics", "right")}
        plain = {
            name: [_plain(item) for item in value] if isinstance(value, tuple) else _plain(value)
            for name, value in values.items()
        }
        return plain | {"metrics": {name: estimate.to_dict() for name, estimate in self.metrics.items()}}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """The results of several methods on one split.

    Attributes
    ----------
    task, target_type, input, split, main_metric
        What was compared, and by which metric.
    results
        The best first; those that failed last.
    pending
        Names of methods that were not reached, where the comparison runs or was stopped.
    leakage
        Between the training rows and the split.
    about
        Versions, store, spaces, rows of each split, fingerprint of the training rows, seeds.
    published
        The published table that was asked for, or None.
    """

    task: str
    target_type: str
    input: str
    split: str
    main_metric: str
    results: tuple[ComparisonResult, ...]
    leakage: LeakageReport
    about: Mapping[str, Any]
    published: PublishedComparison | None = None
    pending: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON; a number that does not exist is null."""
        document = {name: getattr(self, name) for name in ("task", "target_type", "input", "split", "main_metric")}
        document |= {
            "lower_is_better": sorted(LOWER_IS_BETTER),
            "seen": SPLIT_WARNINGS.get(self.split),
            "results": [result.to_dict() for result in self.results],
            "pending": list(self.pending),
            "leakage": asdict(self.leakage),
            "about": dict(self.about),
            "published": _plain(self.published),
        }
        plain: dict[str, Any] = finite(document)
        return plain

    def to_frame(self) -> pd.DataFrame:
        """One row a method: metrics with intervals, difference to the best with its p-values, costs, failure."""
        import pandas as pd

        table = []
        for result in self.results:
            row: dict[str, Any] = {"name": result.name, "head": result.head, "source": result.source}
            for name, estimate in result.metrics.items():
                interval = estimate.interval
                row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
            row["p_value"] = result.against_best.p_value if result.against_best else None
            row |= {
                name: getattr(result, name)
                for name in ("p_holm", "fit_seconds", "predict_seconds", "peak_bytes", "failure")
            }
            table.append(row)
        return pd.DataFrame(table)

    def save_json(self, path: str | PathLike[str]) -> Path:
        """Write a JSON file."""
        return write_text(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def save_html(self, path: str | PathLike[str]) -> Path:
        """Write one HTML page that needs no other file and no network."""
        from heads.evaluation.report import render

        return write_text(path, render(self.to_dict()))


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
