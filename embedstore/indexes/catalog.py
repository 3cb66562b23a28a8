"""The index types."""

from __future__ import annotations

from embedstore.catalog import Catalog
from embedstore.indexes.base import IndexSpec

INDEXES: Catalog[IndexSpec] = Catalog(
    "index",
    (
        IndexSpec(
            name="flat",
            target="embedstore.indexes.flat:FlatIndex",
            exact=True,
            summary="every vector compared; the reference, and fast up to some 50,000",
        ),
        IndexSpec(
            name="ivf_pq",
            target="embedstore.indexes.ivf_pq:IvfPqIndex",
            exact=False,
            summary="96 bytes a row; for millions, on disk or in memory",
        ),
        IndexSpec(
            name="hnsw",
            target="embedstore.indexes.hnsw:HnswIndex",
            exact=False,
            summary="a graph, some 550 bytes a row; for single queries without delay",
        ),
    ),
    group="embedstore.indexes",
)
