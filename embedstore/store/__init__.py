"""The store on disk: data sets, sequences, and spaces of vectors, in immutable parts."""

from __future__ import annotations

from embedstore.store.datasets import Dataset, SequenceTable
from embedstore.store.ingest import AddReport
from embedstore.store.listing import list_contents, provenance
from embedstore.store.maintenance.compact import CompactReport, compact
from embedstore.store.maintenance.gc import GcReport, gc
from embedstore.store.maintenance.remove import RemovalReport, remove
from embedstore.store.maintenance.verify import VerifyReport, verify
from embedstore.store.spaces import ResidueSpace, Space
from embedstore.store.store import DEFAULT_PATH, Store, open_store, store_path

__all__ = [
    "DEFAULT_PATH",
    "AddReport",
    "CompactReport",
    "Dataset",
    "GcReport",
    "RemovalReport",
    "ResidueSpace",
    "SequenceTable",
    "Space",
    "Store",
    "VerifyReport",
    "compact",
    "gc",
    "list_contents",
    "open_store",
    "provenance",
    "remove",
    "store_path",
    "verify",
]
