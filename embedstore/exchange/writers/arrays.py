"""NumPy files: ``.npy`` with a table beside it, and ``.npz``."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.exchange.selection import Selection
from embedstore.types import Progress, ProgressCallback

_BLOCK_ROWS = 1024


def write_npy(selection: Selection, path: Path, progress: ProgressCallback) -> list[str]:
    """Write vectors (N, D) and, beside them, ``id``, ``key`` and the columns as tab-separated values with a header."""
    with path.with_suffix(".tsv").open("x", encoding="utf-8", errors="surrogateescape", newline="") as text:
        table = csv.writer(text, dialect="excel-tab", lineterminator="\n")
        table.writerow(["id", "key", *selection.columns])
        table.writerows(zip(selection.ids, selection.keys, *selection.columns.values(), strict=True))
    with path.open("xb") as file:
        _write_array(file, (len(selection), selection.space.dim), selection.space.dtype, _blocks(selection, progress))
    return []


def write_npz(selection: Selection, path: Path, progress: ProgressCallback) -> list[str]:
    """Write ``ids`` (N,), ``keys`` (N,), ``vectors`` (N, D) and ``provenance``, a JSON text.

    Raises
    ------
    InputError
        If an id ends in NUL, which NumPy's texts lose.
    """
    for id_ in selection.ids:
        if id_.endswith("\0"):
            raise InputError(f"Id {id_!r} ends in NUL, which NumPy's texts lose. Choose another format: h5.")
    with zipfile.ZipFile(path, "x") as archive:
        provenance = [json.dumps(selection.provenance, sort_keys=True)]
        for name, texts in {"ids": selection.ids, "keys": selection.keys, "provenance": provenance}.items():
            dtype = np.dtype(f"<U{max([1, *map(len, texts)])}")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _write_array(file, () if name == "provenance" else (len(texts),), dtype, _texts(texts, dtype))
        with archive.open("vectors.npy", "w", force_zip64=True) as file:
            shape = (len(selection), selection.space.dim)
            _write_array(file, shape, selection.space.dtype, _blocks(selection, progress))
    return []


def _texts(texts: Sequence[str], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(texts), _BLOCK_ROWS):
        yield np.array(texts[start : start + _BLOCK_ROWS], dtype)


def _blocks(selection: Selection, progress: ProgressCallback) -> Iterator[NDArray[Any]]:
    for start, block in selection.blocks(_BLOCK_ROWS):
        yield block
        progress(Progress(stage="export", done=start + len(block), total=len(selection), unit="proteins"))


def _write_array(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Iterator[NDArray[Any]]) -> None:
    """Write an array in NumPy's format 1.0, block by block."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for block in blocks:
        file.write(np.ascontiguousarray(block, dtype).tobytes())
