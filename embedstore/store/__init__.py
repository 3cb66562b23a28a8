"""The store on disk: data sets, sequences, and spaces of vectors, in immutable parts."""

from __future__ import annotations

from embedstore.store.adding import AddReport
from embedstore.store.compaction import CompactReport, compact
from embedstore.store.datasets import Dataset, SequenceTable
from embedstore.store.garbage import GcReport, gc
from embedstore.store.listing import contents, provenance
from embedstore.store.removal import RemovalReport, remove
from embedstore.store.spaces import ResidueSpace, Space
from embedstore.store.store import DEFAULT_PATH, Store, open_store, store_path
from embedstore.store.verify import VerifyReport, verify

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
    "contents",
    "gc",
    "open_store",
    "provenance",
    "remove",
    "store_path",
    "verify",
]
