"""Files of vectors of other tools, each read as a stream of named arrays."""

from __future__ import annotations

from embedstore.exchange.readers.base import Item, Source, SourceOptions, source_sha256
from embedstore.exchange.readers.catalog import IMPORT_FORMATS, ImportFormat
from embedstore.exchange.readers.detect import open_source

__all__ = ["IMPORT_FORMATS", "ImportFormat", "Item", "Source", "SourceOptions", "open_source", "source_sha256"]
