"""A stored index is never stale and never wrong: against exact search, whatever happens to the store meanwhile."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import embedstore
from cli.embedstore_commands import app
from embedstore.errors import InputError, SpaceMismatchError, StoreCorruptError, StoreNotFoundError, UnknownNameError
from embedstore.indexes import Neighbours, api, manage
from embedstore.indexes.manage import add_shard, build_index, choose_index_type, merge_index, train_index, update_index
from embedstore.indexes.stored_index import StoredIndex
from embedstore.store import Store, list_contents, space_writer
from embedstore.store.maintenance.part_checks import quick_hash
from embedstore.store.maintenance.remove import hide
from embedstore.store.manifest import space_identity
from embedstore.store.space_writer import SpaceWriter
from embedstore.store.spaces import Space
from embedstore.testing.index_contract import clustered_rows

DIGESTS, VECTORS = clustered_rows(4000, 32)
QUERIES = clustered_rows(40, 32)[1]
BUILT = 3000


def add_rows(store: Store, start: int, stop: int) -> None:
    model = {"model": "made_up", "precision": "float32", "layer": 2}
    space = store.create_space(space_identity(model, dim=32, pooling="mean", dtype="float16", long_policy="none"))
    assert isinstance(space, Space)
    with SpaceWriter(space) as writer:
        for row in range(start, stop, 250):
            n = min(250, stop - row)
            lengths, flags = np.full(n, 9, np.int64), np.zeros(n, np.uint8)
            writer.append(DIGESTS[row : row + n], VECTORS[row : row + n], lengths, flags)
    store.refresh()


@pytest.fixture(scope="session")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = embedstore.open(tmp_path_factory.mktemp("built") / "store.zarr", mode="a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space_writer, "PART_ROWS", 500)
        add_rows(store, 0, BUILT)
    assert build_index(store, index_type="ivf_pq").n_rows == BUILT
    return Path(str(store.path))


@pytest.fixture
def store(_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """3,000 vectors in six parts with an index, to which rows can be added in parts of 500."""
    monkeypatch.setattr(space_writer, "PART_ROWS", 500)
    return embedstore.open(shutil.copytree(_built, tmp_path / "store.zarr"))


def keys(found: Neighbours) -> list[list[bytes]]:
    return [[key.tobytes() for key in row] for row in found.digests]


def assert_agrees(store: Store, k: int = 10, *, share: float = 0.97, **options: object) -> Neighbours:
    """A search by the index finds what exact search finds, but for a small share; scores are true to the bit."""
    exact = store.search(QUERIES, k, index="flat", **options)
    found = store.search(QUERIES, k, **options)
    assert found.scores.shape == exact.scores.shape
    truth = [
        dict(zip(row, scores, strict=True)) for row, scores in zip(keys(exact), exact.scores.tolist(), strict=True)
    ]
    same = 0
    for row, scores, true in zip(keys(found), found.scores.tolist(), truth, strict=True):
        assert len(set(row)) == len(row)
        assert all(true[key] == score for key, score in zip(row, scores, strict=True) if key in true)
        same += len(true.keys() & set(row))
    assert same >= share * exact.scores.size
    return found


def test_rows_added_after_the_build_are_found_before_and_after_the_update(store: Store) -> None:
    add_rows(store, BUILT, 3600)
    exact = store.search(VECTORS[BUILT:3600:20], 1)
    assert keys(exact) == [[key.tobytes()] for key in DIGESTS[BUILT:3600:20]]
    assert_agrees(store)
    report = update_index(store)
    assert (report.n_added, report.n_rows, report.n_segments, report.retrained) == (600, 3600, 2, False)
    assert report.recall is not None and report.recall["low"] >= 0.97
    assert_agrees(store)
    assert not len(StoredIndex(store, store.space(), "ivf_pq").uncovered)
    assert update_index(store).notes == ["It covers every row already."]


def test_small_segments_are_taken_into_the_next_one(store: Store) -> None:
    for start in (3000, 3200):
        add_rows(store, start, start + 200)
        report = update_index(store)
    assert (report.n_segments, report.n_rows) == (2, 3400)
    assert_agrees(store)


def test_compacted_parts_lose_nothing_and_double_nothing(store: Store) -> None:
    add_rows(store, BUILT, 3500)
    assert embedstore.compact(store).n_parts_after == 1
    assert_agrees(store)
    embedstore.gc(store, older_than=0)
    assert_agrees(store)
    report = update_index(store)
    assert (report.n_added, report.n_rows) == (500, 3500)
    assert_agrees(store)
    assert embedstore.verify(store).ok


def test_nothing_that_was_removed_is_returned(store: Store) -> None:
    space = store.space()
    gone = {key.tobytes() for key in space.parts[1].array("digests").read()}
    hide(store.path, f"spaces/{space.id}", [space.parts[1].path])
    store.refresh()
    found = assert_agrees(store)
    assert not gone & {key for row in keys(found) for key in row}
    shutil.rmtree(str(space.parts[1].path))
    store.refresh()
    assert_agrees(store)


def test_a_key_that_two_writers_stored_comes_once(store: Store) -> None:
    add_rows(store, 0, 500)
    found = assert_agrees(store)
    assert keys(found) == keys(store.search(QUERIES, 10))
    update_index(store)
    assert_agrees(store)


def test_an_index_in_place_of_another_frees_its_files(store: Store) -> None:
    build_index(store, index_type="ivf_pq", seed=1)
    home = Path(str(store.path)) / "indexes" / f"{store.space().id}-ivf_pq" / "parts"
    assert len([path for path in home.iterdir() if path.is_dir()]) == 2
    embedstore.gc(store, older_than=0)
    assert len([path for path in home.iterdir() if path.is_dir()]) == 1
    assert embedstore.verify(store).ok
    assert_agrees(store)


KILLED = """
import os, sys
import embedstore
from embedstore.indexes.manage import build_index
from embedstore.store import part_writer
part_writer.create_exclusive = lambda *_: os._exit(9)
build_index(embedstore.open(sys.argv[1]), index_type="ivf_pq", seed=3)
"""


def test_a_build_that_is_killed_changes_nothing_and_gc_removes_it(store: Store) -> None:
    before = store.search(QUERIES, 10)
    assert subprocess.run([sys.executable, "-c", KILLED, str(store.path)], check=False).returncode == 9
    store.refresh()
    after = store.search(QUERIES, 10)
    np.testing.assert_array_equal(before.digests, after.digests)
    removed = embedstore.gc(store, older_than=0).removed
    assert [one.why for one in removed if one.place.startswith("indexes/")] == ["its writer died before the commit"]
    assert embedstore.verify(store).ok


@pytest.mark.parametrize("name", ["trained.faiss", "lists.bin", "sizes.npy", "reduction.npy"])
def test_a_file_that_was_cut_or_changed_is_named(store: Store, name: str) -> None:
    (file,) = Path(str(store.path)).glob(f"indexes/*/parts/*/{name}")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    store.refresh()
    with pytest.raises(StoreCorruptError, match=f"{name} was changed"):
        store.search(QUERIES, 3)
    file.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    assert any(name in problem for problem in embedstore.verify(store).problems)
    store.refresh()
    with pytest.raises(StoreCorruptError, match=f"{name} was changed"):
        store.search(QUERIES, 3)
    store.search(QUERIES, 3, index="flat")
    file.unlink()
    store.refresh()
    with pytest.raises(StoreCorruptError, match=f"{name} is gone"):
        store.search(QUERIES, 3)


def test_files_swapped_between_segments_are_named_even_if_their_sizes_agree(store: Store) -> None:
    build_index(store, index_type="ivf_pq", memory=1)
    embedstore.gc(store, older_than=0)
    one, other, _ = sorted(Path(str(store.path)).glob("indexes/*/parts/*/lists.bin"))
    mine, theirs = one.read_bytes(), other.read_bytes()
    for swapped in (theirs, theirs[: len(mine)].ljust(len(mine), b"\0")):
        one.write_bytes(swapped)
        store.refresh()
        with pytest.raises(StoreCorruptError, match=r"lists.bin was changed"):
            store.search(QUERIES, 3)
    one.write_bytes(mine)
    store.refresh()
    assert_agrees(store)


def test_a_sampled_hash_tells_files_of_one_size_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hashes = set()
    for number in range(3):
        file = tmp_path / str(number)
        file.write_bytes(rng.bytes(3_000_000))
        assert quick_hash(file) == quick_hash(file)
        hashes.add(quick_hash(file))
    assert len(hashes) == 3


def test_an_index_of_another_store_or_space_is_refused(store: Store, tmp_path: Path) -> None:
    other = embedstore.open(tmp_path / "other.zarr", mode="a")
    add_rows(other, 0, 2000)
    shutil.copytree(Path(str(store.path)) / "indexes", Path(str(other.path)) / "indexes")
    with pytest.raises(SpaceMismatchError, match="was made for another store: it covers 6 parts"):
        other.search(QUERIES, 3)
    (home,) = (Path(str(other.path)) / "indexes").glob("*-ivf_pq")
    home.rename(home.with_name(f"{other.space().id}-hnsw"))
    with pytest.raises(StoreCorruptError, match="was moved there from"):
        other.search(QUERIES, 3, index="hnsw")


def test_a_batch_is_answered_as_its_queries_alone_bit_by_bit(store: Store) -> None:
    together = store.search(QUERIES, 10)
    for row in range(0, 40, 9):
        alone = store.search(QUERIES[row : row + 1], 10)
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])
        np.testing.assert_array_equal(alone.digests[0], together.digests[row])


def test_more_neighbours_than_rows_gives_all_of_them(store: Store) -> None:
    found = store.search(QUERIES[:2], 5000)
    assert found.k == BUILT
    assert len(set(keys(found)[0])) == BUILT


@pytest.mark.parametrize("n_chosen", [1, 7, 300, 1500, 2900])
def test_a_filter_gives_k_of_what_it_leaves(store: Store, monkeypatch: pytest.MonkeyPatch, n_chosen: int) -> None:
    monkeypatch.setattr(api, "EXACT_ROWS", 100)
    chosen = DIGESTS[np.random.default_rng(n_chosen).choice(BUILT, n_chosen, replace=False)]
    found = assert_agrees(store, where=chosen)
    assert found.k == min(10, n_chosen)
    assert {key for row in keys(found) for key in row} <= {key.tobytes() for key in chosen}


def test_a_query_can_be_excluded_from_its_own_neighbours(store: Store) -> None:
    found = store.search(VECTORS[:30], 5, exclude=DIGESTS[:30])
    more = store.search(VECTORS[:30], 6)
    np.testing.assert_array_equal(found.digests, more.digests[:, 1:])
    one = store.search(VECTORS[:1], 5, where=DIGESTS[:3], exclude=DIGESTS[:1])
    assert one.scores[0, 2] == -np.inf and not one.digests[0, 2].any()
    with pytest.raises(InputError, match="expected a key for each query"):
        store.search(VECTORS[:2], 5, exclude=DIGESTS[:1])


def test_shards_built_apart_and_merged_are_the_index_built_in_one_go(store: Store) -> None:
    names = [part.name for part in store.space().parts]
    trained = train_index(store, seed=5)
    with pytest.raises(InputError, match="No shard of training"):
        merge_index(store, trained=trained)
    add_shard(store, names[:2], trained=trained)
    add_shard(store, names[2:], trained=trained)
    merge_index(store, trained=trained)
    home = Path(str(store.path)) / "indexes" / f"{store.space().id}-ivf_pq" / "parts"
    embedstore.gc(store, older_than=0)
    (merged,) = [(path / "lists.bin").read_bytes() for path in home.iterdir() if path.is_dir()]
    assert_agrees(store)
    add_shard(store, names, trained=trained)
    whole = max((path / "lists.bin" for path in home.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    assert whole.read_bytes() == merged


def test_little_memory_makes_several_segments(store: Store) -> None:
    report = build_index(store, index_type="ivf_pq", memory=1)
    assert report.n_segments == 3
    assert_agrees(store)
    embedstore.gc(store, older_than=0)
    assert_agrees(store)


def test_a_space_that_grew_or_drifted_is_trained_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add_rows(store, BUILT, 3600)
    monkeypatch.setattr(manage, "DRIFT", 0.5)
    report = update_index(store)
    assert report.retrained and "new rows lose" in report.notes[-1]
    monkeypatch.setattr(manage, "GROWTH", 1)
    assert "times the 3,600 it was trained for" in update_index(store).notes[-1]


def test_a_graph_is_stored_updated_and_merged_like_the_others(store: Store) -> None:
    report = build_index(store, index_type="hnsw")
    assert report.recall is not None and report.recall["value"] > 0.98
    add_rows(store, BUILT, 3400)
    exact = store.search(QUERIES[:10], 10, index="flat")
    for _ in range(2):
        found = store.search(QUERIES[:10], 10, index="hnsw")
        assert (found.digests == exact.digests).all(axis=2).mean() > 0.95
        update_index(store, index_type="hnsw")
    with pytest.raises(InputError, match="several indexes: hnsw, ivf_pq"):
        update_index(store)


def test_shards_of_a_graph_are_merged(store: Store) -> None:
    names = [part.name for part in store.space().parts]
    trained = train_index(store, index_type="hnsw", seed=5)
    add_shard(store, names[:2], trained=trained, index_type="hnsw")
    add_shard(store, names[2:], trained=trained, index_type="hnsw")
    exact = store.search(QUERIES[:16], 10, index="flat")
    apart = store.search(QUERIES[:16], 10, index="hnsw")
    report = merge_index(store, trained=trained, index_type="hnsw")
    assert (report.n_segments, report.n_rows) == (1, BUILT)
    assert report.recall is not None and report.recall["value"] > 0.98
    embedstore.gc(store, older_than=0)
    merged = store.search(QUERIES[:16], 10, index="hnsw")
    for found in (apart, merged):
        assert (found.digests == exact.digests).all(axis=2).mean() > 0.95
    assert not len(StoredIndex(store, store.space(), "hnsw").uncovered)
    assert embedstore.verify(store).ok


@pytest.mark.parametrize("k", [1, 25, 50])
def test_an_effort_tuned_for_ten_neighbours_serves_more_and_fewer(store: Store, k: int) -> None:
    effort = StoredIndex(store, store.space(), "ivf_pq").effort
    assert effort.for_k(k).candidates * 4 < BUILT
    assert_agrees(store, k, share=0.98)


def test_removing_a_space_removes_its_index(store: Store) -> None:
    name = store.space().id
    assert [row["name"] for row in list_contents(store)] == [name, f"{name}-ivf_pq"]
    assert "Its indexes go with it: ivf_pq." in embedstore.remove(store, name).stays
    add_rows(store, 0, 1500)
    with pytest.raises(StoreNotFoundError, match=r"no index of kind 'ivf_pq'. It has none. Build it: `embedstore"):
        store.search(QUERIES, 3, index="ivf_pq")
    embedstore.gc(store, older_than=0)
    assert not list((Path(str(store.path)) / "indexes").glob("*/parts/*/*.faiss"))


def test_small_spaces_are_searched_exactly_without_an_index(tmp_path: Path) -> None:
    assert (choose_index_type(50_000, 1024, 10**9), choose_index_type(50_001, 1024, 10**9)) == ("flat", "ivf_pq")
    assert choose_index_type(50_000, 1024, 10**8) == "ivf_pq"
    small = embedstore.open(tmp_path / "small.zarr", mode="a")
    add_rows(small, 0, 200)
    report = build_index(small)
    assert report.index_type == "flat" and not (tmp_path / "small.zarr" / "indexes").exists()
    with pytest.raises(InputError, match="has 200 vectors; an index needs 1,024 or more"):
        build_index(small, index_type="ivf_pq")
    with pytest.raises(InputError, match="Nothing is stored of an index of type 'flat'"):
        build_index(small, index_type="flat")
    with pytest.raises(InputError, match="recall is 1.5"):
        build_index(small, recall=1.5)
    with pytest.raises(UnknownNameError, match="Did you mean 'ivf_pq'"):
        small.search(QUERIES, 3, index="ivfpq")


def test_an_index_in_object_storage_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDSTORE_CACHE", str(tmp_path / "cache"))
    remote = embedstore.open("memory://kept-index/store.zarr", mode="a")
    add_rows(remote, 0, 1500)
    build_index(remote, index_type="ivf_pq")
    assert_agrees(remote)
    (folder,) = (tmp_path / "cache" / "indexes").iterdir()
    (folder / "trained.faiss").write_bytes(b"")
    remote.refresh()
    with pytest.raises(StoreCorruptError, match=r"trained.faiss was changed"):
        remote.search(QUERIES, 3)


def test_the_commands_build_list_update_and_remove(store: Store) -> None:
    runner, options = CliRunner(), ["--store", str(store.path)]
    add_rows(store, BUILT, 3200)
    listed = json.loads(runner.invoke(app, ["index", "ls", "--json", *options]).stdout)
    assert [(one["n_rows"], one["n_uncovered"]) for one in listed] == [(3000, 200)]
    updated = json.loads(runner.invoke(app, ["index", "update", "--json", *options]).stdout)
    assert updated["n_added"] == 200 and updated["recall"]["reached"] in (True, False)
    built = runner.invoke(app, ["index", "build", "--kind", "ivf_pq", "--memory", "1GB", *options])
    assert built.exit_code == 0 and "recall" in built.stdout
    assert "Removed: ivf_pq." in runner.invoke(app, ["index", "rm", *options]).stderr
    assert isinstance(runner.invoke(app, ["index", "rm", *options]).exception, StoreNotFoundError)
