"""What a comparison found: a row for each contender, and all of them on one split."""

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
from heads.evaluation.published_comparison import Published
from heads.evaluation.scoring import LOWER_IS_BETTER, SEEN

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparisonResult:
    """One row of a comparison: a head on a space, or anything else that was fitted and judged.

    Attributes
    ----------
    name, head, source
        What it is called, and what it is.
    failure
        Why there are no figures, or nothing.
    metrics
        With several seeds the mean, its interval that of the mean on resampled rows.
    by_seed
        The main metric of each seed.
    fit_seconds, predict_seconds, fit_cpu_seconds, predict_cpu_seconds, peak_bytes
        Mean over seeds, by the clock and of processors; the peak is the highest.
    against_best
        The main metric of the best row less this one's, and how likely there is no difference; None for the best.
    p_holm
        That p-value, corrected for the number of rows (Holm 1979).
    n_without_vector, n_unseen
        Rows that are wrong because there is no vector, or no such class in training.
    reliability, by_identity, by_partners, worst_pairs
        Of the first seed.
    settings
        What the head was told, and what the last fit chose.
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
        """The row for JSON."""
        kept = {name: getattr(self, name) for name in self.__slots__ if name not in ("metrics", "right")}
        plain = {
            name: [_plain(one) for one in value] if isinstance(value, tuple) else _plain(value)
            for name, value in kept.items()
        }
        return plain | {"metrics": {name: one.to_dict() for name, one in self.metrics.items()}}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """What several rows make of one split.

    Attributes
    ----------
    task, target_type, input, split, main_metric
        What was compared, and by which metric.
    rows
        The best first; those that failed last.
    pending
        Names of rows that were not reached: of a comparison that still runs, or was stopped.
    audit
        Leakage between the training rows and the split.
    about
        What was run: versions, store, spaces, rows of each split, fingerprint of the training rows, seeds.
    published
        The published table that it follows, or None.
    """

    task: str
    target_type: str
    input: str
    split: str
    main_metric: str
    rows: tuple[ComparisonResult, ...]
    audit: LeakageReport
    about: Mapping[str, Any]
    published: Published | None = None
    pending: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON; a number that does not exist is null."""
        document = {name: getattr(self, name) for name in ("task", "target_type", "input", "split", "main_metric")}
        document |= {
            "lower_is_better": sorted(LOWER_IS_BETTER),
            "seen": SEEN.get(self.split),
            "rows": [row.to_dict() for row in self.rows],
            "pending": list(self.pending),
            "audit": self.audit.to_dict(),
            "about": dict(self.about),
            "published": None if self.published is None else self.published.to_dict(),
        }
        plain: dict[str, Any] = finite(document)
        return plain

    def to_frame(self) -> pd.DataFrame:
        """A row each: name, each metric with its interval, difference to the best with its p-values, costs, failure."""
        import pandas as pd

        table = []
        for row in self.rows:
            line: dict[str, Any] = {"name": row.name, "head": row.head, "source": row.source}
            for name, one in row.metrics.items():
                line |= {name: one.interval.value, f"{name}_low": one.interval.low, f"{name}_high": one.interval.high}
            line |= {
                "p_value": row.against_best.p_value if row.against_best else None,
                "p_holm": row.p_holm,
                "fit_seconds": row.fit_seconds,
                "predict_seconds": row.predict_seconds,
                "peak_bytes": row.peak_bytes,
                "failure": row.failure,
            }
            table.append(line)
        return pd.DataFrame(table)

    def save_json(self, path: str | PathLike[str]) -> Path:
        """Write everything as JSON."""
        return write_text(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def save_html(self, path: str | PathLike[str]) -> Path:
        """Write one page that needs no other file and no network."""
        from heads.evaluation.report import render

        return write_text(path, render(self.to_dict()))


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
