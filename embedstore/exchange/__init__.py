"""Exchange with other tools: import their vectors, export those of a store."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstore.exchange.exports import ExportReport, export_vectors
    from embedstore.exchange.imports import ImportReport, import_vectors
    from embedstore.exchange.readers import IMPORT_FORMATS
    from embedstore.exchange.selection import Selection, select
    from embedstore.exchange.tables import to_frame, to_numpy, to_xarray
    from embedstore.exchange.torch_dataset import collate_residues, to_torch
    from embedstore.exchange.writers import EXPORT_FORMATS

_HOMES = {
    "EXPORT_FORMATS": "writers",
    "IMPORT_FORMATS": "readers",
    "ExportReport": "exports",
    "ImportReport": "imports",
    "Selection": "selection",
    "collate_residues": "torch_dataset",
    "export_vectors": "exports",
    "import_vectors": "imports",
    "select": "selection",
    "to_frame": "tables",
    "to_numpy": "tables",
    "to_torch": "torch_dataset",
    "to_xarray": "tables",
}

__all__ = [
    "EXPORT_FORMATS",
    "IMPORT_FORMATS",
    "ExportReport",
    "ImportReport",
    "Selection",
    "collate_residues",
    "export_vectors",
    "import_vectors",
    "select",
    "to_frame",
    "to_numpy",
    "to_torch",
    "to_xarray",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: who exports to NumPy waits for no torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
