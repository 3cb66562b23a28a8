"""Nearest neighbours among the vectors of a space."""

from __future__ import annotations

from embedstore.indexes.base import Index, IndexSpec, Neighbours
from embedstore.indexes.catalog import INDEXES
from embedstore.indexes.flat import FlatIndex

__all__ = ["INDEXES", "FlatIndex", "Index", "IndexSpec", "Neighbours"]
