"""Files of vectors in the layouts of the tools that write them, made small."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

DIM = 6
"""Length of the vectors."""

PROTEINS = {
    "sp|P11111|ONE_HUMAN": "MKTAYIAKQRQISFVK",
    "P2/b.c d": "GAVLIPFMW",
    "twin": "GAVLIPFMW",
    "œ-ünï": "STCNQDEKRHYX",
    "plain": "MMMMKVLAAAG",
}
"""Sequences by id; two of them are the same."""

Arrays = Mapping[str, NDArray[Any]]
"""Vectors or matrices by id."""


def vectors_of(names: Iterable[str], dtype: str = "float16", seed: int = 0) -> dict[str, NDArray[Any]]:
    """A vector an id; ids of one sequence get the same."""
    rng = np.random.default_rng(seed)
    by_sequence: dict[str, NDArray[Any]] = {}
    return {
        name: by_sequence.setdefault(PROTEINS.get(name, name), rng.normal(size=DIM).astype(dtype)) for name in names
    }


def matrices_of(names: Iterable[str], dtype: str = "float16") -> dict[str, NDArray[Any]]:
    """A matrix an id, a row a residue of `PROTEINS`; ids of one sequence get the same."""
    rng = np.random.default_rng(1)
    by_sequence: dict[str, NDArray[Any]] = {}
    return {
        name: by_sequence.setdefault(PROTEINS[name], rng.normal(size=(len(PROTEINS[name]), DIM)).astype(dtype))
        for name in names
    }


def uniprot_h5(path: Path, arrays: Arrays) -> Path:
    """UniProt: per-protein.h5 and per-residue.h5, a data set an accession."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return path


def numbered_h5(path: Path, arrays: Arrays) -> Path:
    """The files of bio_embeddings: embeddings_file.h5 and reduced_embeddings_file.h5."""
    with h5py.File(path, "w") as file:
        for number, (name, array) in enumerate(arrays.items()):
            file.create_dataset(str(number), data=array)
            file[str(number)].attrs["original_id"] = name
    return path


def biotrainer_h5(path: Path, arrays: Arrays) -> Path:
    """Biotrainer: data sets named by the hash of the sequence."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            hashed = hashlib.sha256(name.encode()).hexdigest()
            file.create_dataset(hashed, data=array, compression="gzip", chunks=True)
            file[hashed].attrs["original_id"] = name
    return path


def esm_pt(folder: Path, documents: Mapping[str, dict[str, Any]]) -> Path:
    """A folder as fair-esm's extract.py writes it: a file a label, whose slashes make folders."""
    for label, document in documents.items():
        file = folder / f"{label}.pt"
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"label": label, **document}, file)
    return folder
