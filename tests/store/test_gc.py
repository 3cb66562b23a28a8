"""Garbage: what no reader sees goes, what a living writer or an open reader needs stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedstore
from embedstore.errors import InputError, StoreWriteError
from embedstore.store import Store, parts
from embedstore.store.locks import LOCK_FILE
from embedstore.store.maintenance import merge_parts
from embedstore.store.maintenance.gc import parse_age
from embedstore.store.manifest import space_identity
from embedstore.store.part_writer import PartWriter
from embedstore.store.parts import committed_parts
from embedstore.store.space_writer import SpaceWriter


def files(store: Store) -> set[Path]:
    return {path for path in store.path.rglob("*") if path.is_file()}


def orphan(store: Store, place: str = "sequences/parts") -> Path:
    """What a writer leaves that is killed."""
    part = store.path / place / "20260101T000000000000-00000000"
    (part / "residues" / "c").mkdir(parents=True)
    (part / "residues" / "c" / "0").write_bytes(b"half of it")
    (part / LOCK_FILE).touch()
    return part


def why(report: embedstore.GcReport) -> list[str]:
    return [one.why for one in report.removed]


def test_a_whole_store_has_no_garbage(store: Store) -> None:
    before = files(store)
    report = embedstore.gc(store, older_than=0)
    assert (report.removed, report.notes, report.n_bytes) == ([], [], 0)
    assert files(store) == before


def test_what_a_dead_writer_left_goes_once_it_is_old_enough(store: Store) -> None:
    before = files(store)
    part = orphan(store)
    assert any("was killed" in note for note in embedstore.verify(store).notes)
    assert any("too young" in note for note in embedstore.gc(store).notes)
    assert part.exists()
    for path in (part / LOCK_FILE, part / "residues" / "c" / "0", part):
        os.utime(path, (0, 0))
    report = embedstore.gc(store)
    assert why(report) == ["its writer died before the commit"]
    assert report.n_bytes == 10
    assert files(store) == before


def test_a_living_writer_is_left_alone_however_slow_it_is(store: Store) -> None:
    with PartWriter(store.path, "sequences/parts", "sequences") as writer:
        writer.append("digests", np.zeros((3, 24), np.uint8), np.uint8)
        report = embedstore.gc(store, older_than=0)
        assert any("being written and stays" in note for note in report.notes)
        assert any("being written" in note for note in embedstore.verify(store).notes)
        writer.commit(3, {})
    assert not (writer.path / LOCK_FILE).exists()
    assert len(committed_parts(store.path / "sequences" / "parts")) == 3


@pytest.mark.parametrize("how", ["all", "a file", "made again", "the space"])
def test_a_writer_whose_part_was_removed_fails_and_commits_nothing(store: Store, how: str) -> None:
    space = store.space("kmer")
    assert space.path is not None
    with pytest.raises(StoreWriteError, match="was removed while it was written|No such file"):  # noqa: SIM117
        with PartWriter(store.path, f"spaces/{space.id}/parts", "vectors") as writer:
            writer.append("vectors", np.ones((1, 1024)), np.float16)
            if how == "a file":
                writer._arrays["vectors"].close()
                (writer.path / "vectors" / "c" / "0" / "0").unlink()
                writer._arrays["vectors"].close = dict  # type: ignore[method-assign, assignment]
            else:
                shutil.rmtree(space.path if how == "the space" else writer.path)
            if how == "made again":
                writer.path.mkdir()
            writer.commit(1, {})
    assert not (writer.path / "zarr.json").exists()


def test_unpublished_records_and_claims_of_killed_writers_go(store: Store) -> None:
    before = files(store)
    part = store.sequences.parts[0].path
    left = [store.path / ".zarr.json.0123abcd.tmp", part / ".zarr.json.0123abcd.tmp", part.parent / ".zarr.json.1.tmp"]
    for path in left:
        path.write_text("{")
    (part / LOCK_FILE).touch()
    assert embedstore.verify(store).ok
    report = embedstore.gc(store, older_than=0)
    assert len(report.removed) == 4
    assert files(store) == before


def test_a_part_that_lost_its_record_is_not_taken_for_garbage(store: Store) -> None:
    record = store.sequences.parts[0].path / "zarr.json"
    whole = record.read_bytes()
    record.unlink()
    before = files(store)
    assert any("has lost its record" in note for note in embedstore.gc(store, older_than=0).notes)
    assert files(store) == before
    assert any("Restore it" in problem for problem in embedstore.verify(store).problems)
    record.write_bytes(whole)
    assert embedstore.verify(store).notes == []


def test_replaced_parts_wait_for_readers_and_for_whoever_is_at_work(store: Store, seen: Any) -> None:
    before = seen(store.path)
    embedstore.compact(store)
    assert any("stay a while" in note for note in embedstore.gc(store).notes)
    with SpaceWriter(store.space("kmer")):
        report = embedstore.gc(store, older_than=0)
        assert report.removed == []
        assert any("at work" in note for note in report.notes)
    report = embedstore.gc(store, older_than=0)
    assert set(why(report)) == {"replaced"}
    assert seen(store.path) == before
    assert embedstore.verify(store).notes == []


def test_replaced_parts_stay_where_what_replaces_them_is_damaged(store: Store) -> None:
    embedstore.compact(store, "kmer")
    (part,) = store.space("kmer").parts
    shard = part.path / "vectors" / "c" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[9] ^= 1
    shard.write_bytes(data)
    report = embedstore.gc(store, older_than=0)
    assert report.removed == []
    assert any("is damaged" in note for note in report.notes)


def chain(store: Store) -> str:
    """Parts that replace each other one by one, without naming what those replaced."""
    home = f"spaces/{store.space('kmer').id}/parts"
    last = store.space("kmer").parts[0]
    for _ in range(3):
        with PartWriter(store.path, home, "vectors") as writer:
            for name in last.array_names:
                writer.append(name, last.array(name).read(), last.array(name).dtype)
            writer.commit(last.n_rows, {}, replaces=[last.name])
        last = next(part for part in committed_parts(store.path / home) if part.name == writer.name)
    store.refresh()
    return home


def test_a_replaced_part_goes_before_what_replaces_it(store: Store, seen: Any, kills: Any) -> None:
    chain(store)
    before, n_killed = seen(store.path), 0
    for copy in kills(store.path, lambda path: embedstore.gc(embedstore.open(path), older_than=0), step=4):
        assert seen(copy) == before
        assert embedstore.verify(embedstore.open(copy)).ok
        embedstore.gc(embedstore.open(copy), older_than=0)
        assert seen(copy) == before
        n_killed += 1
    assert n_killed > 5


def test_killed_at_any_moment_gc_changes_nothing_that_is_read(store: Store, seen: Any, kills: Any) -> None:
    embedstore.compact(store)
    orphan(store)
    before = seen(store.path)
    for copy in kills(store.path, lambda path: embedstore.gc(embedstore.open(path), older_than=0), step=17):
        assert seen(copy) == before
        report = embedstore.verify(embedstore.open(copy))
        assert report.ok, report.problems
        embedstore.gc(embedstore.open(copy), older_than=0)
        assert embedstore.gc(embedstore.open(copy), older_than=0).removed == []
        assert embedstore.verify(embedstore.open(copy)).notes == []


def test_a_reader_that_lists_parts_while_gc_removes_them_sees_the_whole(
    store: Store, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(store.path)
    read_record, n_calls = parts.read_record, 0

    def while_others_work(path: Path, payload: bytes | None = None) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 1:
            embedstore.compact(store)
            embedstore.gc(store, older_than=0)
        return read_record(path, payload)

    for name in ("sequences", "spaces"):
        home = next(store.path.glob("sequences/parts" if name == "sequences" else "spaces/kmer-*/parts"))
        n_calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(parts, "read_record", while_others_work)
            committed = committed_parts(home)
        assert sum(part.n_rows for part in committed) == len(before["sequences"])


def test_a_space_into_which_nothing_was_committed_goes(store: Store) -> None:
    before = files(store)
    identity = space_identity({"model": "m"}, dim=3, pooling="mean", dtype="float32", long_policy="none")
    space = store.create_space(identity)
    assert any("too young" in note for note in embedstore.gc(store).notes)
    with SpaceWriter(space):  # type: ignore[arg-type]
        assert any("at work" in note for note in embedstore.gc(store, older_than=0).notes)
    assert why(embedstore.gc(store, older_than=0)) == ["holds nothing"]
    assert files(store) == before


def test_a_dry_run_says_the_same_and_changes_nothing(store: Store) -> None:
    orphan(store)
    embedstore.compact(store)
    before = files(store)
    planned = embedstore.gc(store, older_than=0, dry_run=True)
    assert files(store) == before
    done = embedstore.gc(store, older_than=0)
    assert planned.removed == done.removed != []
    assert planned.to_dict()["n_bytes"] == done.n_bytes == sum(one.n_bytes for one in done.removed)


def test_sequences_and_vectors_that_no_data_set_names_are_dropped_when_asked_for(store: Store, seen: Any) -> None:
    embedstore.remove(store, "other")
    before = seen(store.path)
    named = set(before["mine"].values())
    planned = embedstore.gc(store, older_than=0, unused=True, dry_run=True)
    assert planned.dropped["sequences/parts"] == len(before["sequences"]) - len(named) > 0
    assert seen(store.path) == before
    done = embedstore.gc(store, older_than=0, unused=True)
    assert done.dropped == planned.dropped
    after = seen(store.path)
    for place, rows in before.items():
        kept = {key: row for key, row in rows.items() if place == "mine" or key in named or place.endswith("skipped")}
        assert after[place] == kept
    verified = embedstore.verify(store)
    assert verified.ok, verified.problems
    again = embedstore.gc(store, older_than=0, unused=True)
    assert (again.removed, again.dropped) == ([], {})


def test_a_sequence_that_is_named_while_it_is_to_be_dropped_stays(
    store: Store, seen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(store.path)
    ids = store.dataset("other").ids()
    texts = store.sequences.take(store.dataset("other").digests)
    embedstore.remove(store, "other")
    file = tmp_path / "again.fasta"
    file.write_text("".join(f">{name}\n{text.decode()}\n" for name, text in zip(ids, texts, strict=True)))
    copy_rows, added = merge_parts.copy_rows, []

    def while_it_is_added(*arguments: Any) -> None:
        copy_rows(*arguments)
        if not added:
            added.append(embedstore.open(store.path).add("other", file))

    monkeypatch.setattr(merge_parts, "copy_rows", while_it_is_added)
    assert embedstore.gc(store, older_than=0, unused=True).dropped == {}
    assert added[0].n_new == 0
    assert seen(store.path) == before
    assert embedstore.verify(store).ok


def test_nothing_is_dropped_while_a_data_set_is_being_added(store: Store) -> None:
    embedstore.remove(store, "other")
    with PartWriter(store.path, "datasets/mine/parts", "dataset"):
        report = embedstore.gc(store, unused=True)
    assert report.dropped == {}
    assert any("while a build, an add or a compact is at work" in note for note in report.notes)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("2d", 172800), (7, 7)])
def test_ages_have_units(text: str | int, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "1w", "-1h", "h", "1 h 3"])
def test_what_is_no_age_is_refused(store: Store, text: str) -> None:
    with pytest.raises(InputError, match="is no age"):
        embedstore.gc(store, older_than=text)


def test_looking_after_a_store_in_object_storage(store: Store, seen: Any) -> None:
    upath = pytest.importorskip("upath")
    remote = upath.UPath("memory://looking-after/store.zarr")
    for path in files(store):
        (remote / path.relative_to(store.path).as_posix()).write_bytes(path.read_bytes())
    opened = embedstore.open(str(remote))
    before = seen(str(remote))
    assert before == seen(store.path)
    assert embedstore.compact(opened).n_parts_after == 3
    assert seen(str(remote)) == before
    assert any("stay a while" in note for note in embedstore.gc(opened).notes)
    report = embedstore.gc(opened, older_than=0)
    assert set(why(report)) == {"replaced"}, report.notes
    assert embedstore.remove(opened, "other").n_parts_left == 0
    assert embedstore.gc(opened, older_than=0, unused=True).dropped["sequences/parts"] > 0
    embedstore.remove(opened, "made_up")
    embedstore.gc(opened, older_than=0)
    after = seen(str(remote))
    assert set(after) == {"mine", "sequences", opened.space().id, f"{opened.space().id} skipped"}
    report = embedstore.verify(opened)
    assert (report.problems, report.notes) == ([], [])
    part = opened.space().parts[0].path
    (part / "vectors" / "c" / "0" / "0").write_bytes(b"")
    (part / "stranger").write_bytes(b"")
    assert not embedstore.verify(opened, quick=True).ok
    remote.fs.rm(remote.path, recursive=True)
