"""Catalogs: declared rows by name, whose code is imported only when a row is used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

from embedstore.errors import UnknownNameError


class CatalogEntry(Protocol):
    """What every catalog row declares."""

    @property
    def name(self) -> str:
        """What the row is called."""
        ...

    @property
    def target(self) -> str:
        """Where its code is: ``"module:attribute"``."""
        ...


RowT = TypeVar("RowT", bound=CatalogEntry)


class Catalog(Mapping[str, RowT], Generic[RowT]):
    """Rows by name, ours first and then those of installed plug-ins.

    Listing imports nothing of ours; a plug-in is an entry point that names a row object, in the group
    ``embedstore.<plural>`` (``embedstore.models``, ``embedstore.heads``, ...).

    Parameters
    ----------
    kind
        What a row is, for messages: ``"model"``.
    rows
        The rows that ship with the package.
    group
        The entry-point group of plug-in rows.
    """

    def __init__(self, kind: str, rows: tuple[RowT, ...], *, group: str) -> None:
        self.kind = kind
        self.group = group
        self._own = {row.name: row for row in rows}
        if len(self._own) != len(rows):
            raise ValueError(f"The {kind} catalog has a name twice.")
        self._plugins: dict[str, RowT] | None = None

    def _rows(self) -> dict[str, RowT]:
        if self._plugins is None:
            found = {point.name: self._plugin(point) for point in entry_points(group=self.group)}
            clash = sorted(set(found) & set(self._own))
            if clash:
                raise UnknownNameError(
                    f"Plug-in {self.kind} {clash[0]!r} has the name of a built-in one. Rename or uninstall the plug-in."
                )
            self._plugins = found
        return {**self._own, **self._plugins}

    def _plugin(self, point: EntryPoint) -> RowT:
        """The row that an entry point names."""
        source = (
            f"Plug-in {self.kind} {point.name!r} ({point.value}, of {point.dist.name if point.dist else 'unknown'})"
        )
        try:
            row: RowT = point.load()
        except (ImportError, AttributeError) as error:
            raise UnknownNameError(f"{source} cannot be loaded: {error}. Reinstall or uninstall it.") from error
        if row.name != point.name:
            raise UnknownNameError(f"{source} calls itself {row.name!r}. Its entry point must have the same name.")
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows())

    def __len__(self) -> int:
        return len(self._rows())

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._rows()

    def __getitem__(self, name: str) -> RowT:
        # Ours first: a broken plug-in must not stand in the way of what does not need it.
        if name in self._own:
            return self._own[name]
        rows = self._rows()
        if name not in rows:
            raise unknown_name(self.kind, name, rows)
        return rows[name]

    def load(self, name: str) -> Any:
        """Import and return the object that row ``name`` points at.

        Raises
        ------
        UnknownNameError
            If no row has this name.
        """
        return load_target(self[name].target)


def load_target(target: str) -> Any:
    """Import ``"module:attribute"`` and return the attribute."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def unknown_name(kind: str, name: str, known: Mapping[str, object] | list[str]) -> UnknownNameError:
    """The one wording for a name that is not in a list of known ones.

    >>> print(unknown_name("model", "esm2_8n", ["esm2_8m", "prot_t5"]))
    Unknown model 'esm2_8n'. Did you mean 'esm2_8m'? Known: esm2_8m, prot_t5.
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    listed = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
    return UnknownNameError(f"Unknown {kind} {name!r}.{hint} Known: {listed or 'none yet'}.")
