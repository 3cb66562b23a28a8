"""Names and what they stand for: catalogs whose code is imported on use, optional packages, keyword arguments."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from embedstore.errors import MissingPackageError, UnknownArgumentError, UnknownNameError

P = ParamSpec("P")
R = TypeVar("R")


class CatalogEntry(Protocol):
    """What every entry of a catalog declares."""

    @property
    def name(self) -> str:
        """Name of the entry."""
        ...

    @property
    def target(self) -> str:
        """Where its code is: ``"module:attribute"``."""
        ...


EntryT = TypeVar("EntryT", bound=CatalogEntry)


class Catalog(Mapping[str, EntryT], Generic[EntryT]):
    """Entries by name: those of this package first, then those of installed plug-ins.

    Listing imports no code of ours. A plug-in is an entry point that names a `CatalogEntry`, in the group
    ``embedstore.<plural>`` (``embedstore.models``, ``embedstore.heads``, ...).

    Parameters
    ----------
    noun
        What an entry is, for messages: ``"model"``.
    entries
        The entries that ship with the package.
    group
        The entry-point group of plug-ins.
    """

    def __init__(self, noun: str, entries: Iterable[EntryT], *, group: str) -> None:
        self.noun = noun
        self.group = group
        entries = tuple(entries)
        self._built_in = {entry.name: entry for entry in entries}
        if len(self._built_in) != len(entries):
            raise ValueError(f"The {noun} catalog has a name twice.")
        self._plugins: dict[str, EntryT] | None = None

    def _entries(self) -> dict[str, EntryT]:
        if self._plugins is None:
            plugins = {point.name: self._load_plugin(point) for point in entry_points(group=self.group)}
            clashes = sorted(set(plugins) & set(self._built_in))
            if clashes:
                raise UnknownNameError(
                    f"Plug-in {self.noun} {clashes[0]!r} has the name of a built-in one. "
                    "Rename or uninstall the plug-in."
                )
            self._plugins = plugins
        return {**self._built_in, **self._plugins}

    def _load_plugin(self, point: EntryPoint) -> EntryT:
        """The catalog entry that an entry point names."""
        source = (
            f"Plug-in {self.noun} {point.name!r} ({point.value}, of {point.dist.name if point.dist else 'unknown'})"
        )
        try:
            entry: EntryT = point.load()
        except (ImportError, AttributeError) as error:
            raise UnknownNameError(f"{source} cannot be loaded: {error}. Reinstall or uninstall it.") from error
        if entry.name != point.name:
            raise UnknownNameError(f"{source} calls itself {entry.name!r}. Its entry point must have the same name.")
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in self._entries()

    def __getitem__(self, name: str) -> EntryT:
        # Built-in ones first: a broken plug-in must not stop what does not need it.
        if name in self._built_in:
            return self._built_in[name]
        entries = self._entries()
        if name not in entries:
            raise unknown_name(self.noun, name, entries)
        return entries[name]

    def load(self, name: str) -> Any:
        """Import and return the object that entry ``name`` points at.

        Raises
        ------
        UnknownNameError
            If no entry has this name.
        """
        return load_target(self[name].target)


def load_target(target: str) -> Any:
    """Import ``"module:attribute"`` and return the attribute."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def unknown_name(noun: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not among the known ones, with the closest of them as a suggestion.

    >>> print(unknown_name("model", "esm2_8n", ["esm2_8m", "prot_t5"]))
    Unknown model 'esm2_8n'. Did you mean 'esm2_8m'? Known: esm2_8m, prot_t5.
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    listed = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
    return UnknownNameError(f"Unknown {noun} {name!r}.{hint} Known: {listed or 'none yet'}.")


def suggest_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function so that a wrong keyword argument is answered with the closest right one.

    Raises
    ------
    UnknownArgumentError
        On a call with a keyword argument that the function does not have; also a ``TypeError``.

    >>> @suggest_arguments
    ... def build(store, *, dataset=None): ...
    >>> build("store", datasets="pfam")
    Traceback (most recent call last):
    ...
    embedstore.errors.UnknownArgumentError: build() has no argument 'datasets'; did you mean 'dataset'?
    """
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        raise ValueError(f"{function.__qualname__} takes any keyword argument, so that none is wrong.")
    known = [name for name, parameter in parameters.items() if parameter.kind is not parameter.POSITIONAL_ONLY]

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if not kwargs.keys() <= set(known):
            wrong = next(name for name in kwargs if name not in known)
            close = difflib.get_close_matches(wrong, known, n=1)
            arguments = ", ".join(name for name in known if name not in ("self", "cls"))
            hint = f"did you mean {close[0]!r}?" if close else f"it has {arguments}."
            raise UnknownArgumentError(f"{function.__qualname__}() has no argument {wrong!r}; {hint}")
        return function(*args, **kwargs)

    return checked


def require_package(
    module: str, *, purpose: str, extra: str, package: str | None = None, alternative: str = ""
) -> ModuleType:
    """Import a module of an optional package: the one place where such packages are imported.

    Parameters
    ----------
    module
        What to import: ``"xarray"``, ``"torch.utils.tensorboard"``.
    purpose
        What needs it, as a noun phrase for the message: ``"to_xarray"``, ``"adapters (method 'lora')"``.
    extra
        The extra that installs it: ``"align"``, ``"exchange"``, ``"finetune"``, ``"graph"`` or ``"search"``.
    package
        The package that may be missing, where it is not the first part of ``module``: ``"tensorboard"``.
    alternative
        A sentence that says how to do without, such as ``"Or leave alignments out (align=, --align)."``.

    Raises
    ------
    MissingPackageError
        If the package is not installed; the message says how to install it. An error inside an installed package is
        raised as it is.

    >>> require_package("json.decoder", purpose="the example", extra="exchange").__name__
    'json.decoder'
    """
    package = package or module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise missing_package(package, purpose=purpose, extra=extra, alternative=alternative) from error


def missing_package(package: str, *, purpose: str, extra: str, alternative: str = "") -> MissingPackageError:
    """The error that `require_package` raises, for code that looks for a package without importing it.

    >>> print(missing_package("xarray", purpose="to_xarray", extra="exchange"))
    The package 'xarray' is not installed; it is needed for to_xarray. Run `pip install 'embedstore[exchange]'`.
    """
    text = (
        f"The package {package!r} is not installed; it is needed for {purpose}. "
        f"Run `pip install 'embedstore[{extra}]'`. {alternative}"
    )
    return MissingPackageError(text.rstrip())
