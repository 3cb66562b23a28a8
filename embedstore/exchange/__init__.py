"""Others' files and libraries: vectors that were made elsewhere come in, those of a store go out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedstore.exchange.exporting import ExportReport, export_vectors
    from embedstore.exchange.importing import ImportReport, import_vectors
    from embedstore.exchange.selection import Selection, select
    from embedstore.exchange.sources import IMPORT_FORMATS
    from embedstore.exchange.tables import to_frame, to_numpy, to_xarray
    from embedstore.exchange.targets import EXPORT_FORMATS
    from embedstore.exchange.torch_dataset import collate_residues, to_torch

_HOMES = {
    "EXPORT_FORMATS": "targets",
    "IMPORT_FORMATS": "sources",
    "ExportReport": "exporting",
    "ImportReport": "importing",
    "Selection": "selection",
    "collate_residues": "torch_dataset",
    "export_vectors": "exporting",
    "import_vectors": "importing",
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
