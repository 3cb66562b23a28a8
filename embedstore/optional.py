"""Packages that only an exchange format needs, imported when it is used."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from embedstore.errors import MissingPackageError


def require(package: str, *, purpose: str) -> ModuleType:
    """Import an optional package.

    Parameters
    ----------
    package
        Its import name, which is its name on PyPI too.
    purpose
        What it is needed for: starts the message.

    Raises
    ------
    MissingPackageError
        If it is not installed; says how to get it.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingPackageError(
            f"{purpose} needs the package {package}, which is not installed. "
            "Get it: `pip install 'embedstore[exchange]'`."
        ) from error
