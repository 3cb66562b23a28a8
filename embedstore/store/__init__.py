"""The store on disk: data sets, sequences, and spaces of vectors, in immutable parts."""

from __future__ import annotations

from embedstore.store.adding import AddReport
from embedstore.store.datasets import Dataset, SequenceTable
from embedstore.store.spaces import ResidueSpace, Space
from embedstore.store.store import DEFAULT_PATH, Store, open_store, store_path
from embedstore.store.verify import VerifyReport, verify

__all__ = [
    "DEFAULT_PATH",
    "AddReport",
    "Dataset",
    "ResidueSpace",
    "SequenceTable",
    "Space",
    "Store",
    "VerifyReport",
    "open_store",
    "store_path",
    "verify",
]
