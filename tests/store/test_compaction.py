"""Compaction: fewer parts, and nothing that a reader could tell the difference by."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import embedstore
from embedstore.errors import StoreCorruptError, StoreError
from embedstore.sequences import digest
from embedstore.store import Store
from embedstore.store.keys import as_digests
from embedstore.store.maintenance import compact, merge_parts
from embedstore.store.manifest import space_identity
from embedstore.store.part_writer import PartWriter
from embedstore.store.parts import committed_parts
from embedstore.store.space_writer import SpaceWriter
from embedstore.store.spaces import Space


def test_every_row_of_every_array_stays_bit_for_bit(store: Store, seen: Any) -> None:
    before = seen(store.path)
    flags = {
        name: sorted(
            (key.tobytes(), int(length), int(flag))
            for part in store.any_space(name).parts
            for key, length, flag in zip(
                *(part.array(one).read() for one in ("digests", "lengths", "flags")), strict=True
            )
        )
        for name in store.spaces()
    }
    report = embedstore.compact(store)
    assert report.n_parts_before > report.n_parts_after == 3
    assert [one.n_parts for one in report.merged if one.place.startswith("sequences")] == [2]
    assert seen(store.path) == before
    for name in store.spaces():
        (part,) = store.any_space(name).parts
        rows = zip(*(part.array(one).read() for one in ("digests", "lengths", "flags")), strict=True)
        assert sorted((key.tobytes(), int(length), int(flag)) for key, length, flag in rows) == flags[name]
        plain = zarr.open_group(part.path, mode="r")
        for array in part.array_names:
            np.testing.assert_array_equal(plain[array][:], part.array(array).read())
    assert embedstore.verify(store).ok


def test_a_second_run_finds_nothing_to_do(store: Store) -> None:
    embedstore.compact(store)
    again = embedstore.compact(store)
    assert (again.merged, again.n_parts_before, again.n_parts_after) == ([], 3, 3)


def test_one_space_can_be_compacted_alone(store: Store) -> None:
    n_sequence_parts = len(store.sequences.parts)
    report = embedstore.compact(store, "kmer")
    assert {one.place.split("/")[1] for one in report.merged} == {store.space("kmer").id}
    assert len(store.sequences.parts) == n_sequence_parts == 2
    assert report.to_dict()["merged"][0]["n_copies"] == 0


def test_large_parts_are_left_alone_and_small_ones_collected(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "TARGET_ROWS", 60)
    embedstore.compact(store, "kmer")
    sizes = [part.n_rows for part in store.space("kmer").parts]
    assert sum(sizes) == store.space("kmer").n_rows
    assert sorted(sizes)[1] >= 30
    assert embedstore.compact(store, "kmer").merged == []


def test_blocks_smaller_than_a_part_give_the_same(store: Store, seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedstore.store.maintenance.merge_parts.BLOCK_BYTES", 64)
    before = seen(store.path)
    embedstore.compact(store)
    assert seen(store.path) == before


def test_a_second_copy_of_a_key_is_dropped_and_the_first_one_kept(store: Store, seen: Any) -> None:
    before = seen(store.path)
    for name in store.spaces():
        space = store.any_space(name)
        digests, values = next(iter(space.blocks()))
        lengths = store.sequences.lengths(digests)
        with SpaceWriter(space) as writer:
            writer.append(digests, [value + 1 for value in values], lengths, np.zeros(len(digests), np.uint8))
    assert any("stand there twice" in note for note in embedstore.verify(store).notes)
    assert seen(store.path) == before
    report = embedstore.compact(store)
    assert sum(one.n_copies for one in report.merged) > 20
    assert seen(store.path) == before
    assert not any("stand there twice" in note for note in embedstore.verify(store).notes)


def test_a_damaged_part_is_named_and_never_compacted(store: Store) -> None:
    part = store.space("kmer").parts[1]
    shard = part.path / "vectors" / "c" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[7] ^= 1
    shard.write_bytes(data)
    names = [one.name for one in store.space("kmer").parts]
    with pytest.raises(StoreCorruptError, match=f"{part.name}.*was changed"):
        embedstore.compact(store, "kmer")
    store.refresh()
    assert [one.name for one in store.space("kmer").parts] == names


def test_readers_that_opened_before_stay_able_to_read(store: Store, seen: Any) -> None:
    before = seen(store.path)
    reader = embedstore.open(store.path)
    open_before = reader.space("kmer"), reader.residue_space("made_up"), reader.sequences
    embedstore.compact(store)
    vectors = {
        key.tobytes(): row.tobytes()
        for keys, rows in open_before[0].blocks()
        for key, row in zip(keys, rows, strict=True)
    }
    assert vectors == before[open_before[0].id]
    assert open_before[1].take(open_before[1].digests)
    assert open_before[2].take(open_before[2].digests) == list(before["sequences"].values())


def test_killed_at_any_moment_nothing_is_lost_or_doubled(store: Store, seen: Any, kills: Any) -> None:
    before = seen(store.path)
    n_moments = 0
    for copy in kills(store.path, lambda path: embedstore.compact(embedstore.open(path)), step=13):
        n_moments += 1
        assert seen(copy) == before
        again = embedstore.open(copy)
        embedstore.compact(again)
        report = embedstore.gc(again, older_than=0)
        assert seen(copy) == before
        verified = embedstore.verify(again)
        assert verified.ok, verified.problems
        assert not verified.notes, report
    assert n_moments > 5


def test_the_slower_of_two_compactions_gives_up(store: Store, seen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen(store.path)
    copy_rows, nested = merge_parts.copy_rows, []

    def while_another_runs(*arguments: Any) -> None:
        copy_rows(*arguments)
        if not nested:
            nested.append(1)
            embedstore.compact(embedstore.open(store.path))

    monkeypatch.setattr(merge_parts, "copy_rows", while_another_runs)
    report = embedstore.compact(store)
    assert report.merged == []
    assert all("by another process" in note for note in report.notes)
    assert seen(store.path) == before


def test_two_compactions_that_commit_the_same_double_nothing(
    store: Store, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(store.path)
    home = f"spaces/{store.space('kmer').id}/parts"
    groups = compact.group_parts(committed_parts(store.path / home))
    monkeypatch.setattr(merge_parts, "are_current", lambda *_: True)
    meter = compact.ByteProgress(lambda _: None, "compact", 1)
    for _ in range(2):
        for group in groups:
            assert compact._merge(store.path, home, group, meter)
    assert seen(store.path) == before
    monkeypatch.undo()
    report = embedstore.compact(store, "kmer")
    assert sum(one.n_copies for one in report.merged) == store.space("kmer").n_rows
    embedstore.gc(store, older_than=0)
    assert seen(store.path) == before


def test_a_build_beside_it_is_not_disturbed(store: Store, seen: Any) -> None:
    space = store.space("kmer")
    key = as_digests([digest(b"WWWWWW")])
    with SpaceWriter(space) as writer:
        writer.append(key, np.ones((1, space.dim)), np.array([6]), np.zeros(1, np.uint8))
        embedstore.compact(store)
        embedstore.gc(store, older_than=0)
    store.refresh()
    assert (store.space("kmer").take(key) == 1).all()
    assert len(store.space("kmer").parts) == 2


def test_parts_of_different_arrays_never_mix(store: Store) -> None:
    home = f"spaces/{store.space('kmer').id}/parts"
    with PartWriter(store.path, home, "vectors") as part:
        for name, rows in {
            "vectors": np.ones((1, 1024), np.float16),
            "digests": as_digests([digest(b"WWWWWW")]),
            "lengths": np.array([6], np.int32),
        }.items():
            part.append(name, rows, rows.dtype)
        part.commit(1, {})
    embedstore.compact(store, "kmer")
    assert len(store.space("kmer").parts) == 2


def test_whatever_the_order_of_writers_compactions_and_gc_no_key_is_lost(tmp_path: Path) -> None:
    identity = space_identity({"model": "made_up"}, dim=3, pooling="mean", dtype="float32", long_policy="none")
    for seed in range(8):
        rng, path = random.Random(seed), tmp_path / f"{seed}.zarr"
        store = embedstore.open(path, mode="a")
        space = store.create_space(identity)
        assert isinstance(space, Space)
        home = f"spaces/{space.id}/parts"
        written: set[int] = set()
        stale: list[Any] = []
        meter = compact.ByteProgress(lambda _: None, "compact", 1)
        for _ in range(25):
            step = rng.choice(["write", "write", "look", "merge", "compact", "gc"])
            if step == "write":
                numbers = rng.sample(range(30), rng.randint(1, 6))
                written |= set(numbers)
                keys = as_digests([digest(b"M" * (number + 1)) for number in numbers])
                rows = np.array([[number + 1] * 3 for number in numbers])
                with SpaceWriter(space) as writer:
                    writer.append(keys, rows, np.array(numbers) + 1, np.zeros(len(numbers), np.uint8))
            elif step == "look":
                stale = compact.group_parts(committed_parts(path / home))
            elif step == "merge" and stale and all((part.path / "zarr.json").exists() for part in stale[0]):
                # As a compaction that was planned long ago, and that no longer looks what others did.
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(merge_parts, "are_current", lambda *_: True)
                    compact._merge(path, home, stale[0], meter)
            elif step == "compact":
                embedstore.compact(store)
            elif step == "gc" and written:
                embedstore.gc(store, older_than=0)
            if not written:
                continue
            found = embedstore.open(path).space()
            numbers = sorted(written)
            keys = as_digests([digest(b"M" * (number + 1)) for number in numbers])
            assert found.n_rows == len(numbers), (seed, step)
            np.testing.assert_array_equal(found.take(keys)[:, 0], np.array(numbers) + 1)
        shutil.rmtree(path)


def test_a_store_with_nothing_in_it_has_nothing_to_compact(tmp_path: Path) -> None:
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    store.create_space(space_identity({"model": "m"}, dim=3, pooling="mean", dtype="float32", long_policy="none"))
    assert embedstore.compact(store).n_parts_before == 0
    with pytest.raises(StoreError, match="no such vectors yet"):
        embedstore.compact(store, "m")
