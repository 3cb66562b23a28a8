"""Verification: every kind of damage in every file is told, and nothing else is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import embedstore
from embedstore.errors import EmbedstoreError, InputError
from embedstore.models import load_model
from embedstore.sequences import digest
from embedstore.store import Store
from embedstore.store.keys import as_digests
from embedstore.store.part_writer import PartWriter
from embedstore.store.space_writer import SpaceWriter


def told(store: Store, **options: bool) -> list[str]:
    """Problems and notes, or the error with which the store does not open."""
    try:
        report = embedstore.verify(embedstore.open(store.path), **options)  # type: ignore[arg-type]
    except EmbedstoreError as error:
        return [str(error)]
    return report.problems + report.notes


def every_file(store: Store) -> Iterator[Path]:
    yield from sorted(path for path in store.path.rglob("*") if path.is_file())


def is_record(path: Path) -> bool:
    return path.name == "zarr.json" and path.parent.parent.name in ("parts", "builds")


def test_a_whole_store_has_nothing_to_tell(store: Store) -> None:
    report = embedstore.verify(store)
    assert (report.problems, report.notes) == ([], [])
    assert report.n_files == sum(
        1
        for path in every_file(store)
        if any(one.name in ("parts", "builds") for one in path.parents)
        and not is_record(path)
        and path.parent.name not in ("parts", "builds")
    )
    assert report.n_vectors == sum(store.any_space(name).n_rows for name in store.spaces())


@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_every_kind_of_damage_in_every_file_is_told(store: Store, damage: str) -> None:
    files = list(every_file(store))
    assert len(files) > 100
    for number, path in enumerate(files):
        whole = path.read_bytes()
        if damage == "delete":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(whole[:-1])
        else:
            damaged = bytearray(whole)
            damaged[number * 7919 % len(damaged)] ^= 1 << number % 8
            path.write_bytes(damaged)
        assert told(store), path
        path.write_bytes(whole)
    assert told(store) == []


def test_a_file_that_no_record_states_is_told_in_every_part(store: Store) -> None:
    for record in sorted(path for path in every_file(store) if is_record(path)):
        stranger = record.parent / "vectors" / "c" / "7"
        made = not stranger.parent.exists()
        stranger.parent.mkdir(parents=True, exist_ok=True)
        stranger.write_bytes(b"x")
        for quick in (False, True):
            assert any("is in no record" in text for text in told(store, quick=quick)), record
        stranger.unlink()
        if made:
            shutil.rmtree(record.parent / "vectors")
    assert told(store) == []


def exchange(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_files_of_two_parts_that_were_exchanged_are_told(store: Store) -> None:
    for home in (store.path / "sequences" / "parts", store.space("kmer").path / "parts"):  # type: ignore[operator]
        one, other = sorted(path for path in home.iterdir() if path.is_dir())[:2]
        for name in sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file()):
            if (one / name).read_bytes() == (other / name).read_bytes():
                continue
            exchange(one / name, other / name)
            assert told(store), name
            exchange(one / name, other / name)
    assert told(store) == []


def test_two_parts_that_were_exchanged_are_told(store: Store) -> None:
    parts = sorted(path.parent for path in every_file(store) if is_record(path))
    for one, other in zip(parts, parts[1:] + parts[:1], strict=True):
        exchange(one, other)
        assert any("was moved there" in text for text in told(store, quick=True)), (one, other)
        exchange(one, other)
    assert told(store) == []


def test_two_spaces_or_data_sets_that_were_exchanged_are_told(store: Store) -> None:
    for folder in ("spaces", "datasets"):
        one, other = sorted(path for path in (store.path / folder).iterdir() if path.is_dir())
        exchange(one, other)
        assert told(store)
        exchange(one, other)
    one, other = sorted(store.path.glob("spaces/*/zarr.json"))
    exchange(one, other)
    assert told(store)
    exchange(one, other)
    assert told(store) == []


def test_a_ledger_that_was_deleted_is_a_note_and_building_again_writes_it_anew(store: Store) -> None:
    for record in store.path.glob("spaces/kmer-*/builds/*/"):
        shutil.rmtree(record)
    report = embedstore.verify(store)
    assert report.ok
    assert sum("no finished build says so" in note for note in report.notes) == 2
    embedstore.build(store, load_model("kmer"))
    assert embedstore.verify(store).notes == []


def test_quick_reads_no_data_and_sees_sizes_and_records(store: Store) -> None:
    shard = store.space("kmer").parts[0].path / "vectors" / "c" / "0" / "0"
    whole = shard.read_bytes()
    shard.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert told(store, quick=True) == []
    assert any("was changed" in text for text in told(store))
    shard.write_bytes(whole[:-1])
    assert any("was changed" in text for text in told(store, quick=True))


def test_one_space_can_be_verified_alone(store: Store) -> None:
    shard = store.residue_space("made_up").parts[0].path / "residues" / "c" / "0" / "0"
    shard.write_bytes(b"")
    assert embedstore.verify(store, space="kmer").ok
    assert not embedstore.verify(store, space="made_up").ok
    with pytest.raises(InputError, match="Unknown space"):
        embedstore.verify(store, space="prot_t5")


def commit(store: Store, **arrays: np.ndarray) -> None:
    """A part of matrices that its writer got wrong: whole by its hashes."""
    texts = [b"WWWW", b"HHHHH"]
    whole = {
        "residues": np.ones((9, 5), np.float32),
        "residues_offsets": np.array([0, 4, 9], np.int64),
        "digests": as_digests([digest(text) for text in texts]),
        "lengths": np.array([4, 5], np.int32),
        "flags": np.zeros(2, np.uint8),
    }
    with PartWriter(store.path, f"spaces/{store.residue_space('made_up').id}/parts", "vectors") as writer:
        for name, rows in {**whole, **arrays}.items():
            writer.append(name, rows, rows.dtype)
        writer.commit(2, {})


WRONG: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "offsets that descend": ({"residues_offsets": np.array([0, 10, 9], np.int64)}, "offsets do not cut"),
    "offsets that do not begin": ({"residues_offsets": np.array([1, 4, 9], np.int64)}, "offsets do not cut"),
    "offsets that end early": ({"residues_offsets": np.array([0, 4, 8], np.int64)}, "offsets do not cut"),
    "other lengths": ({"lengths": np.array([5, 4], np.int32)}, "offsets do not cut"),
    "a flag too few": ({"flags": np.zeros(1, np.uint8)}, "states 2 rows"),
    "NaN": ({"residues": np.full((9, 5), np.nan, np.float32)}, "zero or not finite"),
    "another width": ({"residues": np.ones((9, 4), np.float32)}, "has others"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_a_writer_got_wrong_is_told(store: Store, what: str) -> None:
    arrays, expected = WRONG[what]
    commit(store, **arrays)
    assert any(expected in text for text in told(store))


def test_a_length_that_is_not_that_of_the_sequence_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "w.fasta").write_text(">w\nWWWWWWWW\n")
    store.add("late", tmp_path / "w.fasta")
    space = store.space("kmer")
    with SpaceWriter(space) as writer:
        key = as_digests([digest(b"WWWWWWWW")])
        writer.append(key, np.ones((1, space.dim)), np.array([7]), np.zeros(1, np.uint8))
    assert any("another length than their sequences" in text for text in told(store))


@pytest.mark.parametrize("change", [{"attributes": {"a": 1}}, {"node_type": "array"}, {"zarr_format": 2}])
def test_groups_are_what_was_written(store: Store, change: dict[str, object]) -> None:
    for path in ("zarr.json", "spaces/zarr.json", "datasets/mine/parts/zarr.json"):
        file = store.path / path
        whole = file.read_text()
        file.write_text(json.dumps({**json.loads(whole), **change}))
        assert told(store, quick=True), path
        file.write_text(whole)


def test_deep_embeds_a_sample_again_and_finds_vectors_of_other_proteins(store: Store) -> None:
    report = embedstore.verify(store, deep=True, sample=16)
    assert report.ok, report.problems
    assert report.n_embedded_again == 16
    assert any("made_up" in note and "not embedded again" in note for note in report.notes)
    # Whole by every hash, and yet each protein has the vector of another: what only the model can tell.
    space = store.space("kmer")
    digests, vectors = (np.concatenate(one) for one in zip(*space.blocks(), strict=True))
    lengths = store.sequences.lengths(digests)
    for part in space.parts:
        shutil.rmtree(part.path)
    store.refresh()
    with SpaceWriter(store.create_space(space.identity)) as writer:
        writer.append(digests, np.roll(vectors, 1, axis=0), lengths, np.zeros(len(digests), np.uint8))
    assert embedstore.verify(store).ok
    report = embedstore.verify(store, deep=True)
    assert any("differ by more than float32 explains" in problem for problem in report.problems)


def test_deep_embeds_matrices_again_by_their_mean(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def made(space: object, records: list[embedstore.Record], **_: Callable[..., None]) -> np.ndarray:
        calls.append("made")
        rows = [np.frombuffer(record.residues, np.uint8)[:, None] * np.arange(1, 6)[None] / 64 for record in records]
        return np.stack([row.mean(axis=0) for row in rows])

    monkeypatch.setattr("embedstore.embedding.deep_verify.embed_records", made)
    monkeypatch.setattr("embedstore.embedding.deep_verify.load_space_model", lambda space, weights: None)
    report = embedstore.verify(store, deep=True, space="made_up")
    assert report.ok, report.problems
    assert (calls, report.n_embedded_again) == (["made"], 32)


def test_deep_and_quick_exclude_each_other(store: Store) -> None:
    with pytest.raises(InputError, match="deep or quick"):
        embedstore.verify(store, deep=True, quick=True)
    with pytest.raises(InputError, match="at least 1"):
        embedstore.verify(store, deep=True, sample=0)
