"""Nearest neighbours among the vectors of a space."""

from __future__ import annotations

from embedstore.index.base import Index, IndexSpec, Neighbours
from embedstore.index.catalog import INDEXES
from embedstore.index.flat import FlatIndex

__all__ = ["INDEXES", "FlatIndex", "Index", "IndexSpec", "Neighbours"]
