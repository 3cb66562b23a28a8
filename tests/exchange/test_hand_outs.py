"""Vectors as objects of NumPy, pandas, xarray and PyTorch: ids travel with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import embedstore
from embedstore.errors import InputError, MissingPackageError, UnknownNameError
from embedstore.exchange import collate_residues, import_vectors, to_frame, to_numpy, to_torch, to_xarray
from embedstore.models import load_model
from embedstore.store import Store
from embedstore.testing.exchange_files import DIM, PROTEINS, matrices_of, numbered_h5, vectors_of

NAMES = list(PROTEINS)
VECTORS = np.stack(list(vectors_of(NAMES).values()))


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    import_vectors(store, numbered_h5(tmp_path / "v.h5", vectors_of(NAMES)), dataset="mine", model="some")
    import_vectors(store, numbered_h5(tmp_path / "m.h5", matrices_of(NAMES)), dataset="mine", model="other")
    return store


def test_numpy_gets_ids_and_vectors(filled: Store) -> None:
    ids, vectors = to_numpy(filled)
    assert ids == NAMES
    assert vectors.tobytes() == VECTORS.tobytes()


def test_pandas_gets_a_row_a_protein(filled: Store) -> None:
    frame = to_frame(filled, limit=3)
    assert list(frame.index) == NAMES[:3]
    assert list(frame.columns) == ["key", "family", "split", *(f"v{number}" for number in range(DIM))]
    assert frame.filter(regex=r"^v\d").to_numpy().tobytes() == VECTORS[:3].tobytes()


def test_xarray_is_labelled_and_says_where_the_vectors_come_from(filled: Store) -> None:
    array = to_xarray(filled)
    assert array.dims == ("protein", "feature")
    assert array.shape == (5, DIM)
    assert list(array["id"].values) == NAMES
    assert set(array.coords) == {"id", "key", "family", "split"}
    assert array.attrs["dataset"] == "mine"
    assert array.values.tobytes() == VECTORS.tobytes()


def test_xarray_reads_the_rows_that_are_asked_for_and_no_others(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    space = filled.space()
    take = type(space).take
    monkeypatch.setattr(type(space), "take", lambda self, digests: asked.append(len(digests)) or take(self, digests))
    array = to_xarray(filled)
    assert asked == []
    chosen: list[tuple[Any, Any]] = [
        (array[1:3], VECTORS[1:3]),
        (array[::-1, 2:4], VECTORS[::-1, 2:4]),
        (array[[4, 0]], VECTORS[[4, 0]]),
        (array[2], VECTORS[2]),
        (array[2, 3], VECTORS[2, 3]),
        (array[array["family"] == array["family"][0]], VECTORS[(array["family"] == array["family"][0]).values]),
    ]
    for lazy, due in chosen:
        np.testing.assert_array_equal(lazy.values, due)
    assert asked == [2, 5, 2, 1, 1, len(chosen[-1][1])]


def test_xarray_that_is_missing_is_told(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingPackageError, match="'xarray' is not installed; it is needed for to_xarray"):
        to_xarray(filled)


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, embedstore.exchange\nembedstore.exchange.select, embedstore.exchange.export_vectors\n"
    code += "embedstore.exchange.to_frame\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_torch_gets_vectors_and_labels(filled: Store) -> None:
    data = to_torch(filled, label="family")
    assert (len(data), data.dim, data.classes, data.ids) == (5, DIM, ["fam0", "fam1"], NAMES)
    vector, label = data[3]
    assert vector.dtype == torch.float32
    np.testing.assert_array_equal(vector.numpy(), VECTORS[3].astype(np.float32))
    assert (label.item(), label.dtype) == (0, torch.int64)
    assert to_torch(filled, dtype=torch.float16)[0].numpy().tobytes() == VECTORS[0].tobytes()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_open_the_store_for_themselves(filled: Store, context: str) -> None:
    data = to_torch(filled, label="family")
    # Read before the workers start: what is open here must not be what they read.
    first = data[0]
    loader = DataLoader(data, batch_size=2, num_workers=2, multiprocessing_context=context)
    batches = list(loader)
    assert torch.cat([vectors for vectors, _ in batches]).numpy().tobytes() == VECTORS.astype(np.float32).tobytes()
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 1, 0, 1]
    assert torch.equal(first[0], batches[0][0][0])


def test_residues_are_padded_with_a_mask(filled: Store) -> None:
    data = to_torch(filled, residues=True, label="family")
    (batch,) = DataLoader(data, batch_size=5, collate_fn=collate_residues)
    lengths = [len(residues) for residues in PROTEINS.values()]
    assert batch.values.shape == (5, 16, DIM)
    assert batch.mask.sum(1).tolist() == lengths
    assert batch.labels.tolist() == [0, 1, 1, 0, 1]
    for row, matrix in enumerate(matrices_of(NAMES).values()):
        np.testing.assert_array_equal(batch.values[row][batch.mask[row]].numpy(), matrix.astype(np.float32))
        assert not batch.values[row][~batch.mask[row]].any()
    assert collate_residues([data[0][0]]).labels is None


def test_labels_a_residue_are_padded_with_what_the_loss_ignores(filled: Store, tmp_path: Path) -> None:
    lines = [
        f"r{number},{residues},{'HE' * 20}"[: len(f"r{number},{residues},") + len(residues)]
        for number, residues in enumerate(PROTEINS.values())
    ]
    (tmp_path / "r.csv").write_text("\n".join(["id,sequence,structure", *lines, ""]))
    filled.add("r", tmp_path / "r.csv")
    data = to_torch(filled, dataset="r", residues=True, label="structure", label_type="residues")
    (batch,) = DataLoader(data, batch_size=5, collate_fn=collate_residues)
    assert data.classes == ["E", "H"]
    assert batch.labels.shape == (5, 16)
    assert torch.equal(batch.labels == -100, ~batch.mask)
    assert batch.labels[1][:4].tolist() == [1, 0, 1, 0]


def test_labels_that_do_not_fit_are_named(filled: Store) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'family'"):
        to_torch(filled, label="familie")
    with pytest.raises(InputError, match="Label 'fam1' is none of the 1 classes"):
        to_torch(filled, label="family", classes=["fam0"])
    with pytest.raises(InputError, match="not a number"):
        to_torch(filled, label="family", label_type="number")
    with pytest.raises(InputError, match="pass residues=True"):
        to_torch(filled, label="family", label_type="residues")
    with pytest.raises(InputError, match="has 16 residues and 4 labels"):
        to_torch(filled, label="family", label_type="residues", residues=True)
    with pytest.raises(InputError, match="Unknown label_type 'klass'"):
        to_torch(filled, label="family", label_type="klass")


def test_pytorch_reads_from_object_storage_too(tmp_path: Path) -> None:
    file = tmp_path / "p.fasta"
    file.write_text(">a\nMKV\n>b\nMKL\n")
    store = embedstore.open("memory://torch-data-set/store.zarr", mode="a")
    store.add("mine", file)
    embedstore.build(store, load_model("kmer"))
    vectors = torch.stack([to_torch(store)[row] for row in range(2)])
    np.testing.assert_array_equal(vectors.numpy(), store.space().take(store.dataset("mine").digests))
