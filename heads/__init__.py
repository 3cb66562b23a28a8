"""Fast heads on stored protein vectors: fit, predict, evaluate, and look up the nearest family."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.api.compare import Comparison, compare
    from heads.api.evaluate import Report, evaluate
    from heads.api.finetune import finetune
    from heads.api.fit import fit
    from heads.api.join import join
    from heads.api.load import FittedHead, load
    from heads.api.lookup import FamilyLookup, Hits, lookup
    from heads.api.predict import predict, predict_batches
    from heads.api.predictions import Predictions
    from heads.catalog import HEADS
    from heads.tasks import TASKS, TaskSelection

_HOMES = {
    "Comparison": "heads.api.compare",
    "compare": "heads.api.compare",
    "HEADS": "heads.catalog",
    "TASKS": "heads.tasks",
    "TaskSelection": "heads.tasks",
    "FittedHead": "heads.api.load",
    "Hits": "heads.api.lookup",
    "FamilyLookup": "heads.api.lookup",
    "Predictions": "heads.api.predictions",
    "Report": "heads.api.evaluate",
    "join": "heads.api.join",
    "evaluate": "heads.api.evaluate",
    "finetune": "heads.api.finetune",
    "fit": "heads.api.fit",
    "load": "heads.api.load",
    "lookup": "heads.api.lookup",
    "predict": "heads.api.predict",
    "predict_batches": "heads.api.predict",
}

__all__ = [
    "HEADS",
    "TASKS",
    "Comparison",
    "FamilyLookup",
    "FittedHead",
    "Hits",
    "Predictions",
    "Report",
    "TaskSelection",
    "compare",
    "evaluate",
    "finetune",
    "fit",
    "join",
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
    return sorted(__all__)
