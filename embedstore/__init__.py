"""Embed every protein once, use the vectors many times."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstore.embedding.api import build, plan
    from embedstore.embedding.deep_verify import verify
    from embedstore.embedding.report import BuildPlan, BuildReport
    from embedstore.errors import (
        DownloadError,
        EmbedstoreError,
        FileFormatError,
        InputError,
        LedgerError,
        MissingFileError,
        MissingPackageError,
        NonFiniteError,
        OutOfMemoryError,
        SequenceError,
        SpaceMismatchError,
        StoreCorruptError,
        StoreError,
        StoreNotFoundError,
        StoreVersionError,
        StoreWriteError,
        UnknownArgumentError,
        UnknownNameError,
        WeightsUnavailableError,
        WorkerDiedError,
    )
    from embedstore.indexes.api import search
    from embedstore.indexes.index_builder import IndexReport
    from embedstore.indexes.manage import build_index, remove_index, update_index
    from embedstore.models import MODELS, load_model
    from embedstore.models.parity import check as check_model
    from embedstore.sequences import read_records
    from embedstore.store import CompactReport, GcReport, RemovalReport, Store, VerifyReport, compact, gc, remove
    from embedstore.store import open_store as open  # noqa: A004 - the field's name for it, used as embedstore.open
    from embedstore.types import Record

__version__ = "0.1.0"

_TARGETS = {
    "BuildPlan": "embedstore.embedding.report:BuildPlan",
    "BuildReport": "embedstore.embedding.report:BuildReport",
    "CompactReport": "embedstore.store:CompactReport",
    "GcReport": "embedstore.store:GcReport",
    "IndexReport": "embedstore.indexes.index_builder:IndexReport",
    "MODELS": "embedstore.models:MODELS",
    "Record": "embedstore.types:Record",
    "RemovalReport": "embedstore.store:RemovalReport",
    "Store": "embedstore.store:Store",
    "VerifyReport": "embedstore.store:VerifyReport",
    "build": "embedstore.embedding.api:build",
    "build_index": "embedstore.indexes.manage:build_index",
    "check_model": "embedstore.models.parity:check",
    "compact": "embedstore.store:compact",
    "gc": "embedstore.store:gc",
    "load_model": "embedstore.models:load_model",
    "open": "embedstore.store:open_store",
    "plan": "embedstore.embedding.api:plan",
    "read_records": "embedstore.sequences:read_records",
    "remove": "embedstore.store:remove",
    "remove_index": "embedstore.indexes.manage:remove_index",
    "search": "embedstore.indexes.api:search",
    "update_index": "embedstore.indexes.manage:update_index",
    "verify": "embedstore.embedding.deep_verify:verify",
}

__all__ = [
    "MODELS",
    "BuildPlan",
    "BuildReport",
    "CompactReport",
    "DownloadError",
    "EmbedstoreError",
    "FileFormatError",
    "GcReport",
    "IndexReport",
    "InputError",
    "LedgerError",
    "MissingFileError",
    "MissingPackageError",
    "NonFiniteError",
    "OutOfMemoryError",
    "Record",
    "RemovalReport",
    "SequenceError",
    "SpaceMismatchError",
    "Store",
    "StoreCorruptError",
    "StoreError",
    "StoreNotFoundError",
    "StoreVersionError",
    "StoreWriteError",
    "UnknownArgumentError",
    "UnknownNameError",
    "VerifyReport",
    "WeightsUnavailableError",
    "WorkerDiedError",
    "build",
    "build_index",
    "check_model",
    "compact",
    "gc",
    "load_model",
    "open",
    "plan",
    "read_records",
    "remove",
    "remove_index",
    "search",
    "update_index",
    "verify",
]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import embedstore` and the command line's --help load no numpy.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _TARGETS.get(name, f"embedstore.errors:{name}").partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
