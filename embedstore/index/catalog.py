"""The kinds of index."""

from __future__ import annotations

from embedstore.index.base import IndexSpec
from embedstore.registry import Catalog

INDEXES: Catalog[IndexSpec] = Catalog(
    "index",
    (
        IndexSpec(
            name="exact",
            target="embedstore.index.exact:ExactIndex",
            exact=True,
            summary="every vector compared; the reference, and fast up to some 100,000",
        ),
    ),
    group="embedstore.indexes",
)
