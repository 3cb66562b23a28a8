"""Faults and damage: nothing that was promised is lost, nothing that is damaged passes for whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import embedstore
from embedstore.errors import InputError, StoreCorruptError, StoreError, StoreWriteError
from embedstore.models import load_model
from embedstore.sequences import digest
from embedstore.store import Store, layout, space_writer

PROTEINS = {f"p{i}": "MKTAYIAKQRQISFVK"[: 3 + i % 12] + "ACDEFGHIKLMNPQRSTVWY"[i % 20] * (i % 7) for i in range(60)}


def fasta(path: Path, proteins: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{residues}\n" for name, residues in proteins.items()))
    return path


@pytest.fixture
def built(tmp_path: Path) -> Store:
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    store.add("mine", fasta(tmp_path / "p.fasta", PROTEINS))
    embedstore.build(store, load_model("kmer"))
    return store


def content(store: Store) -> tuple[list[str], dict[bytes, bytes]]:
    vectors = {
        key.tobytes(): vector.tobytes()
        for keys, rows in store.space().blocks()
        for key, vector in zip(keys, rows, strict=True)
    }
    return store.dataset("mine").ids(), vectors


def job(path: Path, file: Path) -> Store:
    store = embedstore.open(path, mode="a")
    store.add("mine", file)
    embedstore.build(store, load_model("kmer"), batch_residues=100)
    return store


@pytest.mark.parametrize("call", ["fsync", "link", "mkdir"])
@pytest.mark.parametrize("code", [pytest.param(errno.EIO, marks=pytest.mark.slow), errno.ENOSPC])
def test_a_system_call_that_fails_at_any_point_costs_nothing_that_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    monkeypatch.setattr(space_writer, "PART_ROWS", 30)
    file = fasta(tmp_path / "p.fasta", PROTEINS)
    expected = content(job(tmp_path / "whole.zarr", file))
    real: Callable[..., object] = getattr(os, call)
    n_calls, fail_at = 0, -1

    def counted(*arguments: object, **options: object) -> object:
        nonlocal n_calls
        n_calls += 1
        if n_calls == fail_at:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, counted)
    job(tmp_path / "counted.zarr", file)
    total = n_calls
    assert total > 5
    # Some ten points of each kind of call, and other ones for each error.
    for fail_at in range(1 + code % 3, total + 1, max(1, total // 10)):
        n_calls = 0
        path = tmp_path / f"{fail_at}.zarr"
        try:
            job(path, file)
        except StoreWriteError as error:
            assert "Cannot write to the store" in str(error)
        else:
            assert call == "mkdir", "pathlib forgives a mkdir that fails where the directory is there already"
        if path.exists() and any((path / "datasets").glob("*/parts/*/zarr.json")):
            assert embedstore.verify(embedstore.open(path)).ok
        again = job(path, file)
        assert content(again) == expected
        assert embedstore.verify(again).ok
        shutil.rmtree(path)


def test_a_fault_after_the_record_was_published_does_not_remove_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    link, failing = os.link, False

    def link_then_fail(*arguments: object, **options: object) -> None:
        nonlocal failing
        link(*arguments, **options)  # type: ignore[arg-type]
        failing = Path(str(arguments[1])).parent.parent.name == "parts"

    def sync(path: Path) -> None:
        if failing:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", link_then_fail)
    monkeypatch.setattr(layout, "fsync_path", sync)
    with pytest.raises(StoreWriteError, match="Input/output error"):
        store.add("mine", fasta(tmp_path / "p.fasta", PROTEINS))
    monkeypatch.undo()
    store.refresh()
    assert len(store.sequences.parts) == 1
    assert embedstore.verify(store).ok
    store.add("mine", tmp_path / "p.fasta")
    assert store.dataset("mine").n_rows == 60


def test_the_name_of_every_new_directory_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    synced: list[tuple[int, Path]] = []
    mkdir, sync = os.mkdir, layout.fsync_path

    def note_mkdir(path: str | Path, *arguments: object, **options: object) -> None:
        mkdir(path, *arguments, **options)  # type: ignore[arg-type]
        made.append(Path(path))

    def note_sync(path: Path) -> None:
        sync(path)
        synced.append((len(made), path))

    monkeypatch.setattr(os, "mkdir", note_mkdir)
    for module in ("layout", "part_writer", "zarr_shards.writer"):
        monkeypatch.setattr(f"embedstore.store.{module}.fsync_path", note_sync)
    job(tmp_path / "a" / "b" / "store.zarr", fasta(tmp_path / "p.fasta", PROTEINS))
    for position, path in enumerate(made):
        assert any(after > position and parent == path.parent for after, parent in synced), path


def test_a_directory_in_which_the_first_writer_died_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "store.zarr"
    path.mkdir()
    (path / ".zarr.json.0123abcd.tmp").write_text('{"zarr_fo')
    assert job(path, fasta(tmp_path / "p.fasta", PROTEINS)).dataset("mine").n_rows == 60


def test_a_build_covers_only_what_was_there_when_it_was_planned(tmp_path: Path) -> None:
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    store.add("mine", fasta(tmp_path / "p.fasta", PROTEINS))
    model = load_model("kmer")
    embed = model.embed

    def adding(sequences: list[bytes], *, pooling: str = "mean") -> np.ndarray:
        more = fasta(tmp_path / "more.fasta", {"late": "WWWWWCCCC"})
        embedstore.open(store.path).add("mine", more, existing="append")
        return embed(sequences, pooling=pooling)

    model.embed = adding  # type: ignore[method-assign, assignment]
    embedstore.build(store, model)
    report = embedstore.verify(store)
    assert report.ok, report.problems
    assert any("not embedded yet" in note for note in report.notes)


@pytest.mark.parametrize("copies", [2, 3])
def test_a_file_given_twice_is_added_once(tmp_path: Path, copies: int) -> None:
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    file = fasta(tmp_path / "p.fasta", PROTEINS)
    twin = shutil.copy(file, tmp_path / "twin.fasta")
    report = store.add("mine", [file] * (copies - 1) + [twin])
    assert report.n_records == store.dataset("mine").n_rows == 60
    assert any("same content" in sentence for sentence in report.warnings)


def test_of_a_directory_only_the_new_file_is_added(tmp_path: Path) -> None:
    folder = tmp_path / "splits"
    folder.mkdir()
    (folder / "train.csv").write_text("id,sequence,label\na,MKV,x\nb,MKL,y\n")
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    store.add("mine", folder)
    (folder / "test.csv").write_text("id,sequence,label\nc,MKW,x\n")
    report = store.add("mine", folder, existing="append")
    assert report.n_records == 1
    assert store.dataset("mine").ids() == ["a", "b", "c"]
    assert store.dataset("mine").column("split") == ["train", "train", "test"]


def test_an_open_store_sees_what_others_add(built: Store, tmp_path: Path) -> None:
    assert built.sequences.n_rows
    embedstore.open(built.path).add("other", fasta(tmp_path / "o.fasta", {"new": "WWWWHHHH"}))
    assert built.sequences.take(built.dataset("other").digests) == [b"WWWWHHHH"]
    assert embedstore.plan(built, load_model("kmer")).n_missing == 1
    assert embedstore.build(built, load_model("kmer")).n_embedded == 1


def test_a_damaged_data_set_does_not_hide_the_others(built: Store, tmp_path: Path) -> None:
    built.add("other", fasta(tmp_path / "o.fasta", {"new": "WWWWHHHH"}))
    (record,) = built.path.glob("datasets/mine/parts/*/zarr.json")
    record.write_text("{}")
    built.refresh()
    assert built.dataset("other").ids() == ["new"]
    with pytest.raises(StoreCorruptError, match="not a record"):
        built.dataset("mine")


def test_a_data_set_may_be_called_parts_but_not_like_a_record(built: Store, tmp_path: Path) -> None:
    built.add("parts", fasta(tmp_path / "o.fasta", {"new": "WWWWHHHH"}))
    assert embedstore.verify(built).ok
    with pytest.raises(InputError, match="cannot name a data set"):
        built.add("zarr.json", fasta(tmp_path / "o2.fasta", {"new": "WWWWHHHK"}))


def test_a_changed_sequence_never_becomes_a_vector(tmp_path: Path) -> None:
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    store.add("mine", fasta(tmp_path / "p.fasta", PROTEINS))
    (shard,) = store.path.glob("sequences/parts/*/residues/c/0")
    data = bytearray(shard.read_bytes())
    data[0] = ord("W")
    shard.write_bytes(data)
    store.refresh()
    with pytest.raises(StoreCorruptError, match="was changed"):
        embedstore.build(store, load_model("kmer"))
    assert store.spaces() == []


def test_lost_sequences_are_stored_again_by_adding_the_same_files(built: Store, tmp_path: Path) -> None:
    (part,) = built.path.glob("sequences/parts/*/")
    shutil.rmtree(part)
    built.refresh()
    report = embedstore.verify(built)
    assert any("Run `embedstore add`" in problem for problem in report.problems)
    again = built.add("mine", tmp_path / "p.fasta")
    assert (again.already_there, again.n_records) == (True, 0)
    assert again.n_new == len(set(PROTEINS.values()))
    assert embedstore.verify(built).ok


def damages(store: Store) -> Iterator[Path]:
    """Every file of every part, and every description and ledger."""
    for path in sorted(store.path.rglob("*")):
        inside_part = any(parent.name in ("parts", "builds") for parent in path.parents)
        is_space = path.name == "zarr.json" and path.parent.parent.name == "spaces"
        group = path.name == "zarr.json" and path.parent.name in ("parts", "builds", "skipped")
        if path.is_file() and (inside_part or is_space) and not group:
            yield path


@pytest.mark.parametrize("damage", ["flip", "cut", "append", "delete"])
def test_verify_finds_every_kind_of_damage_in_every_file(built: Store, damage: str) -> None:
    files = list(damages(built))
    assert len(files) > 15
    for path in files:
        whole = path.read_bytes()
        if damage == "delete":
            path.unlink()
        else:
            damaged = bytearray(whole)
            damaged[len(damaged) // 2] ^= 4
            path.write_bytes({"flip": damaged, "cut": whole[:-1], "append": whole + b" "}[damage])
        report = embedstore.verify(embedstore.open(built.path))
        # A ledger or a skipped part that is gone altogether leaves no trace; what it covered is told as a note.
        forgotten = damage == "delete" and path.name == "zarr.json" and path.parent.parent.name in ("builds", "parts")
        harmless = damage == "append" and path.name == "zarr.json"
        assert not report.ok or report.notes or forgotten or harmless, path
        path.write_bytes(whole)
    assert embedstore.verify(embedstore.open(built.path)).ok


def test_a_part_that_was_moved_into_another_space_is_refused(built: Store) -> None:
    embedstore.build(built, load_model("kmer"), dtype="float32")
    half, full = (built.space(name) for name in sorted(built.spaces(), key=lambda name: built.space(name).dtype.name))
    assert half.path is not None
    assert full.path is not None
    (part,) = full.path.glob("parts/*/")
    shutil.move(part, half.path / "parts" / part.name)
    built.refresh()
    with pytest.raises(StoreCorruptError, match="was moved there"):
        built.space(half.id)
    assert not embedstore.verify(built).ok


def test_the_description_of_a_space_in_place_of_a_record_is_told_and_not_a_traceback(built: Store) -> None:
    (part,) = built.path.glob("spaces/*/parts/*/zarr.json")
    shutil.copy(part.parent.parent.parent / "zarr.json", part)
    report = embedstore.verify(embedstore.open(built.path))
    assert any("is not the record of a part" in problem for problem in report.problems)


def test_the_record_of_a_part_in_place_of_the_description_of_a_space_is_told_and_not_a_traceback(built: Store) -> None:
    (part,) = built.path.glob("spaces/*/parts/*/zarr.json")
    shutil.copy(part, part.parent.parent.parent / "zarr.json")
    report = embedstore.verify(embedstore.open(built.path))
    assert any("is not the description of a space" in problem for problem in report.problems)


def test_a_data_set_that_a_build_covered_and_that_is_gone_is_a_problem(built: Store) -> None:
    shutil.rmtree(built.path / "datasets" / "mine")
    report = embedstore.verify(built)
    assert any("are gone" in problem for problem in report.problems)


def test_a_changed_identity_is_refused(built: Store) -> None:
    space = built.space()
    assert space.path is not None
    record = space.path / "zarr.json"
    document = json.loads(record.read_text())
    document["attributes"]["embedstore"]["identity"]["dim"] = 512
    record.write_text(json.dumps(document))
    built.refresh()
    with pytest.raises(StoreError, match="changed after it was written"):
        built.space()


def test_an_id_with_several_sequences_is_told(tmp_path: Path) -> None:
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    file = tmp_path / "p.fasta"
    file.write_text(">a\nMKV\n>b\nMKL\n>a\nMKW\n>a\nMKV\n")
    report = store.add("mine", file)
    assert (report.n_records, report.n_repeated_ids) == (4, 1)
    assert any("an id that came before" in sentence for sentence in report.warnings)


def test_what_was_folded_and_removed_is_counted_and_kept(tmp_path: Path) -> None:
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    file = tmp_path / "p.fasta"
    file.write_text(">a\nmk-V*\n>b\nMKL..\n")
    report = store.add("mine", file)
    assert report.normalised["n_gaps"] == 3
    assert report.normalised["n_stops"] == 1
    assert report.normalised["n_lower_case"] == 2
    assert store.dataset("mine").describe()["normalised"] == report.normalised
    assert store.sequences.take(store.dataset("mine").digests) == [b"MKV", b"MKL"]
    assert store.dataset("mine").digests[0].tobytes() == digest(b"MKV")


def test_a_build_that_fails_leaves_no_space(built: Store) -> None:
    for options in ({"pooling": "max"}, {"dtype": "float8"}, {"batch_residues": 0}):
        with pytest.raises(InputError, match=r"Unknown (pooling|dtype)|holds nothing"):
            embedstore.build(built, load_model("kmer"), **options)  # type: ignore[arg-type]
    assert len(built.spaces()) == 1
    assert len(list((built.path / "spaces").glob("*/"))) == 1
