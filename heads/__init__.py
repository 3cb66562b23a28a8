"""Fast heads on stored protein vectors: fit, predict, evaluate, and look up the nearest family."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.catalog import HEADS
    from heads.evaluating.comparison import Comparison, compare
    from heads.evaluating.evaluation import Report, evaluate
    from heads.finetuning.running import finetune
    from heads.fitting import fit
    from heads.joining import ensemble_of
    from heads.nearest.lookups import Hits, lookup
    from heads.persist import FittedHead, load
    from heads.predicting.prediction import predict, predict_batches
    from heads.predicting.predictions import Predictions
    from heads.tasks import TASKS

_HOMES = {
    "Comparison": "heads.evaluating.comparison",
    "compare": "heads.evaluating.comparison",
    "HEADS": "heads.catalog",
    "TASKS": "heads.tasks",
    "FittedHead": "heads.persist",
    "Hits": "heads.nearest.lookups",
    "Predictions": "heads.predicting.predictions",
    "Report": "heads.evaluating.evaluation",
    "ensemble_of": "heads.joining",
    "evaluate": "heads.evaluating.evaluation",
    "finetune": "heads.finetuning.running",
    "fit": "heads.fitting",
    "load": "heads.persist",
    "lookup": "heads.nearest.lookups",
    "predict": "heads.predicting.prediction",
    "predict_batches": "heads.predicting.prediction",
}

__all__ = [
    "HEADS",
    "TASKS",
    "Comparison",
    "FittedHead",
    "Hits",
    "Predictions",
    "Report",
    "compare",
    "ensemble_of",
    "evaluate",
    "finetune",
    "fit",
    "load",
    "lookup",
    "predict",
    "predict_batches",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: `import heads` and the command line's --help load neither numpy nor a store.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
