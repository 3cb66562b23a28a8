"""The store: data sets, sequences and spaces in one directory."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embedstore.catalog import load_target, unknown_name
from embedstore.errors import InputError, StoreCorruptError, StoreError, StoreNotFoundError, StoreVersionError
from embedstore.sequences import RecordReader, file_sha256, read_records, source_files
from embedstore.store.datasets import Dataset, SequenceTable
from embedstore.store.files import StorePath, directories, locate, read_if_there
from embedstore.store.ingest import AddReport, Provenance, add_records, restore_sequences
from embedstore.store.keys import distinct, prefixes
from embedstore.store.layout import (
    DATASETS,
    FORMAT_VERSION,
    NAMESPACE,
    PARTS,
    RECORD,
    SEQUENCES,
    SPACES,
    check_name,
    check_writable,
    is_empty,
    translate_write_errors,
)
from embedstore.store.parts import has_parts
from embedstore.store.spaces import ResidueSpace, Space, create_space, open_space, space_names
from embedstore.types import Digests, ProgressCallback, Record, Vectors, null_progress

DEFAULT_PATH = "embedstore.zarr"
"""The store used where none is named and ``$EMBEDSTORE`` is not set."""

Existing = Literal["error", "append"]


def store_path(path: str | os.PathLike[str] | None) -> StorePath:
    """``path``, else ``$EMBEDSTORE``, else ``./embedstore.zarr``: a `Path`, or a `upath.UPath` in object storage."""
    return locate(path or os.environ.get("EMBEDSTORE") or DEFAULT_PATH)


def open_store(path: str | os.PathLike[str] | None = None, mode: Literal["r", "a"] = "r") -> Store:
    """Open the store at ``path`` (default ``$EMBEDSTORE``, else ``./embedstore.zarr``).

    Parameters
    ----------
    path
        A directory, or a place in object storage: ``s3://bucket/name``, ``gs://bucket/name``.
    mode
        ``r`` needs a store to be there; ``a`` makes one with the first thing that is written.

    Raises
    ------
    StoreNotFoundError
        If there is no store and ``mode`` is ``r``.
    StoreError
        If something else stands there, or it cannot be read.
    StoreVersionError
        If a newer release wrote it.
    """
    directory = store_path(path)
    record = directory / RECORD
    if mode == "a":
        check_writable(directory)
    payload = read_if_there(record)
    if payload is None:
        if not is_empty(directory):
            raise StoreError(f"{directory} is there but is no embedstore store. Choose another --store.")
        if mode == "r":
            raise StoreNotFoundError(
                f"No store at {directory}. Name one with --store or $EMBEDSTORE, "
                "or start one: `embedstore add NAME FILE`."
            )
        return Store(directory)
    try:
        version = json.loads(payload)["attributes"][NAMESPACE]["format"]
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

    def __init__(self, path: StorePath) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @cached_property
    def sequences(self) -> SequenceTable:
        """Every distinct sequence, by key."""
        return SequenceTable(self.path / SEQUENCES)

    @cached_property
    def _datasets(self) -> dict[str, Dataset]:
        return {}

    @cached_property
    def _spaces(self) -> dict[str, Space | ResidueSpace]:
        return {}

    @cached_property
    def searchers(self) -> dict[tuple[str, str], Any]:
        """What searches have opened, by space and kind of index; see `embedstore.indexes.api`."""
        return {}

    def refresh(self) -> None:
        """Forget what was read, so that parts committed since then are seen."""
        for name in ("sequences", "_datasets", "_spaces", "searchers"):
            self.__dict__.pop(name, None)

    def free_bytes(self) -> int | None:
        """What the disk of the store has free, None where that is not known, as of an object store."""
        if not isinstance(self.path, Path):
            return None
        there = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.is_dir())
        return shutil.disk_usage(there).free

    def datasets(self) -> list[str]:
        """Names of the data sets, in alphabetical order."""
        return [path.name for path in directories(self.path / DATASETS) if has_parts(path / PARTS)]

    def dataset(self, name: str) -> Dataset:
        """The data set ``name``; UnknownNameError if there is none."""
        if name not in self._datasets:
            if name not in self.datasets():
                raise unknown_name("data set", name, self.datasets())
            self._datasets[name] = Dataset(self.path / DATASETS / name, name)
        return self._datasets[name]

    def spaces(self) -> list[str]:
        """Ids of the spaces, in alphabetical order."""
        return space_names(self.path / SPACES)

    def space(self, name: str | None = None) -> Space:
        """A space of vectors, one a protein.

        Parameters
        ----------
        name
            The space's id; or its model, or ``model:pooling``, where only one space is meant by that; or None
            where there is only one.

        Raises
        ------
        UnknownNameError
            If no space is called so.
        InputError
            If there are several to choose from.
        StoreError
            If there is none at all.
        """
        chosen_space = self._choose(name, [opened for opened in self._opened_spaces() if isinstance(opened, Space)])
        assert isinstance(chosen_space, Space)  # noqa: S101 - for mypy
        return chosen_space

    def residue_space(self, name: str | None = None) -> ResidueSpace:
        """A space of matrices, one a protein; chosen, and missed, as in `space`."""
        chosen_space = self._choose(
            name, [opened for opened in self._opened_spaces() if isinstance(opened, ResidueSpace)]
        )
        assert isinstance(chosen_space, ResidueSpace)  # noqa: S101 - for mypy
        return chosen_space

    def any_space(self, name: str | None = None) -> Space | ResidueSpace:
        """A space of either kind; chosen, and missed, as in `space`."""
        return self._choose(name, self._opened_spaces())

    def _opened_spaces(self) -> list[Space | ResidueSpace]:
        for name in self.spaces():
            if name not in self._spaces:
                self._spaces[name] = open_space(self.path / SPACES / name)
        return [self._spaces[name] for name in self.spaces()]

    def _choose(self, name: str | None, spaces: Sequence[Space | ResidueSpace]) -> Space | ResidueSpace:
        model, _, pooling = (name or "").partition(":")
        fitting = [space for space in spaces if space.id == name] or [
            space
            for space in spaces
            if name is None or (space.id.rpartition("-")[0] == model and pooling in ("", space.pooling))
        ]
        if len(fitting) > 1:
            raise InputError(f"Which space: {_told_apart(fitting)}? Name one (--space).")
        if not spaces:
            raise StoreError(
                f"The store at {self.path} has no such vectors yet. Make them: `embedstore build --model NAME`."
            )
        if not fitting:
            raise unknown_name("space", str(name), [space.id for space in spaces])
        return fitting[0]

    def create_space(self, identity: dict[str, Any]) -> Space | ResidueSpace:
        """The space of this identity, made if it is not there; read anew."""
        space = create_space(self.path, identity)
        self._spaces[space.id] = space
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
        keep_columns: Collection[str] | None = None,
        progress: ProgressCallback = null_progress,
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
        keep_columns
            Columns to keep besides id and sequence; None for all.
        progress
            Called with each step, in bytes of the files.

        Raises
        ------
        InputError, MissingFileError, StoreWriteError
        """
        check_name("data set", name)
        self.refresh()
        dataset = self.dataset(name) if name in self.datasets() else None
        there = {source["sha256"] for source in dataset.sources} if dataset else set()
        given = [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]
        options = {
            "format": format,
            "id_column": id_column,
            "sequence_column": sequence_column,
            "skip_invalid": skip_invalid,
            "progress": progress,
        }
        source = _Source(given, there, options)
        if dataset and not source.files:
            return self._restored(dataset, _Source(given, set(), options))
        if dataset and existing == "error":
            raise InputError(
                f"Data set {name!r} is there and holds other files ({len(dataset.sources)}). Choose another name, "
                "or add these to it: --append (existing='append')."
            )
        with translate_write_errors(self.path):
            records = source.records(keep_columns)
            report = add_records(self.path, name, records, known=self.sequences, provenance=source.provenance)
        self.refresh()
        return report

    def _restored(self, dataset: Dataset, source: _Source) -> AddReport:
        """A data set whose files are all there already: what it lacks in sequences is stored again."""
        missing = ~self.sequences.contains(dataset.digests)
        n_new = restore_sequences(self.path, source.records(), known=self.sequences) if missing.any() else 0
        self.refresh()
        return AddReport(dataset=dataset.name, n_records=0, n_distinct=0, n_new=n_new, n_residues=0, already_there=True)

    def search(
        self,
        vectors: Vectors,
        k: int = 10,
        *,
        space: str | None = None,
        index: str = "auto",
        where: Any = None,
        exclude: Digests | None = None,
    ) -> Any:
        """The nearest stored vectors of each of (n, D) vectors; see `embedstore.indexes.api.search`."""
        # By its name, as catalogs do: what joins a store and an index stands above both.
        return load_target("embedstore.indexes.api:search")(
            self, vectors, k, space=space, index=index, where=where, exclude=exclude
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


def _told_apart(spaces: Sequence[Space | ResidueSpace]) -> str:
    """The ids of spaces, each with whatever of its identity is not the same in all."""
    shown = ("model", "revision", "layer", "pooling", "precision", "dtype", "long", "residue_policy", "weights_sha256")
    differing = [name for name in shown if len({str(one.identity.get(name)) for one in spaces}) > 1]
    facts = [", ".join(f"{name} {one.identity.get(name)}" for name in differing) for one in spaces]
    return "; ".join(f"{one.id} ({fact})" if fact else one.id for one, fact in zip(spaces, facts, strict=True))


class _Source:
    """The files among those given that a data set does not hold yet, each content once, and their records.

    Parameters
    ----------
    paths
        Files and directories.
    known
        sha256 of the files that the data set holds.
    options
        For `read_records`.
    """

    def __init__(self, paths: Sequence[Path], known: set[str], options: dict[str, Any]) -> None:
        seen = set(known)
        self.files: list[dict[str, Any]] = []
        self._readers: list[RecordReader] = []
        self._n_left_out = 0
        for path in paths:
            wanted = []
            for file in source_files(path):
                sha256 = file_sha256(file.path)
                if sha256 in seen:
                    self._n_left_out += 1
                    continue
                seen.add(sha256)
                wanted.append(file.path)
                about = {"name": file.path.name, "split": file.split, "bytes": file.size, "sha256": sha256}
                self.files.append(about)
            if wanted:
                self._readers.append(read_records(path, files=wanted, **options))

    def records(self, keep: Collection[str] | None = None) -> Iterator[Record]:
        """The records of all files, with these of their columns, or all."""
        found = itertools.chain.from_iterable(self._readers)
        if keep is None:
            return found
        return (
            replace(record, columns={name: text for name, text in record.columns.items() if name in keep})
            for record in found
        )

    def provenance(self) -> Provenance:
        """What is known once the records are exhausted."""
        reports = [reader.report for reader in self._readers]
        warnings = [text for report in reports for text in report.warnings]
        if self._n_left_out:
            warnings.append(f"{self._n_left_out} files were left out: the data set holds files of the same content.")
        kinds = ("n_gaps", "n_stops", "n_white_space", "n_lower_case")
        return Provenance(
            sources=self.files,
            normalised={kind: sum(getattr(report, kind) for report in reports) for kind in kinds},
            rejected=[(one.id, f"{one.where}: {one.reason}") for report in reports for one in report.rejected],
            warnings=warnings,
        )
