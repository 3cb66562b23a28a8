"""HDF5 files with one data set a protein, as UniProt, bio_embeddings and biotrainer write them.

UniProt: https://www.uniprot.org/help/embeddings. bio_embeddings and biotrainer name a data set by a number, a hash of
the sequence or the id, and keep the id in the attribute ``original_id``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from embedstore.errors import FileFormatError
from embedstore.exchange.readers.base import Item, SourceOptions, as_array, unreadable

ORIGINAL_ID = "original_id"

_DEEPEST = 16
"""Groups in groups that a slash in an id can make; more is a loop of links."""

_N_PROBED = 64
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)


def is_hdf5(path: Path) -> bool:
    """Whether a file starts as HDF5 does."""
    return bool(h5py.is_hdf5(path))


def detect_h5(path: Path) -> str:
    """Name of the format of an HDF5 file, from its first data sets.

    Raises
    ------
    FileFormatError
        If it has another layout, or a mixed one.
    """
    with open_hdf5(path) as file:
        if "encoding-type" in file.attrs:
            raise _unknown_layout(path, f"HDF5 as {file.attrs['encoding-type']} writes it")
        if "format" in file.attrs and not any(isinstance(member, h5py.Group) for member in islice(file.values(), 1)):
            raise _unknown_layout(path, f"HDF5 of the format {file.attrs['format']!r}")
        names = list(islice(_datasets(path, file), _N_PROBED))
        if not names:
            raise FileFormatError(f"{path} holds no data set: nothing to import. Check that it was written to the end.")
        has_id = [_original_id(file, name) is not None for name in names]
        numbered = all(name.isdecimal() and name == str(int(name)) for name in names)
        invalid = [name for name in names if file[name].ndim not in (1, 2) or file[name].dtype.kind != "f"]
    if invalid:
        raise _unknown_layout(path, f"HDF5 whose data set {invalid[0]!r} is no vector or matrix of floating numbers")
    if any(has_id) != all(has_id):
        raise _unknown_layout(path, f"HDF5 where some data sets have the attribute {ORIGINAL_ID} and others have not")
    if not any(has_id):
        return "uniprot-h5"
    return "bio-embeddings-h5" if numbered else "biotrainer-h5"


def _unknown_layout(path: Path, what: str) -> FileFormatError:
    return FileFormatError(
        f"{path} is {what}; expected one data set a protein as in uniprot-h5, bio-embeddings-h5 or biotrainer-h5. "
        "If it is one of them, say so with format= (--format)."
    )


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading; FileFormatError if it is none, or damaged."""
    try:
        # A download is not being written to; a lock would only fail on network file systems.
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise FileFormatError(
            f"{path} cannot be opened as HDF5 ({_first_line(error)}). It may be cut short: get it again."
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _datasets(path: Path, group: h5py.Group, prefix: str = "", depth: int = 0) -> Iterator[str]:
    """Path of every data set below a group; a slash in an id has made groups."""
    if depth > _DEEPEST:
        raise FileFormatError(f"{path} has groups in groups without end at {prefix!r}. Get the file again.")
    try:
        for name in group:
            # Links that lead out of the file are not followed: what they name could be anything.
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                yield f"{prefix}{name}"
            elif group.get(name, getclass=True) is h5py.Group:
                yield from _datasets(path, group[name], f"{prefix}{name}/", depth + 1)
            else:
                yield f"{prefix}{name}"
    except _HDF5_ERRORS as error:
        raise _damaged(path, prefix or "/", error) from error


def _damaged(path: Path, name: str, error: BaseException) -> FileFormatError:
    return FileFormatError(
        f"{path}: {name!r} cannot be read ({_first_line(error)}). The file may be damaged: get it again."
    )


def _original_id(file: h5py.File, name: str) -> str | None:
    """The attribute ``original_id`` of a data set, byte for byte; None if it has none."""
    value = file[name].attrs.get(ORIGINAL_ID)
    if value is None:
        return None
    if isinstance(value, np.void):
        return value.tobytes().decode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value)


def open_h5(path: Path, format: str, options: SourceOptions) -> H5Source:  # noqa: A002
    """Open an HDF5 file with a data set a protein."""
    return H5Source(path, format)


class H5Source:
    """An HDF5 file; ids are the names of the data sets in ``uniprot-h5``, else their attribute ``original_id``."""

    pooling: str | None = None
    layer: int | None = None
    cut_at: int | None = None

    def __init__(self, path: Path, format: str) -> None:  # noqa: A002
        self.format = format
        self.root = path
        self.files = [path]
        with open_hdf5(path) as file:
            self.n_items: int | None = len(file)

    def __iter__(self) -> Iterator[Item]:
        """Stream the data sets in the order of their names."""
        with open_hdf5(self.root) as file:
            for name in _datasets(self.root, file):
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    problem = "is a link to elsewhere, which is not followed"
                    yield Item(names=(name,), read=unreadable(problem), problem=problem)
                    continue
                id_ = name if self.format == "uniprot-h5" else self._read_id(file, name)
                if id_ is None:
                    problem = f"has no attribute {ORIGINAL_ID}"
                    yield Item(names=(name,), read=unreadable(problem), problem=problem)
                else:
                    yield Item(names=(id_,), read=partial(self._read, file, name))

    def _read_id(self, file: h5py.File, name: str) -> str | None:
        try:
            return _original_id(file, name)
        except _HDF5_ERRORS as error:
            raise _damaged(self.root, name, error) from error

    def _read(self, file: h5py.File, name: str) -> NDArray[Any]:
        try:
            return as_array(file[name][()])
        except _HDF5_ERRORS as error:
            raise _damaged(self.root, name, error) from error
