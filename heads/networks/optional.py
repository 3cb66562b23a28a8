"""Packages that only the graph networks need, imported when one is used."""

from __future__ import annotations

import warnings
from importlib import import_module
from types import ModuleType

from embedstore.errors import MissingPackageError


def require_graph(module: str) -> ModuleType:
    """Import a module of an optional package.

    Raises
    ------
    MissingPackageError
        If the package is not installed; says how to get it.
    """
    package = module.partition(".")[0]
    try:
        with warnings.catch_warnings():
            # torch_geometric still compiles two classes in torch's old way while it is imported.
            warnings.simplefilter("ignore", DeprecationWarning)
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingPackageError(
            f"Graph networks need the package {package}, which is not installed. "
            "Get it: `pip install 'embedstore[graph]'`."
        ) from error
