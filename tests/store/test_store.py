"""Data sets in a store: nothing lost, nothing altered, nothing half-written."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import zarr

import embedstore
from embedstore.errors import (
    EmbedstoreError,
    InputError,
    MissingFileError,
    SequenceError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriteError,
    UnknownNameError,
)
from embedstore.sequences import digest
from embedstore.store import Store

PROTEINS = {
    "sp|P1|A/B human": "MKTAYIAKQRQISFVK",
    "twin one": "GAVLIPFMW",
    "twin.two": "GAVLIPFMW",
    "œ-ünï": "STCNQDEKRHYX",
}


def fasta(path: Path, proteins: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{residues}\n" for name, residues in proteins.items()), encoding="utf-8")
    return path


def table(path: Path, proteins: dict[str, str], label: str = "a") -> Path:
    lines = [f'"{name}",{residues},{label}' for name, residues in proteins.items()]
    path.write_text("\n".join(["id,sequence,label", *lines, ""]), encoding="utf-8")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return embedstore.open(tmp_path / "store.zarr", mode="a")


def test_ids_columns_and_sequences_come_back_byte_for_byte(store: Store, tmp_path: Path) -> None:
    report = store.add("mine", table(tmp_path / "p.csv", PROTEINS))
    assert (report.n_records, report.n_distinct, report.n_new) == (4, 3, 3)
    dataset = store.dataset("mine")
    assert dataset.ids() == list(PROTEINS)
    assert dataset.column("label") == ["a"] * 4
    assert store.sequences.take(dataset.digests) == [residues.encode() for residues in PROTEINS.values()]
    assert store.sequences.lengths(dataset.digests).tolist() == [16, 9, 9, 12]
    assert store.sequences.n_rows == 3


def test_a_part_is_read_by_plain_zarr_without_our_code(store: Store, tmp_path: Path) -> None:
    store.add("mine", table(tmp_path / "p.csv", PROTEINS))
    root = zarr.open_group(store.path, mode="r")
    (part,) = [group for _, group in root["datasets/mine/parts"].groups()]
    offsets, text = part["ids_offsets"][:], part["ids"][:].tobytes()
    assert [text[a:b].decode() for a, b in itertools.pairwise(offsets)] == list(PROTEINS)
    assert part["digests"][0].tobytes() == digest(b"MKTAYIAKQRQISFVK")


def test_the_same_files_again_add_nothing(store: Store, tmp_path: Path) -> None:
    file = table(tmp_path / "p.csv", PROTEINS)
    store.add("mine", file)
    again = store.add("mine", file)
    assert again.already_there
    assert store.dataset("mine").n_rows == 4


def test_other_files_need_append(store: Store, tmp_path: Path) -> None:
    store.add("mine", table(tmp_path / "p.csv", PROTEINS))
    more = fasta(tmp_path / "more.fasta", {"new": "MMMM", "old": "GAVLIPFMW"})
    with pytest.raises(InputError, match="--append"):
        store.add("mine", more)
    report = store.add("mine", more, existing="append")
    assert (report.n_records, report.n_new) == (2, 1)
    assert store.dataset("mine").ids() == [*PROTEINS, "new", "old"]
    assert store.dataset("mine").column("label") == ["a"] * 4 + [""] * 2


def test_sequences_are_shared_between_data_sets(store: Store, tmp_path: Path) -> None:
    store.add("one", fasta(tmp_path / "a.fasta", PROTEINS))
    report = store.add("two", fasta(tmp_path / "b.fasta", {"again": "GAVLIPFMW"}))
    assert report.n_new == 0
    assert store.sequences.n_rows == 3
    key = digest(b"GAVLIPFMW")
    found = store.ids_of(np.frombuffer(key, np.uint8).reshape(1, 24))
    assert found == {key: ["one:twin", "one:twin.two", "two:again"]}


def test_an_error_in_the_last_record_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    proteins = {f"p{i}": "MKTAYIAK" + "ACDEFGHIKL"[i % 10] * (i % 7) for i in range(20_000)}
    bad = fasta(tmp_path / "bad.fasta", {**proteins, "worst": "MK1TA"})
    with pytest.raises(SequenceError, match=r"worst.*'1'"):
        store.add("mine", bad)
    assert store.datasets() == []
    assert not [path for path in store.path.rglob("*") if path.is_file() and path.name != "zarr.json"]


def test_records_left_out_are_named_with_the_reason(store: Store, tmp_path: Path) -> None:
    file = fasta(tmp_path / "p.fasta", {"good": "MKV", "empty": "", "bad": "M7K"})
    report = store.add("mine", file, skip_invalid=True)
    assert report.n_records == 1
    assert [name for name, _ in report.rejected] == ["empty", "bad"]
    assert store.dataset("mine").rejected == report.rejected


def test_nothing_to_add_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(EmbedstoreError, match="sequence"):
        store.add("mine", fasta(tmp_path / "p.fasta", {"a": "", "b": ""}))
    assert store.datasets() == []


def test_a_missing_file_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere.fasta"):
        store.add("mine", tmp_path / "nowhere.fasta")


@pytest.mark.parametrize("name", ["a/b", "", "..", ".hidden", "a b", "x" * 101])
def test_a_data_set_name_is_never_a_path(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a data set"):
        store.add(name, fasta(tmp_path / "p.fasta", PROTEINS))


def test_an_unknown_data_set_is_answered_with_the_known_ones(store: Store, tmp_path: Path) -> None:
    store.add("mine", fasta(tmp_path / "p.fasta", PROTEINS))
    with pytest.raises(UnknownNameError, match="Did you mean 'mine'"):
        store.dataset("mime")
    with pytest.raises(UnknownNameError, match="column of data set 'mine'"):
        store.dataset("mine").column("label")


def test_no_store_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="embedstore add"):
        embedstore.open(tmp_path / "nothing")


def test_a_directory_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="no embedstore store"):
        embedstore.open(tmp_path, mode="a")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_foreign_zarr_group_is_no_store(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="zarr group but no embedstore store"):
        embedstore.open(tmp_path / "other.zarr", mode="a")


def test_a_newer_format_is_refused(store: Store, tmp_path: Path) -> None:
    store.add("mine", fasta(tmp_path / "p.fasta", PROTEINS))
    record = store.path / "zarr.json"
    document = json.loads(record.read_text())
    document["attributes"]["embedstore"]["format"] = 99
    record.write_text(json.dumps(document))
    with pytest.raises(StoreVersionError, match="format 99.*[Uu]pgrade"):
        embedstore.open(store.path)


def test_the_order_of_a_directory_listing_changes_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        store.add("mine", fasta(tmp_path / f"{number}.fasta", {f"p{number}": "MKV" * (number + 1)}), existing="append")
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: reversed(list(listed(self))))
    store.refresh()
    assert store.dataset("mine").ids() == [f"p{number}" for number in range(5)]


def test_a_changed_commit_record_is_noticed(store: Store, tmp_path: Path) -> None:
    store.add("mine", fasta(tmp_path / "p.fasta", PROTEINS))
    (record,) = store.path.glob("datasets/mine/parts/*/zarr.json")
    record.write_text(record.read_text().replace('"n_rows": 4', '"n_rows": 3'))
    with pytest.raises(StoreCorruptError, match="changed after it was written"):
        store.dataset("mine")


def test_a_part_without_a_record_does_not_exist(store: Store, tmp_path: Path) -> None:
    store.add("mine", fasta(tmp_path / "p.fasta", PROTEINS))
    (record,) = store.path.glob("datasets/mine/parts/*/zarr.json")
    record.unlink()
    assert store.datasets() == []
    assert any("is gone" in problem for problem in embedstore.verify(store).problems)
    # What a writer holds until it commits: without it, the record was there once.
    (record.parent / ".writer").touch()
    report = embedstore.verify(store)
    assert report.ok
    assert any("does not count" in note for note in report.notes)


def test_a_store_is_made_with_the_first_thing_that_is_written(tmp_path: Path) -> None:
    store = embedstore.open(tmp_path / "new.zarr", mode="a")
    with pytest.raises(MissingFileError, match="nowhere"):
        store.add("mine", tmp_path / "nowhere.fasta")
    assert list(tmp_path.iterdir()) == []


def test_no_permission_is_one_clear_error(tmp_path: Path) -> None:
    proteins = fasta(tmp_path / "p.fasta", PROTEINS)
    if os.geteuid() == 0:
        # Permissions do not bind root; a file where a directory is due is the nearest that does.
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreWriteError, match="Cannot write to the store"):
            embedstore.open(tmp_path / "file" / "store.zarr", mode="a").add("mine", proteins)
        return
    tmp_path.chmod(0o500)
    with pytest.raises(StoreWriteError, match="No permission"):
        embedstore.open(tmp_path / "store.zarr", mode="a").add("mine", proteins)


def test_a_full_disk_is_one_clear_error_and_leaves_no_part(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs privileges that are not here")
    try:
        store = embedstore.open(disk / "store.zarr", mode="a")
        rng = np.random.default_rng(0)
        proteins = {f"p{i}": "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 100)) for i in range(8000)}
        with pytest.raises(StoreWriteError, match="disk is full"):
            store.add("mine", fasta(tmp_path / "p.fasta", proteins))
        assert store.datasets() == []
        assert not [path for path in disk.rglob("*") if path.is_file() and path.name != "zarr.json"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
