"""Export formats, each written as a stream of a selection."""

from __future__ import annotations

from embedstore.exchange.writers.catalog import EXPORT_FORMATS, ExportFormat

__all__ = ["EXPORT_FORMATS", "ExportFormat"]
