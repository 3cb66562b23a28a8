"""The kinds of index."""

from __future__ import annotations

from embedstore.index.base import IndexSpec
from embedstore.registry import Catalog

INDEXES: Catalog[IndexSpec] = Catalog(
    "index",
    (
        IndexSpec(
            name="flat",
            target="embedstore.index.flat:FlatIndex",
            exact=True,
            summary="every vector compared; the reference, and fast up to some 50,000",
        ),
        IndexSpec(
            name="ivf_pq",
            target="embedstore.index.ivf_pq:IvfPqIndex",
            exact=False,
            summary="96 bytes a row; for millions, on disk or in memory",
        ),
        IndexSpec(
            name="hnsw",
            target="embedstore.index.hnsw:HnswIndex",
            exact=False,
            summary="a graph, some 550 bytes a row; for single queries without delay",
        ),
    ),
    group="embedstore.indexes",
)
