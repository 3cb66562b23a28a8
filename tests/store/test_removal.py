"""Removing a data set or a space: all of it at once, and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import embedstore
from embedstore.errors import InputError, StoreCorruptError, StoreWriteError, UnknownNameError
from embedstore.models import load_model
from embedstore.store import Store
from embedstore.store.maintenance import compact, merge_parts
from embedstore.store.part_writer import PartWriter
from embedstore.store.parts import committed_parts


def test_a_data_set_goes_and_its_sequences_and_vectors_stay(store: Store, seen: Any) -> None:
    before = seen(store.path)
    report = embedstore.remove(store, "other")
    assert (report.kind, report.n_rows, report.n_parts, report.n_parts_left) == ("dataset", 40, 1, 0)
    assert report.n_bytes > 1000
    after = seen(store.path)
    assert {**after, "other": before["other"]} == before
    assert store.datasets() == ["mine"]
    with pytest.raises(UnknownNameError, match="other"):
        store.dataset("other")


def test_a_build_that_covered_a_removed_data_set_stays_verified(store: Store) -> None:
    embedstore.remove(store, "other")
    report = embedstore.verify(store)
    assert report.ok, report.problems
    embedstore.gc(store, older_than=0)
    assert embedstore.verify(store).ok
    shutil.rmtree(store.path / "datasets" / "mine")
    assert any("are gone" in problem for problem in embedstore.verify(store).problems)


def test_the_name_can_be_used_again(store: Store, tmp_path: Path) -> None:
    embedstore.remove(store, "other")
    file = tmp_path / "new.fasta"
    file.write_text(">n\nMKWWW\n")
    store.add("other", file)
    assert store.dataset("other").ids() == ["n"]
    embedstore.gc(store, older_than=0)
    assert store.dataset("other").ids() == ["n"]
    embedstore.remove(store, "other")
    assert store.datasets() == ["mine"]


def test_a_data_set_called_skipped_hides_no_other(store: Store, tmp_path: Path) -> None:
    for name in ("skipped", "removals"):
        file = tmp_path / "new.fasta"
        file.write_text(">n\nMKWWW\n")
        store.add(name, file)
    embedstore.remove(store, "skipped")
    assert store.datasets() == ["mine", "other", "removals"]
    assert embedstore.verify(store).ok


def test_a_space_goes_with_its_ledgers_and_reasons(store: Store, seen: Any) -> None:
    before = seen(store.path)
    name = store.residue_space("made_up").id
    report = embedstore.remove(store, "made_up")
    assert (report.kind, report.name, report.n_rows) == ("space", name, len(before[name]))
    kept = {place: rows for place, rows in before.items() if not place.startswith(name)}
    assert seen(store.path) == kept
    assert embedstore.verify(store).ok
    embedstore.gc(store, older_than=0)
    assert not (store.path / "spaces" / name).exists()
    assert seen(store.path) == kept


def test_a_space_that_was_removed_can_be_built_again(store: Store, seen: Any) -> None:
    before = seen(store.path)
    embedstore.remove(store, "kmer")
    embedstore.build(store, load_model("kmer"), batch_residues=60)
    assert seen(store.path) == before
    assert embedstore.verify(store).ok


@pytest.mark.parametrize("name", ["other", "kmer", "made_up"])
def test_killed_at_any_moment_all_or_nothing_is_gone(store: Store, seen: Any, kills: Any, name: str) -> None:
    before = seen(store.path)
    removed = shutil.copytree(store.path, store.path.parent / "removed.zarr")
    embedstore.remove(embedstore.open(removed), name)
    after, states = seen(removed), []
    for copy in kills(store.path, lambda path: embedstore.remove(embedstore.open(path), name), step=5):
        states.append(seen(copy) == after)
        assert states[-1] or seen(copy) == before
        again = embedstore.open(copy)
        assert embedstore.verify(again).ok
        embedstore.gc(again, older_than=0)
        assert seen(copy) == (after if states[-1] else before)
    assert states == sorted(states)
    assert set(states) == {False, True}


def test_a_dry_run_changes_nothing(store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.path.rglob("*")}
    report = embedstore.remove(store, "other", dry_run=True)
    assert report.dry_run
    assert any("sequences stay" in sentence for sentence in report.stays)
    assert {path: path.stat().st_mtime_ns for path in store.path.rglob("*")} == before


def test_a_name_that_two_things_have_must_be_made_clear(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "new.fasta"
    file.write_text(">n\nMKWWW\n")
    store.add("kmer", file)
    with pytest.raises(InputError, match="is a data set and a space.*--kind"):
        embedstore.remove(store, "kmer")
    assert embedstore.remove(store, "kmer", kind="dataset").n_rows == 1
    assert embedstore.remove(store, "kmer").kind == "space"
    with pytest.raises(UnknownNameError, match="Unknown data set or space 'kmer'"):
        embedstore.remove(store, "kmer")


def test_a_model_with_several_spaces_is_no_name_of_one(store: Store) -> None:
    embedstore.build(store, load_model("kmer"), dtype="float32")
    with pytest.raises(InputError, match="Which space"):
        embedstore.remove(store, "kmer")


def test_what_a_compaction_made_of_a_removed_space_does_not_bring_it_back(store: Store, seen: Any) -> None:
    home = f"spaces/{store.space('kmer').id}/parts"
    groups = compact.group_parts(committed_parts(store.path / home))
    report = embedstore.remove(store, "kmer")
    after = seen(store.path)
    assert report.n_parts_left == 0
    # Nothing is left to read; a compaction that had read it all before commits now.
    assert groups
    space = store.path / "spaces" / report.name
    with PartWriter(store.path, home, "vectors") as writer:
        writer.commit(0, {}, replaces=merge_parts.replaced_parts(groups[0]))
    assert committed_parts(space / "parts") == []
    embedstore.gc(store, older_than=0)
    assert {place: rows for place, rows in seen(store.path).items() if rows} == {
        place: rows for place, rows in after.items() if rows
    }


def test_files_that_cannot_be_removed_are_counted_and_left_for_gc(
    store: Store, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise StoreWriteError(f"Cannot write to the store at {path}: busy.")

    with monkeypatch.context() as patch:
        patch.setattr("embedstore.store.maintenance.remove.remove_part", fail)
        assert embedstore.remove(store, "other").n_parts_left == 1
    assert store.datasets() == ["mine"]
    assert any("frees their space" in note for note in embedstore.verify(store).notes)
    assert [one.why for one in embedstore.gc(store).removed] == ["removed by `rm`"]
    assert embedstore.verify(store).notes == []


def test_a_record_of_removal_that_is_damaged_is_an_error_and_brings_nothing_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("embedstore.store.maintenance.remove.remove_part", lambda path: None)
        embedstore.remove(store, "other")
    (record,) = store.path.glob("datasets/other/removals/*/zarr.json")
    record.write_text(record.read_text().replace("removed", "removes"))
    store.refresh()
    assert not embedstore.verify(store).ok
    with pytest.raises(StoreCorruptError, match="was changed after it was written"):
        store.dataset("other")
    assert store.dataset("mine").n_rows == 60


@pytest.mark.parametrize("call", ["mkdir", "link", "unlink"])
def test_a_store_that_cannot_be_written_to_is_one_clear_error(
    store: Store, seen: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    embedstore.compact(store, "kmer")
    before = seen(store.path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        for job in (
            lambda: embedstore.remove(store, "other"),
            lambda: embedstore.compact(store),
            lambda: embedstore.gc(store, older_than=0),
        ):
            try:
                job()
            except StoreWriteError as error:
                assert "read-only" in str(error)
    after = seen(store.path)
    assert after == before or {**after, "other": before["other"]} == before
