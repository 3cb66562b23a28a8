"""Protein language models behind one contract, and their catalog."""

from __future__ import annotations

from embedstore.models.base import Model, ModelSpec, require_poolings
from embedstore.models.catalog import MODELS
from embedstore.models.loading import load_model

__all__ = ["MODELS", "Model", "ModelSpec", "load_model", "require_poolings"]
