"""AnnData (``.h5ad``): the table by AnnData itself, X streamed in the layout of its specification.

On-disk format: https://anndata.readthedocs.io/en/latest/fileformat-prose.html.
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from embedstore.catalog import require_package
from embedstore.errors import InputError
from embedstore.exchange.selection import Selection
from embedstore.types import Progress, ProgressCallback

_BLOCK_ROWS = 1024


def write_anndata(selection: Selection, path: Path, progress: ProgressCallback) -> list[str]:
    """Write X (N, D), obs by id with ``key`` and the columns, and ``uns["embedstore"]``, a JSON text.

    Raises
    ------
    MissingPackageError
        If anndata is not installed.
    InputError
        If an id is there twice, or is no UTF-8 text.
    """
    anndata = require_package("anndata", purpose="AnnData files", extra="exchange")
    ids = selection.unique_ids(purpose="AnnData")
    obs = pd.DataFrame({"key": selection.keys, **selection.columns}, index=pd.Index(ids, dtype=object), dtype=object)
    var = pd.DataFrame(index=pd.Index([str(number) for number in range(selection.space.dim)], dtype=object))
    table = anndata.AnnData(obs=obs, var=var, uns={"embedstore": json.dumps(selection.provenance, sort_keys=True)})
    try:
        table.write_h5ad(path)
    except UnicodeEncodeError as error:
        raise InputError(
            f"Data set {selection.dataset!r} holds {str(error.object)[:40]!r}, which is not UTF-8 as AnnData's texts "
            "are. Choose another format: h5, npy, npz."
        ) from error
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        rows = min(_BLOCK_ROWS, len(selection))
        X = file.create_dataset(
            "X", (len(selection), selection.space.dim), selection.space.dtype, chunks=(rows, selection.space.dim)
        )
        X.attrs["encoding-type"], X.attrs["encoding-version"] = "array", "0.2.0"
        for start, block in selection.blocks(rows):
            X[start : start + len(block)] = np.asarray(block)
            progress(Progress(stage="export", done=start + len(block), total=len(selection), unit="proteins"))
    return []
