"""HDF5 with one data set a protein, as UniProt writes it, or numbered where ids cannot name data sets."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from embedstore.exchange.selection import Selection
from embedstore.sequences import key_text
from embedstore.store.datasets import encode
from embedstore.types import Progress, ProgressCallback

_AT_ONCE = 64


def write_h5(selection: Selection, path: Path, progress: ProgressCallback) -> list[str]:
    """Write a data set per id: (D,), or (L, D) of a space of residues; the file's attributes say where they come from.

    Where an id cannot name a data set (a slash makes groups), all of them are numbered, with the id in the attribute
    ``original_id`` as in bio_embeddings: one layout a file.
    """
    ids = selection.unique_ids(purpose="HDF5 with a data set per id")
    invalid_id = next((id_ for id_ in ids if not _is_valid_name(id_)), None)
    residues = selection.space.values == "residues"
    with h5py.File(path, "w") as file:
        file.attrs["embedstore"] = json.dumps(selection.provenance, sort_keys=True)
        for start in range(0, len(ids), _AT_ONCE):
            stop = min(start + _AT_ONCE, len(ids))
            arrays = selection.matrices(start, stop) if residues else selection.vectors(start, stop)
            for row, array in zip(range(start, stop), arrays, strict=True):
                data = file.create_dataset(ids[row] if invalid_id is None else str(row), data=array)
                data.attrs["key"] = key_text(selection.digests[row].tobytes())
                if invalid_id is not None:
                    data.attrs["original_id"] = _attribute(ids[row])
            progress(Progress(stage="export", done=stop, total=len(ids), unit="proteins"))
    if invalid_id is None:
        return []
    return [
        f"Ids such as {invalid_id!r} cannot name HDF5 data sets: all are numbered, with the id in the attribute "
        "original_id."
    ]


def _is_valid_name(id_: str) -> bool:
    return id_ not in ("", ".", "..") and "/" not in id_ and _is_text(id_)


def _is_text(id_: str) -> bool:
    """Whether HDF5 can hold it as text: UTF-8 without NUL."""
    return "\0" not in id_ and not any("\ud800" <= letter <= "\udfff" for letter in id_)


def _attribute(id_: str) -> str | np.void:
    # Ids that are no text go in as the bytes that they are.
    return id_ if _is_text(id_) else np.void(encode(id_))
