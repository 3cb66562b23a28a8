"""Embed every protein once, use the vectors many times."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstore.builder import build, plan
    from embedstore.index_job import IndexReport
    from embedstore.indexing import build_index, remove_index, update_index
    from embedstore.ledger import BuildPlan, BuildReport
    from embedstore.models import MODELS, load_model
    from embedstore.models.checking import check as check_model
    from embedstore.searching import search
    from embedstore.sequences import read_records
    from embedstore.store import CompactReport, GcReport, RemovalReport, Store, VerifyReport, compact, gc
    from embedstore.store import open_store as open  # noqa: A004 - the field's name for it, used as embedstore.open
    from embedstore.types import Record
    from embedstore.verifying import verify

__version__ = "0.1.0"

_HOMES = {
    "BuildPlan": "embedstore.ledger:BuildPlan",
    "BuildReport": "embedstore.ledger:BuildReport",
    "CompactReport": "embedstore.store:CompactReport",
    "GcReport": "embedstore.store:GcReport",
    "IndexReport": "embedstore.index_job:IndexReport",
    "MODELS": "embedstore.models:MODELS",
    "Record": "embedstore.types:Record",
    "RemovalReport": "embedstore.store:RemovalReport",
    "Store": "embedstore.store:Store",
    "build": "embedstore.builder:build",
    "build_index": "embedstore.indexing:build_index",
    "check_model": "embedstore.models.checking:check",
    "compact": "embedstore.store:compact",
    "gc": "embedstore.store:gc",
    "load_model": "embedstore.models:load_model",
    "open": "embedstore.store:open_store",
    "plan": "embedstore.builder:plan",
    "read_records": "embedstore.sequences:read_records",
    "remove_index": "embedstore.indexing:remove_index",
    "search": "embedstore.searching:search",
    "update_index": "embedstore.indexing:update_index",
    "verify": "embedstore.verifying:verify",
    "VerifyReport": "embedstore.store:VerifyReport",
}

__all__ = [
    "MODELS",
    "BuildPlan",
    "BuildReport",
    "CompactReport",
    "GcReport",
    "IndexReport",
    "Record",
    "RemovalReport",
    "Store",
    "VerifyReport",
    "build",
    "build_index",
    "check_model",
    "compact",
    "gc",
    "load_model",
    "open",
    "plan",
    "read_records",
    "remove_index",
    "search",
    "update_index",
    "verify",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import embedstore` and the command line's --help load no numpy.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value
