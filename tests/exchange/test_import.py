"""Import: every entry of a file is stored under the right sequence, or named with the reason."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import embedstore
from embedstore.embedding.query import check_model, embed_records, load_space_model
from embedstore.errors import FileFormatError, InputError, MissingFileError, SpaceMismatchError, UnknownNameError
from embedstore.exchange import import_vectors
from embedstore.store import Store
from embedstore.testing.exchange_files import (
    DIM,
    PROTEINS,
    biotrainer_h5,
    esm_pt,
    matrices_of,
    numbered_h5,
    uniprot_h5,
    vectors_of,
)
from embedstore.types import Record

NAMES = list(PROTEINS)
PLAIN = [name for name in NAMES if "/" not in name]


def stored(store: Store, space: str, name: str) -> np.ndarray[Any, Any]:
    dataset = store.dataset("mine")
    return store.any_space(space).take(dataset.digests[[dataset.ids().index(name)]])[0]


def npz(path: Path, vectors: dict[str, Any], name: str = "vectors") -> Path:
    np.savez(path, ids=np.array(list(vectors)), **{name: np.stack(list(vectors.values()))})
    return path


@pytest.mark.parametrize("write", [numbered_h5, biotrainer_h5, uniprot_h5, npz])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_vectors_of_each_layout_are_stored_bit_by_bit(store: Store, tmp_path: Path, write: Any, dtype: str) -> None:
    vectors = vectors_of(NAMES, dtype)
    report = import_vectors(store, write(tmp_path / "vectors.npz", vectors), dataset="mine")
    assert (report.n_read, report.n_stored, report.n_repeated, report.n_left_out) == (5, 4, 1, 0)
    for name in NAMES:
        found = stored(store, report.space, name)
        assert found.dtype == dtype
        assert found.tobytes() == vectors[name].tobytes()
    assert embedstore.verify(store).ok


@pytest.mark.parametrize("write", [numbered_h5, biotrainer_h5, uniprot_h5])
def test_matrices_make_a_space_of_residues(store: Store, tmp_path: Path, write: Any) -> None:
    matrices = matrices_of(NAMES)
    report = import_vectors(store, write(tmp_path / "m.h5", matrices), dataset="mine")
    assert store.residue_space(report.space).identity["pooling"] == "residues"
    for name in NAMES:
        assert stored(store, report.space, name).tobytes() == matrices[name].tobytes()
    assert embedstore.verify(store).ok


@pytest.mark.parametrize(
    ("write", "name"),
    [(uniprot_h5, "uniprot-h5"), (numbered_h5, "bio-embeddings-h5"), (biotrainer_h5, "biotrainer-h5"), (npz, "npz")],
)
def test_the_format_is_known_by_content_and_not_by_name(store: Store, tmp_path: Path, write: Any, name: str) -> None:
    written = write(tmp_path / "data.npz", vectors_of(NAMES))
    odd = written.rename(tmp_path / "data.bin")
    assert import_vectors(store, odd, dataset="mine").format == name


@pytest.mark.parametrize("key", ["vectors", "embeddings"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_has_ids_and_vectors_or_embeddings(store: Store, tmp_path: Path, key: str, save: Any) -> None:
    vectors = vectors_of(NAMES, ">f4")
    save(tmp_path / "v.npz", ids=np.array(NAMES), **{key: np.stack(list(vectors.values()))})
    report = import_vectors(store, tmp_path / "v.npz", dataset="mine")
    assert stored(store, report.space, "plain").tolist() == vectors["plain"].tolist()


@pytest.mark.parametrize("layout", ["txt", "headless tsv", "tsv", "elsewhere"])
def test_npy_has_its_ids_beside_it(store: Store, tmp_path: Path, layout: str) -> None:
    vectors = vectors_of(NAMES)
    np.save(tmp_path / "v.npy", np.stack(list(vectors.values())))
    ids = None
    if layout == "tsv":
        text = "".join(["score\tid\n", *(f"1\t{name}\n" for name in NAMES)])
    else:
        text = "".join(f"{name}\n" for name in NAMES)
    file = tmp_path / {"txt": "v.txt", "elsewhere": "ids of v.txt"}.get(layout, "v.tsv")
    file.write_text(text, encoding="utf-8")
    if layout == "elsewhere":
        with pytest.raises(MissingFileError, match="has no ids beside it"):
            import_vectors(store, tmp_path / "v.npy", dataset="mine")
        ids = file
    report = import_vectors(store, tmp_path / "v.npy", dataset="mine", ids=ids)
    assert (report.n_stored, report.n_left_out) == (4, 0)
    assert stored(store, report.space, "œ-ünï").tobytes() == vectors["œ-ünï"].tobytes()


def esm_documents(dtype: torch.dtype = torch.float32) -> dict[str, dict[str, Any]]:
    documents: dict[str, dict[str, Any]] = {}
    for name, matrix in matrices_of(NAMES, "float32").items():
        states = {layer: torch.tensor(matrix * layer).to(dtype) for layer in (6, 33)}
        documents[name] = {
            "representations": states,
            "mean_representations": {layer: state.mean(0) for layer, state in states.items()},
            "bos_representations": {layer: state[0] for layer, state in states.items()},
        }
    return documents


@pytest.mark.parametrize(("pooling", "kind"), [("mean", "mean_"), ("residues", ""), ("bos", "bos_")])
def test_esm_folders_give_the_kind_and_layer_that_were_chosen(
    store: Store, tmp_path: Path, pooling: str, kind: str
) -> None:
    documents = esm_documents()
    folder = esm_pt(tmp_path / "out", documents)
    with pytest.raises(InputError, match=r"more than one pooling; it has mean, residues, bos"):
        import_vectors(store, folder, dataset="mine")
    with pytest.raises(InputError, match=r"more than one layer; it has 6, 33"):
        import_vectors(store, folder, dataset="mine", pooling=pooling)
    with pytest.raises(InputError, match="has no layer 12"):
        import_vectors(store, folder, dataset="mine", pooling=pooling, layer=12)
    report = import_vectors(store, folder, dataset="mine", pooling=pooling, layer=33)
    assert (report.format, report.n_stored) == ("esm-pt", 4)
    identity = store.any_space(report.space).identity
    assert (identity["layer"], identity["pooling"]) == (33, pooling)
    expected = documents["P2/b.c d"][f"{kind}representations"][33].numpy()
    assert stored(store, report.space, "P2/b.c d").tobytes() == expected.tobytes()


def test_esm_labels_are_headers_whose_first_word_is_the_id(store: Store, tmp_path: Path) -> None:
    tensor = torch.arange(1, DIM + 1, dtype=torch.bfloat16)
    label = "plain some protein OS=Homo sapiens"
    report = import_vectors(
        store, esm_pt(tmp_path / "out", {label: {"mean_representations": {33: tensor}}}), dataset="mine"
    )
    assert stored(store, report.space, "plain").tolist() == tensor.tolist()
    assert store.any_space(report.space).dtype == np.float32


def test_means_that_extract_py_may_have_cut_are_a_warning(store: Store, tmp_path: Path) -> None:
    (tmp_path / "long.fasta").write_text(">long\n" + "MKV" * 400 + "\n")
    documents = {"long": {"mean_representations": {33: torch.ones(DIM)}}}
    report = import_vectors(store, esm_pt(tmp_path / "out", documents), dataset="long", fasta=tmp_path / "long.fasta")
    assert "1 proteins are longer than 1,022 residues" in report.warnings[0]


def test_ids_match_exactly_and_never_in_part(store: Store, tmp_path: Path) -> None:
    names = ["plain", "plain ", "Plain", "plai", "P11111", "sp|P11111"]
    report = import_vectors(store, uniprot_h5(tmp_path / "v.h5", vectors_of(names)), dataset="mine")
    assert report.n_stored == 1
    assert sorted(name for name, _ in report.left_out) == sorted(names[1:])
    assert report.reasons == {"its id is not in the data set": 5}


def test_accessions_match_uniprot_headers_only_when_asked_to(store: Store, tmp_path: Path) -> None:
    file = uniprot_h5(tmp_path / "per-protein.h5", vectors_of(["P11111", "Q99999"]))
    with pytest.raises(InputError, match=r"--match accession"):
        import_vectors(store, file, dataset="mine")
    report = import_vectors(store, file, dataset="mine", match="accession")
    assert (report.n_stored, [name for name, _ in report.left_out]) == (1, ["Q99999"])
    with pytest.raises(InputError, match="Unknown rule 'fuzzy'"):
        import_vectors(store, file, dataset="mine", match="fuzzy")


def test_what_cannot_be_stored_is_named_with_the_reason(store: Store, tmp_path: Path) -> None:
    vectors = vectors_of(PLAIN)
    vectors["twin"] = vectors["twin"] * np.nan
    vectors["plain"] = np.zeros(DIM, "float16")
    vectors["œ-ünï"] = np.ones(DIM + 1, "float16")
    vectors["stranger"] = np.ones(DIM, "float16")
    report = import_vectors(store, uniprot_h5(tmp_path / "v.h5", vectors), dataset="mine")
    assert dict(report.left_out) == {
        "twin": "it holds NaN or infinity",
        "plain": "its vector is zero",
        "œ-ünï": "it has 7 dimensions; the others have 6",
        "stranger": "its id is not in the data set",
    }
    assert report.n_read == report.n_stored + report.n_left_out == 5
    assert report.n_without == 3
    assert len(store.any_space(report.space).skipped) == 3
    assert embedstore.verify(store).ok


def test_matrices_of_another_length_are_named_and_not_trimmed(store: Store, tmp_path: Path) -> None:
    matrices = matrices_of(NAMES)
    matrices["plain"] = np.ones((len(PROTEINS["plain"]) + 2, DIM), "float16")
    matrices["œ-ünï"] = matrices["œ-ünï"][1:]
    matrices["sp|P11111|ONE_HUMAN"] = matrices["sp|P11111|ONE_HUMAN"].copy()
    matrices["sp|P11111|ONE_HUMAN"][3] = 0
    report = import_vectors(store, numbered_h5(tmp_path / "m.h5", matrices), dataset="mine")
    assert dict(report.left_out) == {
        "plain": "its matrix has 2 rows more than its protein has residues",
        "œ-ünï": "its matrix has 1 rows fewer than its protein has residues",
        "sp|P11111|ONE_HUMAN": "a residue's vector is zero",
    }
    assert embedstore.verify(store).ok


def test_an_id_of_several_sequences_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text("id,sequence\na,MKV\na,MKVV\nb,MKL\n")
    store.add("two", tmp_path / "two.csv")
    report = import_vectors(store, uniprot_h5(tmp_path / "v.h5", vectors_of(["a", "b"])), dataset="two")
    assert report.left_out == [("a", "its id stands for several sequences of the data set")]


def test_two_vectors_of_one_sequence_are_an_error_unless_the_first_is_kept(store: Store, tmp_path: Path) -> None:
    vectors = vectors_of(NAMES)
    vectors["twin"] = vectors["twin"] + np.float16(0.5)
    file = numbered_h5(tmp_path / "v.h5", vectors)
    with pytest.raises(InputError, match=r"'twin' cannot be stored: the vector of 'P2/b.c d'.*by up to 0\.5"):
        import_vectors(store, file, dataset="mine")
    report = import_vectors(store, file, dataset="mine", on_conflict="first")
    assert report.left_out == [("twin", "its sequence came before with another vector")]
    assert stored(store, report.space, "twin").tobytes() == vectors["P2/b.c d"].tobytes()
    assert embedstore.verify(store).ok


def test_a_file_again_adds_nothing_and_more_proteins_add_only_themselves(store: Store, tmp_path: Path) -> None:
    file = uniprot_h5(tmp_path / "v.h5", vectors_of([*NAMES, "later"]))
    first = import_vectors(store, file, dataset="mine")
    again = import_vectors(store, file, dataset="mine")
    assert (again.space, again.n_stored, again.n_present, again.n_repeated) == (first.space, 0, 4, 1)
    assert len(store.any_space(first.space).builds) == 1
    (tmp_path / "more.fasta").write_text(f">later\nWWWKV\n>plain\n{PROTEINS['plain']}\n")
    more = import_vectors(store, file, dataset="more", fasta=tmp_path / "more.fasta")
    assert (more.space, more.n_stored, more.n_present) == (first.space, 1, 1)
    assert embedstore.verify(store).ok


def test_a_renamed_file_is_the_same_and_a_changed_one_another_space(store: Store, tmp_path: Path) -> None:
    file = uniprot_h5(tmp_path / "v.h5", vectors_of(NAMES))
    first = import_vectors(store, file, dataset="mine")
    renamed = import_vectors(store, file.rename(tmp_path / "w.h5"), dataset="mine")
    assert renamed.space == first.space
    other = import_vectors(store, uniprot_h5(tmp_path / "v.h5", vectors_of(NAMES, seed=2)), dataset="mine")
    assert other.space != first.space


def test_more_files_join_a_space_by_word_only_if_they_fit(store: Store, tmp_path: Path) -> None:
    vectors = vectors_of(NAMES)
    halves = [dict(list(vectors.items())[:2]), dict(list(vectors.items())[2:])]
    first = import_vectors(store, numbered_h5(tmp_path / "a.h5", halves[0]), dataset="mine", model="prot_t5")
    assert first.n_without == 2
    second = import_vectors(store, numbered_h5(tmp_path / "b.h5", halves[1]), dataset="mine", into=first.space)
    assert (second.space, second.n_stored, second.n_present, second.n_without) == (first.space, 2, 1, 0)
    assert not store.any_space(first.space).skipped
    with pytest.raises(SpaceMismatchError, match="6 x float16.*holds vectors of 6 x float32"):
        other = numbered_h5(tmp_path / "c.h5", vectors_of(NAMES, "float32"))
        import_vectors(store, other, dataset="mine", into=first.space)
    with pytest.raises(InputError, match="the space holds another vector for its sequence"):
        other = numbered_h5(tmp_path / "d.h5", vectors_of(NAMES, seed=5))
        import_vectors(store, other, dataset="mine", into=first.space)


def test_a_built_space_takes_no_imports(store: Store, tmp_path: Path) -> None:
    built = embedstore.build(store, embedstore.load_model("kmer"))
    with pytest.raises(SpaceMismatchError, match="was built from weights that are known"):
        import_vectors(store, uniprot_h5(tmp_path / "v.h5", vectors_of(NAMES)), dataset="mine", into=built.space)


def test_the_identity_states_what_is_known_and_nothing_else(store: Store, tmp_path: Path) -> None:
    file = uniprot_h5(tmp_path / "v.h5", vectors_of(NAMES))
    told = store.any_space(import_vectors(store, file, dataset="mine").space).describe()
    assert (told["model"], told["pooling"], told["long"], told["origin"]) == ("unknown", "unknown", "unknown", "import")
    assert told["source_name"] == "v.h5"
    assert told["source_sha256"] == embedstore.sequences.file_sha256(file)
    assert told["source_format"] == "uniprot-h5"
    for name in ("checkpoint", "revision", "weights_sha256", "tokens_sha256", "layer", "precision", "residue_policy"):
        assert told[name] is None
    json.dumps(told)


def test_no_query_is_computed_for_an_imported_space(store: Store, tmp_path: Path) -> None:
    vectors = vectors_of(NAMES)
    report = import_vectors(store, uniprot_h5(tmp_path / "v.h5", vectors), dataset="mine", model="kmer")
    space = store.space(report.space)
    known = embed_records(space, [Record(id="x", residues=PROTEINS["plain"].encode())])
    assert known[0].tobytes() == vectors["plain"].tobytes()
    for refused in (
        lambda: embed_records(space, [Record(id="x", residues=b"WWWWW")]),
        lambda: load_space_model(space),
        lambda: check_model(space, embedstore.load_model("kmer")),
    ):
        with pytest.raises(SpaceMismatchError, match=r"was imported from v\.h5; its model is stated as 'kmer'"):
            refused()


def test_a_pooling_that_contradicts_the_arrays_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one vector a protein; pooling 'residues'"):
        file = uniprot_h5(tmp_path / "v.h5", vectors_of(NAMES))
        import_vectors(store, file, dataset="mine", pooling="residues")
    with pytest.raises(InputError, match="a matrix a protein, which is not pooled; pooling 'mean'"):
        import_vectors(store, uniprot_h5(tmp_path / "m.h5", matrices_of(NAMES)), dataset="mine", pooling="mean")
    assert store.spaces() == []


KILLED = """
import os, signal, sys
import embedstore
from embedstore.exchange import import_vectors
from embedstore.exchange import imports
from embedstore.store import space_writer, spaces
imports._BATCH_ROWS = 50
space_writer.PART_ROWS = 100
def stop(step):
    if step.stage == "import" and step.done >= 350:
        os.kill(os.getpid(), signal.SIGKILL)
import_vectors(embedstore.open(sys.argv[1]), sys.argv[2], dataset="many", progress=stop)
"""


def test_a_killed_import_goes_on_and_ends_as_if_it_had_not_been_killed(store: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    lines = [f">p{number}\n{''.join(rng.choice(letters, 30))}\n" for number in range(600)]
    (tmp_path / "many.fasta").write_text("".join(lines))
    store.add("many", tmp_path / "many.fasta")
    vectors = {f"p{number}": rng.normal(size=DIM).astype("float16") for number in range(600)}
    file = uniprot_h5(tmp_path / "v.h5", vectors)
    killed = subprocess.run([sys.executable, "-c", KILLED, store.path, file], env=os.environ, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    store.refresh()
    n_kept = store.space().n_rows
    assert 0 < n_kept < 600
    report = import_vectors(store, file, dataset="many")
    assert (report.n_present, report.n_stored) == (n_kept, 600 - n_kept)
    space, dataset = store.space(), store.dataset("many")
    due = np.stack([vectors[name] for name in dataset.ids()])
    assert space.take(dataset.digests).tobytes() == due.tobytes()
    checked = embedstore.verify(store)
    assert checked.ok, checked.problems


def write_bad(what: str, path: Path) -> None:
    vectors = np.ones((2, DIM), "float32")
    good = uniprot_h5(path.with_suffix(".good"), vectors_of(NAMES)).read_bytes()
    np.savez(path.with_suffix(".good.npz"), ids=np.array(["plain", "twin"]), vectors=vectors)
    good_npz = path.with_suffix(".good.npz").read_bytes()
    if what == "empty":
        path.write_bytes(b"")
    elif what == "text":
        path.write_text(">a\nMKV\n")
    elif what == "truncated h5":
        path.write_bytes(good[: len(good) // 2])
    elif what == "h5 without data":
        uniprot_h5(path, {})
    elif what == "h5 of tables":
        with h5py.File(path, "w") as file:
            file["Keys"], file["Values"] = np.arange(3), vectors
    elif what == "h5 half marked":
        uniprot_h5(path, {"a": vectors[0], "b": vectors[1]})
        with h5py.File(path, "r+") as file:
            file["a"].attrs["original_id"] = "plain"
    elif what == "truncated npz":
        path.write_bytes(good_npz[: len(good_npz) // 2])
    elif what == "other npz":
        with path.open("wb") as file:
            np.savez(file, plain=vectors)
    elif what == "pickled ids":
        with path.open("wb") as file:
            np.savez(file, ids=np.array(["plain", "twin"], dtype=object), vectors=vectors)
    elif what == "more vectors than ids":
        with path.open("wb") as file:
            np.savez(file, ids=np.array(["plain"]), vectors=vectors)
    elif what == "cube":
        with path.open("wb") as file:
            np.savez(file, ids=np.array(["plain", "twin"]), vectors=np.ones((2, 3, 4)))
    elif what == "integers":
        with path.open("wb") as file:
            np.savez(file, ids=np.array(["plain", "twin"]), vectors=np.ones((2, 3), int))
    elif what == "pickled npy":
        with path.open("wb") as file:
            np.save(file, np.array([{"a": 1}], dtype=object))
    elif what == "other pt":
        torch.save({"weights": torch.ones(3)}, path)
    elif what == "pt with code":
        torch.save({"label": "plain", "mean_representations": {1: Path("x")}}, path)
    elif what == "truncated pt":
        torch.save({"label": "plain", "mean_representations": {1: torch.ones(300)}}, path)
        path.write_bytes(path.read_bytes()[:600])
    elif what == "folder without pt":
        path.mkdir()
        (path / "x.h5").write_bytes(good)


BAD = {
    "empty": "is empty",
    "text": "is a file that starts with .*formats known are uniprot-h5",
    "truncated h5": "cannot be opened as HDF5.*get it again",
    "h5 without data": "holds no data set",
    "h5 of tables": "no vector or matrix",
    "h5 half marked": "others have not; expected one data set a protein",
    "truncated npz": "cut short",
    "other npz": "holds plain; expected 'ids'",
    "pickled ids": "holds Python objects, which could run code",
    "more vectors than ids": "2 vectors and 1 ids",
    "cube": r"\(2, 3, 4\)",
    "integers": "int64; expected",
    "pickled npy": "holds Python objects, which could run code",
    "other pt": "not what fair-esm's extract.py writes",
    "pt with code": "could run code when loaded: it is refused",
    "truncated pt": "cut short",
    "folder without pt": "a folder without .pt files",
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_one_clear_error_and_leaves_no_space(store: Store, tmp_path: Path, what: str) -> None:
    write_bad(what, tmp_path / "bad.bin")
    with pytest.raises(FileFormatError, match=BAD[what]) as caught:
        import_vectors(store, tmp_path / "bad.bin", dataset="mine")
    assert "\n" not in str(caught.value)
    assert store.spaces() == []


def test_links_out_of_an_h5_file_are_not_followed(store: Store, tmp_path: Path) -> None:
    secret = uniprot_h5(tmp_path / "secret.h5", vectors_of(["plain"]))
    file = uniprot_h5(tmp_path / "v.h5", vectors_of(["twin"]))
    with h5py.File(file, "r+") as opened:
        opened["plain"] = h5py.ExternalLink(str(secret), "/plain")
    report = import_vectors(store, file, dataset="mine", format="uniprot-h5")
    assert report.left_out == [("plain", "is a link to elsewhere, which is not followed")]


def test_names_that_do_not_exist_are_told(store: Store, tmp_path: Path) -> None:
    file = uniprot_h5(tmp_path / "v.h5", vectors_of(NAMES))
    with pytest.raises(UnknownNameError, match="Did you mean 'mine'"):
        import_vectors(store, file, dataset="mien")
    with pytest.raises(UnknownNameError, match="Did you mean 'uniprot-h5'"):
        import_vectors(store, file, dataset="mine", format="uniprot_h5")
    with pytest.raises(MissingFileError, match="No such file or folder"):
        import_vectors(store, tmp_path / "nothing.h5", dataset="mine")
    with pytest.raises(FileFormatError, match=r"cannot be read as \.npz"):
        import_vectors(store, file, dataset="mine", format="npz")
    with pytest.raises(InputError, match="Rostlab/prot_t5"):
        import_vectors(store, file, dataset="mine", model="Rostlab/prot_t5")
    with pytest.raises(InputError, match="Unknown on_conflict 'last'"):
        import_vectors(store, file, dataset="mine", on_conflict="last")
