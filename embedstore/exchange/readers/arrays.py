"""NumPy files: ``.npz`` with ids and vectors, and ``.npy`` with its ids in a text file beside it."""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import FileFormatError, InputError, MissingFileError
from embedstore.exchange.readers.base import Item, SourceOptions, to_native_endian
from embedstore.sequences import ID_COLUMNS

VECTOR_NAMES = ("vectors", "embeddings")
"""Under which name an .npz may hold the vectors."""

_BLOCK_BYTES = 1 << 22
_PICKLED = (
    "holds Python objects, which could run code when loaded: it is refused. Save text instead: "
    "np.savez(file, ids=np.array(ids, dtype=str), vectors=vectors)."
)
_Blocks = Callable[[], Iterator[NDArray[Any]]]
_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]


class ArraySource:
    """Rows of a matrix, with ids; ``blocks`` streams the rows. See `open_npz` and `open_npy`."""

    pooling: str | None = None
    layer: int | None = None
    cut_at: int | None = None

    def __init__(self, root: Path, format: str, files: Sequence[Path], ids: Sequence[str], blocks: _Blocks) -> None:  # noqa: A002
        self.root = root
        self.format = format
        self.files = files
        self.n_items: int | None = len(ids)
        self._ids = ids
        self._blocks = blocks

    def __iter__(self) -> Iterator[Item]:
        """Stream the rows in order."""
        start = 0
        for block in self._blocks():
            rows = to_native_endian(block)
            for row, name in enumerate(self._ids[start : start + len(rows)]):
                yield Item(names=(name,), read=partial(rows.__getitem__, row))
            start += len(rows)


def _npz_blocks(path: Path, member: str) -> Iterator[NDArray[Any]]:
    """Rows out of an archive, decompressed as they are needed."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        (n_rows, dim), _, dtype = _header(stream, path, member)
        at_once = max(1, _BLOCK_BYTES // (dim * dtype.itemsize))
        for start in range(0, n_rows, at_once):
            n_rows_ = min(at_once, n_rows - start)
            data = _read_exactly(stream, n_rows_ * dim * dtype.itemsize, path, member)
            yield np.frombuffer(data, dtype).reshape(n_rows_, dim)


def _npy_blocks(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Rows out of a mapped file."""
    at_once = max(1, _BLOCK_BYTES // (rows.shape[1] * rows.itemsize))
    for start in range(0, len(rows), at_once):
        yield np.array(rows[start : start + at_once])


def open_npz(path: Path, format: str, options: SourceOptions) -> ArraySource:  # noqa: A002
    """Open an ``.npz`` with ``ids`` (N,) and ``vectors`` or ``embeddings`` (N, D).

    Raises
    ------
    FileFormatError
        If it has other arrays, Python objects, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            vector_names = [name for name in VECTOR_NAMES if name in members]
            if "ids" not in members or len(vector_names) != 1:
                raise FileFormatError(
                    f"{path} holds {', '.join(sorted(members)) or 'nothing'}; expected 'ids' and one of "
                    f"{', '.join(map(repr, VECTOR_NAMES))}. Save it so: np.savez(file, ids=…, vectors=…)."
                )
            with archive.open(members["ids"]) as stream:
                ids = _read_ids(stream, path)
            with archive.open(members[vector_names[0]]) as stream:
                header = _header(stream, path, vector_names[0])
    except zipfile.BadZipFile as error:
        raise FileFormatError(f"{path} cannot be read as .npz ({error}). It may be cut short: get it again.") from error
    _check_matrix(header[0], header[2], len(ids), path)
    if header[1]:
        raise FileFormatError(
            f"{path}: {vector_names[0]!r} is stored by columns. Save np.ascontiguousarray({vector_names[0]})."
        )
    return ArraySource(path, format, [path], ids, partial(_npz_blocks, path, members[vector_names[0]]))


def open_npy(path: Path, format: str, options: SourceOptions) -> ArraySource:  # noqa: A002
    """Open an ``.npy`` (N, D) with its N ids in ``options.ids``, or in the ``.tsv`` or ``.txt`` of the same name.

    Raises
    ------
    FileFormatError
        If it is no matrix of floating numbers, or has not as many rows as there are ids.
    MissingFileError
        If there are no ids beside it.
    """
    with path.open("rb") as stream:
        shape, _, dtype = _header(stream, path, "the array")
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise FileFormatError(f"{path} cannot be read as .npy ({error}). It may be cut short: get it again.") from error
    ids_file = options.ids or _find_ids_file(path)
    if not ids_file.is_file():
        raise MissingFileError(f"No such file: {ids_file}. Name the file of the ids: ids= (--ids).")
    ids = _listed_ids(ids_file, n_rows=shape[0] if shape else 0)
    _check_matrix(shape, dtype, len(ids), path)
    return ArraySource(path, format, [path, ids_file], ids, partial(_npy_blocks, rows))


def _find_ids_file(path: Path) -> Path:
    candidates = [path.with_suffix(suffix) for suffix in (".tsv", ".txt") if path.with_suffix(suffix).is_file()]
    if not candidates:
        raise MissingFileError(
            f"{path} has no ids beside it: {path.stem}.tsv or {path.stem}.txt. Name their file: ids= (--ids)."
        )
    if len(candidates) > 1:
        raise InputError(f"{path} has two files of ids beside it: {path.stem}.tsv and .txt. Name one: ids= (--ids).")
    return candidates[0]


def _listed_ids(file: Path, *, n_rows: int) -> list[str]:
    """Ids of a text file: one a line, or in the id column (else the first) of a table with tabs."""
    if file.suffix != ".tsv":
        lines = file.read_bytes().split(b"\n")
        if lines and not lines[-1]:
            lines.pop()
        return [line.removesuffix(b"\r").decode("utf-8", "surrogateescape") for line in lines]
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as text:
        rows = [row for row in csv.reader(text, dialect="excel-tab") if row]
    if rows and len(rows) == n_rows + 1:
        id_columns = [index for index, name in enumerate(rows[0]) if name.lower() in ID_COLUMNS]
        if len(id_columns) == 1:
            return [row[id_columns[0]] if id_columns[0] < len(row) else "" for row in rows[1:]]
    return [row[0] for row in rows]


def _check_matrix(shape: tuple[int, ...], dtype: np.dtype[Any], n_ids: int, path: Path) -> None:
    if len(shape) != 2 or dtype.kind != "f":
        raise FileFormatError(f"{path} holds an array {shape} of {dtype}; expected (N, D) floating numbers.")
    if shape[0] != n_ids:
        raise FileFormatError(f"{path} has {shape[0]:,} vectors and {n_ids:,} ids; expected as many. Check both.")
    if 0 in shape:
        raise FileFormatError(f"{path} holds an array {shape}: nothing to import. Check that it was written.")


def _header(stream: IO[bytes], path: Path, name: str) -> _Header:
    """Shape, whether by columns, and element type; leaves the stream at the first element."""
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = reader(stream)
    except (ValueError, zlib.error) as error:
        raise FileFormatError(
            f"{path}: {name} cannot be read as a NumPy array ({error}). Get the file again."
        ) from error
    if dtype.hasobject:
        raise FileFormatError(f"{path}: {name} {_PICKLED}")
    return shape, by_columns, dtype


def _read_ids(stream: IO[bytes], path: Path) -> list[str]:
    shape, _, dtype = _header(stream, path, "'ids'")
    if len(shape) != 1 or dtype.kind not in "US":
        raise FileFormatError(f"{path}: 'ids' is an array {shape} of {dtype}; expected (N,) text. Save dtype=str.")
    data = _read_exactly(stream, shape[0] * dtype.itemsize, path, "'ids'")
    values = np.frombuffer(data, dtype) if dtype.itemsize else np.zeros(shape, "U1")
    if dtype.kind == "U":
        return [str(value) for value in values]
    return [bytes(value).decode("utf-8", "surrogateescape") for value in values]


def _read_exactly(stream: IO[bytes], n_bytes: int, path: Path, name: str) -> bytes:
    try:
        data = stream.read(n_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise FileFormatError(f"{path}: {name} is damaged ({error}). Get the file again.") from error
    if len(data) != n_bytes:
        raise FileFormatError(f"{path}: {name} ends too early. The file is cut short: get it again.")
    return data
