"""The store: data sets, sequences and spaces in one directory."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embedstore.errors import InputError, StoreCorruptError, StoreError, StoreNotFoundError, StoreVersionError
from embedstore.registry import unknown_name
from embedstore.sequences import file_sha256, read_records, source_files
from embedstore.store.datasets import AddReport, Dataset, Provenance, SequenceTable, add_records
from embedstore.store.keys import distinct, prefixes
from embedstore.store.layout import (
    DATASETS,
    FORMAT_VERSION,
    NAMESPACE,
    RECORD,
    SEQUENCES,
    SPACES,
    check_name,
    ensure_store,
    writing,
)
from embedstore.store.spaces import Space, create_space, read_spaces
from embedstore.types import Digests, ProgressCallback, no_progress

DEFAULT_PATH = "embedstore.zarr"
"""The store used where none is named and ``$EMBEDSTORE`` is not set."""

Existing = Literal["error", "append"]


def store_path(path: str | os.PathLike[str] | None) -> Path:
    """``path``, else ``$EMBEDSTORE``, else ``./embedstore.zarr``."""
    return Path(path or os.environ.get("EMBEDSTORE") or DEFAULT_PATH)


def open_store(path: str | os.PathLike[str] | None = None, mode: Literal["r", "a"] = "r") -> Store:
    """Open the store at ``path`` (default ``$EMBEDSTORE``, else ``./embedstore.zarr``).

    Parameters
    ----------
    path
        A directory.
    mode
        ``r`` needs a store to be there; ``a`` makes one with the first thing that is written.

    Raises
    ------
    StoreNotFoundError
        If there is no store and ``mode`` is ``r``.
    StoreError
        If something else stands there.
    StoreVersionError
        If a newer release wrote it.
    """
    directory = store_path(path)
    record = directory / RECORD
    if not record.is_file():
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise StoreError(f"{directory} is there but is no embedstore store. Choose another --store.")
        if mode == "r":
            raise StoreNotFoundError(
                f"No store at {directory}. Name one with --store or $EMBEDSTORE, "
                "or start one: `embedstore add NAME FILE`."
            )
        return Store(directory)
    try:
        version = json.loads(record.read_bytes())["attributes"][NAMESPACE]["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{directory} is a zarr group but no embedstore store. Choose another --store.") from error
    if not isinstance(version, int):
        raise StoreCorruptError(f"{record} states format {version!r}, which is no number. Restore it from a backup.")
    if version > FORMAT_VERSION:
        raise StoreVersionError(
            f"The store at {directory} has format {version}; this release reads up to {FORMAT_VERSION}. "
            "Upgrade: `pip install -U embedstore`."
        )
    return Store(directory)


class Store:
    """A store that is open; see `open_store`.

    Everything is read when first asked for; `refresh` looks again for what others have committed since.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @cached_property
    def sequences(self) -> SequenceTable:
        """Every distinct sequence, by key."""
        return SequenceTable(self.path / SEQUENCES)

    @cached_property
    def _spaces(self) -> dict[str, Space]:
        return read_spaces(self.path / SPACES)

    def refresh(self) -> None:
        """Forget what was read, so that parts committed since then are seen."""
        self.__dict__.pop("sequences", None)
        self.__dict__.pop("_spaces", None)

    def datasets(self) -> list[str]:
        """Names of the data sets, in alphabetical order."""
        directory = self.path / DATASETS
        found = [path.name for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
        return [name for name in sorted(found) if self._dataset(name).parts]

    def dataset(self, name: str) -> Dataset:
        """The data set ``name``; UnknownNameError if there is none."""
        names = self.datasets()
        if name not in names:
            raise unknown_name("data set", name, names)
        return self._dataset(name)

    def _dataset(self, name: str) -> Dataset:
        return Dataset(self.path / DATASETS / name, name)

    def spaces(self) -> list[str]:
        """Ids of the spaces, in alphabetical order."""
        return list(self._spaces)

    def space(self, name: str | None = None) -> Space:
        """A space by its id, by its model where only one space has that, or the only one there is.

        Raises
        ------
        UnknownNameError
            If no space is called so, or there are several to choose from.
        """
        if name in self._spaces:
            return self._spaces[name]
        fitting = [space for space in self._spaces.values() if name in (None, space.identity["model"])]
        if len(fitting) == 1:
            return fitting[0]
        if not self._spaces:
            raise StoreError(
                f"The store at {self.path} has no vectors yet. Make them: `embedstore build --model NAME`."
            )
        if fitting:
            ids = ", ".join(space.id for space in fitting)
            raise InputError(f"Which space: {ids}? Name one (--space).")
        raise unknown_name("space", str(name), self.spaces())

    def create_space(self, identity: dict[str, Any], dim: int) -> Space:
        """The space of this identity, made if it is not there."""
        ensure_store(self.path)
        space = create_space(self.path / SPACES, identity, dim)
        self.refresh()
        return space

    def add(
        self,
        name: str,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        existing: Existing = "error",
        format: str = "auto",  # noqa: A002 - as in read_records and on the command line
        id_column: str | None = None,
        sequence_column: str | None = None,
        skip_invalid: bool = False,
        progress: ProgressCallback = no_progress,
    ) -> AddReport:
        """Add files as a data set: all of them or, on an error, none.

        Parameters
        ----------
        name
            Name of the data set.
        paths
            FASTA, CSV, TSV or Parquet files, or directories of splits; see `embedstore.sequences.read_records`.
        existing
            What to do where the data set holds other files already: ``error``, or ``append`` these. Files that it
            holds already, by their sha256, are never added again.
        format
            What the files are, where their names and first bytes do not tell.
        id_column, sequence_column
            For tables whose columns have other names than the usual.
        skip_invalid
            Leave records with illegal characters out, named in the report, instead of raising.
        progress
            Called with each step, in bytes of the files.

        Raises
        ------
        InputError, MissingFileError, StoreWriteError
        """
        check_name("data set", name)
        given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        files = [file for path in given for file in source_files(path)]
        hashes = {file.path: file_sha256(file.path) for file in files}
        dataset = self._dataset(name)
        there = {source["sha256"] for source in dataset.sources}
        if there and set(hashes.values()) <= there:
            return _unchanged(dataset)
        if there and existing == "error":
            raise InputError(
                f"Data set {name!r} is there and holds other files ({len(dataset.sources)}). Choose another name, "
                "or add these to it: --append (existing='append')."
            )
        new = [path for path in given if not {hashes[file.path] for file in source_files(path)} <= there]
        with writing(self.path):
            report = self._add_new(
                name,
                new,
                hashes,
                progress,
                format=format,
                id_column=id_column,
                sequence_column=sequence_column,
                skip_invalid=skip_invalid,
            )
        self.refresh()
        return report

    def _add_new(
        self,
        name: str,
        paths: list[str | os.PathLike[str]],
        hashes: dict[Path, str],
        progress: ProgressCallback,
        **options: Any,
    ) -> AddReport:
        readers = [read_records(path, progress=progress, **options) for path in paths]

        def provenance() -> Provenance:
            sources = [
                {"name": file.path.name, "split": file.split, "bytes": file.size, "sha256": hashes[file.path]}
                for path in paths
                for file in source_files(path)
            ]
            rejected = [(one.id, f"{one.where}: {one.reason}") for reader in readers for one in reader.report.rejected]
            warnings = [text for reader in readers for text in reader.report.warnings]
            return Provenance(sources=sources, rejected=rejected, warnings=warnings)

        return add_records(
            self.path, name, itertools.chain.from_iterable(readers), known=self.sequences, provenance=provenance
        )

    def ids_of(self, digests: Digests) -> dict[bytes, list[str]]:
        """Ids, each as ``data set:id``, of every key that a data set names."""
        wanted = distinct(digests)
        keys = {row.tobytes() for row in wanted}
        found: dict[bytes, list[str]] = {}
        for name in self.datasets():
            dataset = self.dataset(name)
            rows = dataset.digests
            # The first 8 bytes narrow a data set down at array speed; the whole key decides.
            near = np.flatnonzero(np.isin(prefixes(rows), prefixes(wanted)))
            ids = dataset.ids() if len(near) else []
            for row in near.tolist():
                key = rows[row].tobytes()
                if key in keys:
                    found.setdefault(key, []).append(f"{name}:{ids[row]}")
        return found


def _unchanged(dataset: Dataset) -> AddReport:
    return AddReport(
        dataset=dataset.name,
        n_records=0,
        n_distinct=0,
        n_new=0,
        n_residues=0,
        already_there=True,
    )
