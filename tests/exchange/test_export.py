"""Export: what leaves has the numbers of the store, is whole or not there, and comes back the same."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import embedstore
from embedstore.errors import InputError, MissingFileError, MissingPackageError, StoreError, UnknownNameError
from embedstore.exchange import EXPORT_FORMATS, export_vectors, import_vectors, select
from embedstore.sequences import key_text
from embedstore.store import Store
from embedstore.store.ingest import Provenance, add_records
from embedstore.testing.exchange_files import PROTEINS, matrices_of, numbered_h5, uniprot_h5, vectors_of
from embedstore.types import Record

NAMES = list(PROTEINS)
SUFFIXES = {row.name: row.suffixes[0] for row in EXPORT_FORMATS.values()}


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """With a vector for each protein but 'plain', and a matrix for each."""
    vectors = vectors_of(NAMES)
    del vectors["plain"]
    import_vectors(store, numbered_h5(tmp_path / "v.h5", vectors), dataset="mine", model="some")
    import_vectors(store, numbered_h5(tmp_path / "m.h5", matrices_of(NAMES)), dataset="mine", model="other")
    return store


def test_h5_has_a_data_set_per_id_as_uniprot_has(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text(f"id,sequence\nP1,{PROTEINS['twin']}\nsp|Q|œ,{PROTEINS['œ-ünï']}\n")
    filled.add("q", tmp_path / "q.csv")
    report = export_vectors(filled, tmp_path / "out.h5", dataset="q")
    assert report.messages == []
    with h5py.File(tmp_path / "out.h5") as file:
        assert sorted(file) == ["P1", "sp|Q|œ"]
        assert file["P1"][()].tobytes() == vectors_of(NAMES)["twin"].tobytes()
        assert file["P1"].attrs["key"] == key_text(embedstore.sequences.digest(PROTEINS["twin"].encode()))
        assert json.loads(file.attrs["embedstore"])["identity"]["origin"] == "import"


def test_ids_that_cannot_name_h5_data_sets_number_them_all(filled: Store, tmp_path: Path) -> None:
    report = export_vectors(filled, tmp_path / "out.h5")
    assert "'P2/b.c d' cannot name" in report.messages[0]
    with h5py.File(tmp_path / "out.h5") as file:
        assert [file[name].attrs["original_id"] for name in sorted(file)] == NAMES[:4]


def test_what_has_no_vector_is_named_with_the_reason(filled: Store, tmp_path: Path) -> None:
    report = export_vectors(filled, tmp_path / "out.npz")
    assert report.missing == [("plain", "the imported files have no vector for it")]
    assert (report.n_written, report.n_missing) == (4, 1)
    (tmp_path / "new.fasta").write_text(f">a\nWWW\n>b\n{PROTEINS['twin']}\n")
    filled.add("new", tmp_path / "new.fasta")
    assert export_vectors(filled, tmp_path / "new.npz", dataset="new").missing == [("a", "not embedded yet")]


def test_npy_has_a_table_beside_it(filled: Store, tmp_path: Path) -> None:
    report = export_vectors(filled, tmp_path / "out.npy")
    assert report.files == [str(tmp_path / "out.npy"), str(tmp_path / "out.tsv")]
    with (tmp_path / "out.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, dialect="excel-tab"))
    assert [row["id"] for row in rows] == NAMES[:4]
    assert list(rows[0]) == ["id", "key", "family", "split"]
    vectors = np.load(tmp_path / "out.npy")
    assert (vectors.dtype, vectors.shape) == (np.float16, (4, 6))
    assert vectors[1].tobytes() == vectors_of(NAMES)["twin"].tobytes()


def test_parquet_has_lists_of_fixed_size_and_says_where_they_come_from(filled: Store, tmp_path: Path) -> None:
    export_vectors(filled, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["id", "key", "family", "split", "vector"]
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: halffloat>[6]"
    assert table["id"].to_pylist() == NAMES[:4]
    vectors = np.stack([np.array(row, "float16") for row in table["vector"].to_pylist()])
    assert vectors.tobytes() == select(filled).vectors().tobytes()
    assert json.loads(table.schema.metadata[b"embedstore"])["identity"]["model"] == "some"


def test_anndata_reads_its_file(filled: Store, tmp_path: Path) -> None:
    export_vectors(filled, tmp_path / "out.h5ad")
    table = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(table.obs_names) == NAMES[:4]
    assert list(table.obs.columns) == ["key", "family", "split"]
    assert list(table.obs["family"]) == select(filled).columns["family"]
    assert np.asarray(table.X).tobytes() == select(filled).vectors().tobytes()
    assert json.loads(table.uns["embedstore"])["identity"]["source_name"] == "v.h5"
    backed = anndata.read_h5ad(tmp_path / "out.h5ad", backed="r")
    assert backed.shape == (4, 6)
    backed.file.close()


@pytest.mark.parametrize("name", ["h5", "npy", "npz"])
def test_what_was_exported_comes_back_bit_by_bit(filled: Store, tmp_path: Path, name: str) -> None:
    out = tmp_path / f"out{SUFFIXES[name]}"
    export_vectors(filled, out, space="some")
    back = import_vectors(filled, out, dataset="mine")
    assert (back.n_left_out, back.n_without) == (0, 1)
    before = select(filled, space="some")
    after = select(filled, space=back.space)
    assert before.ids == after.ids
    assert before.vectors().tobytes() == after.vectors().tobytes()


def test_matrices_come_back_bit_by_bit(filled: Store, tmp_path: Path) -> None:
    report = export_vectors(filled, tmp_path / "out.h5", residues=True)
    assert report.n_written == 5
    back = import_vectors(filled, tmp_path / "out.h5", dataset="mine")
    matrices = select(filled, space=back.space, residues=True).matrices()
    assert [m.tobytes() for m in matrices] == [m.tobytes() for m in matrices_of(NAMES).values()]
    with pytest.raises(InputError, match="matrices of residues go into h5"):
        export_vectors(filled, tmp_path / "out.npz", residues=True)


# Whatever an id may be: any text without a line break, bytes that are no UTF-8 among it.
IDS = st.text(
    st.one_of(st.sampled_from("/.|: \t\"',;\\%~\udc80\udcff\x00œ蛋"), st.characters(exclude_characters="\r\n")),
    min_size=1,
    max_size=12,
).filter(lambda text: _is_an_id(text))


def _is_an_id(text: str) -> bool:
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == text
    except UnicodeEncodeError:
        return False


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(IDS, min_size=1, max_size=6, unique=True), name=st.sampled_from(["h5", "npy", "npz"]))
def test_any_id_goes_out_and_comes_back(tmp_path_factory: pytest.TempPathFactory, ids: list[str], name: str) -> None:
    folder = tmp_path_factory.mktemp("ids")
    store = embedstore.open(folder / "store.zarr", mode="a")
    records = [Record(id=one, residues=b"MKV" + b"A" * number) for number, one in enumerate(ids)]
    nothing = Provenance(sources=[], normalised={}, rejected=[], warnings=[])
    add_records(store.path, "d", records, known=store.sequences, provenance=lambda: nothing)
    vectors = np.random.default_rng(0).normal(size=(len(ids), 3)).astype("float32")
    np.save(folder / "v.npy", vectors)
    rows = [[one] for one in ids]
    with (folder / "v.tsv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file, dialect="excel-tab").writerows([["id"], *rows])
    first = import_vectors(store, folder / "v.npy", dataset="d")
    out = folder / f"out{SUFFIXES[name]}"
    if name == "npz" and any(one.endswith("\0") for one in ids):
        with pytest.raises(InputError, match="ends in NUL"):
            export_vectors(store, out, space=first.space)
        return
    export_vectors(store, out, space=first.space)
    back = import_vectors(store, out, dataset="d")
    assert (back.n_stored, back.n_left_out) == (len(ids), 0)
    assert select(store, space=back.space).vectors().tobytes() == vectors.tobytes()


@pytest.mark.parametrize("name", SUFFIXES)
def test_a_file_that_is_there_is_replaced_only_when_told_to(filled: Store, tmp_path: Path, name: str) -> None:
    out = tmp_path / f"out{SUFFIXES[name]}"
    out.write_text("mine")
    with pytest.raises(InputError, match="is there already.*--force"):
        export_vectors(filled, out, space="some")
    assert out.read_text() == "mine"
    assert export_vectors(filled, out, space="some", overwrite=True).n_bytes > 100


@pytest.mark.parametrize("name", SUFFIXES)
def test_an_export_that_fails_leaves_nothing(filled: Store, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_vectors(filled, folder / f"out{SUFFIXES[name]}", space="some", progress=stop)
    assert list(folder.iterdir()) == []


def test_splits_and_limits_choose_rows(filled: Store, tmp_path: Path) -> None:
    lines = [
        f"{name.replace('/', '-')},{residues},{split}"
        for (name, residues), split in zip(PROTEINS.items(), ["train", "test", "train", "test", "train"], strict=True)
    ]
    (tmp_path / "s.csv").write_text("\n".join(["id,sequence,split", *lines, ""]), encoding="utf-8")
    filled.add("s", tmp_path / "s.csv")
    assert select(filled, dataset="s", split="test").ids == ["P2-b.c d", "œ-ünï"]
    assert select(filled, dataset="s", split="train", limit=1).ids == [NAMES[0]]
    assert [one for one, _ in select(filled, dataset="s", split="train").missing] == ["plain"]
    with pytest.raises(InputError, match="No row.*'valid'. Known: test, train"):
        select(filled, dataset="s", split="valid")
    with pytest.raises(InputError, match="Which data set: mine, s"):
        select(filled)


@pytest.mark.parametrize("name", ["h5", "anndata"])
def test_ids_that_are_there_twice_are_refused_where_ids_are_names(store: Store, tmp_path: Path, name: str) -> None:
    (tmp_path / "two.csv").write_text("id,sequence\na,MKV\na,MKV\n")
    store.add("two", tmp_path / "two.csv")
    import_vectors(store, uniprot_h5(tmp_path / "v.h5", vectors_of(["a"])), dataset="two")
    with pytest.raises(InputError, match="Id 'a' is in data set 'two' more than once"):
        export_vectors(store, tmp_path / f"out{SUFFIXES[name]}", dataset="two")
    assert export_vectors(store, tmp_path / "out.parquet", dataset="two").n_written == 2


def test_what_cannot_be_written_is_told(filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"does not end in one of \.h5 \(h5\)"):
        export_vectors(filled, tmp_path / "out.csv")
    with pytest.raises(UnknownNameError, match="Did you mean 'npy'"):
        export_vectors(filled, tmp_path / "out.npy", format="npyy")
    with pytest.raises(MissingFileError, match="No such folder"):
        export_vectors(filled, tmp_path / "nowhere" / "out.h5")
    with pytest.raises(UnknownNameError, match="Unknown space 'prot_t5'"):
        export_vectors(filled, tmp_path / "out.h5", space="prot_t5")
    with pytest.raises(StoreError, match="no such vectors yet"):
        empty = embedstore.open(tmp_path / "empty.zarr", mode="a")
        empty.add("mine", tmp_path / "mine.csv")
        export_vectors(empty, tmp_path / "out.h5")
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'embedstore\[exchange\]'"):
        export_vectors(filled, tmp_path / "out.h5ad")
    assert not (tmp_path / "out.h5ad").exists()
