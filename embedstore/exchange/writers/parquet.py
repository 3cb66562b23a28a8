"""Parquet with a list of fixed size a protein."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedstore.errors import InputError
from embedstore.exchange.selection import Selection
from embedstore.types import Progress, ProgressCallback

_GROUP_ROWS = 8192

OURS = ("id", "key", "vector")


def write_parquet(selection: Selection, path: Path, progress: ProgressCallback) -> list[str]:
    """Write ``id``, ``key``, the columns and ``vector`` (D numbers as stored), a row group each 8,192 rows.

    The metadata of the schema say under ``embedstore`` where the vectors come from, as JSON.

    Raises
    ------
    InputError
        If an id or a column is no UTF-8 text, or a column has the name of one of ours.
    """
    clash = [name for name in selection.columns if name in OURS]
    if clash:
        raise InputError(f"Data set {selection.dataset!r} has a column {clash[0]!r}, as Parquet has of ours. Use npy.")
    space = selection.space
    numbers = pa.from_numpy_dtype(space.dtype.newbyteorder("="))
    names = ["id", "key", *selection.columns]
    schema = pa.schema(
        [*(pa.field(name, pa.string()) for name in names), pa.field("vector", pa.list_(numbers, space.dim))],
        metadata={"embedstore": json.dumps(selection.provenance, sort_keys=True)},
    )
    texts = [selection.ids, selection.keys, *selection.columns.values()]
    with pq.ParquetWriter(path, schema) as writer:
        for start, block in selection.blocks(_GROUP_ROWS):
            stop = start + len(block)
            columns = [_strings(name, values[start:stop]) for name, values in zip(names, texts, strict=True)]
            flat = pa.array(np.ascontiguousarray(block, space.dtype.newbyteorder("=")).ravel(), numbers)
            vectors = pa.FixedSizeListArray.from_arrays(flat, space.dim)
            writer.write_batch(pa.record_batch([*columns, vectors], schema=schema), row_group_size=_GROUP_ROWS)
            progress(Progress(stage="export", done=stop, total=len(selection), unit="proteins"))
    return []


def _strings(name: str, values: list[str]) -> Any:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError as error:
        raise InputError(
            f"The column {name!r} holds {str(error.object)[:40]!r}, which is not UTF-8 as Parquet's texts are. "
            "Choose another format: h5, npy, npz."
        ) from error
