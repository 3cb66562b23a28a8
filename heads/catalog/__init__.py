"""The head catalog: one row a head, a file a field; listing it imports none of them."""

from __future__ import annotations

from embedstore.catalog import Catalog
from heads.catalog.alignment import HOMOLOGY
from heads.catalog.networks import FINETUNING, NETWORKS
from heads.catalog.spec import HeadSpec
from heads.catalog.vectors import ON_VECTORS

HEADS: Catalog[HeadSpec] = Catalog("head", (*ON_VECTORS, *HOMOLOGY, *NETWORKS, *FINETUNING), group="embedstore.heads")
"""Every head by name."""

__all__ = ["HEADS", "HOMOLOGY", "NETWORKS", "ON_VECTORS", "HeadSpec"]
