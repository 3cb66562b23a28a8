"""The build: every key ends in exactly one place, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

import embedstore
from embedstore.embedding import api, planner
from embedstore.embedding.embedder import Embedder, space_spec
from embedstore.embedding.executors.worker import Worker
from embedstore.embedding.planner import BuildPlanner
from embedstore.embedding.query import embed_records
from embedstore.embedding.windows import LongSequencePolicy
from embedstore.errors import (
    EmbedstoreError,
    InputError,
    LedgerError,
    NonFiniteError,
    OutOfMemoryError,
    StoreWriteError,
    UnknownNameError,
)
from embedstore.models import Model, load_model
from embedstore.sequences import digest
from embedstore.store import Store, external_partition, space_writer
from embedstore.store.external_partition import BloomFilter, KeyPartition
from embedstore.store.locks import exclusive_lock
from embedstore.store.part_writer import PartWriter
from embedstore.testing.checkpoints import make_checkpoint
from embedstore.types import Progress, Record

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def proteins(count: int, *, seed: int = 0, longest: int = 120) -> dict[str, str]:
    source = random.Random(seed)
    return {f"p{i}": "".join(source.choices(RESIDUES, k=source.randint(1, longest))) for i in range(count)}


def fasta(path: Path, sequences: dict[str, str]) -> Path:
    path.write_text("".join(f">{name}\n{residues}\n" for name, residues in sequences.items()))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = embedstore.open(tmp_path / "store.zarr", mode="a")
    store.add("mine", fasta(tmp_path / "mine.fasta", proteins(500)))
    return store


class Wrapped(Model):
    """A real model with something between it and the build."""

    def __init__(self) -> None:
        self._model = load_model("kmer")
        self.name, self.dim, self.batch_residues = self._model.name, self._model.dim, 2000
        self.unknown_letters = self._model.unknown_letters
        self.max_residues: int | None = None
        self.n_recomputed = 0
        self.calls: list[int] = []

    def identity(self) -> dict[str, str | int | None]:
        return self._model.identity()

    def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
        self.calls.append(len(sequences))
        return self._model.embed(sequences, pooling=pooling)


def content(store: Store) -> dict[bytes, bytes]:
    space = store.space()
    return {
        key.tobytes(): vector.tobytes()
        for keys, vectors in space.blocks()
        for key, vector in zip(keys, vectors, strict=True)
    }


def test_every_distinct_sequence_gets_its_own_vector(store: Store) -> None:
    report = embedstore.build(store, load_model("kmer"))
    dataset = store.dataset("mine")
    assert (report.n_expected, report.n_present, report.n_skipped) == (report.n_embedded, 0, 0)
    assert report.n_expected == len({row.tobytes() for row in dataset.digests})
    vectors = store.space("kmer").take(dataset.digests)
    assert vectors.dtype == np.float16
    expected = load_model("kmer").embed(store.sequences.take(dataset.digests)).astype(np.float16)
    np.testing.assert_array_equal(vectors, expected)
    assert embedstore.verify(store).ok


def test_the_second_build_embeds_nothing(store: Store) -> None:
    first = embedstore.build(store, load_model("kmer"))
    model = Wrapped()
    again = embedstore.build(store, model)
    assert (again.n_present, again.n_embedded, model.calls) == (first.n_embedded, 0, [])
    assert len(store.space().builds) == 1


def test_only_new_sequences_are_embedded(store: Store, tmp_path: Path) -> None:
    embedstore.build(store, load_model("kmer"))
    old = proteins(500)
    store.add("more", fasta(tmp_path / "more.fasta", {"a": old["p0"], "b": "MKVWWWW", "c": "MKVWWWW", "d": "W"}))
    report = embedstore.build(store, load_model("kmer"), ["more"])
    new = {"MKVWWWW", "W"} - set(old.values())
    assert (report.n_expected, report.n_embedded) == (3, len(new))


@pytest.mark.parametrize("count", range(37, 45))
def test_the_last_partial_batch_is_not_lost(tmp_path: Path, count: int) -> None:
    store = embedstore.open(tmp_path / "s.zarr", mode="a")
    store.add("mine", fasta(tmp_path / "p.fasta", {f"p{i}": "MKV" + "A" * (i + 1) for i in range(count)}))
    assert embedstore.build(store, load_model("kmer"), batch_residues=160).n_embedded == count


def test_the_plan_says_what_the_build_then_does(store: Store) -> None:
    plan = embedstore.plan(store, load_model("kmer"))
    assert store.spaces() == []
    report = embedstore.build(store, load_model("kmer"))
    assert (plan.n_missing, plan.n_residues, plan.spaces) == (report.n_embedded, report.n_residues, report.spaces)
    after = embedstore.plan(store, load_model("kmer"))
    assert (after.n_missing, after.n_present, after.n_batches) == (0, report.n_expected, 0)


def test_running_out_of_memory_halves_the_batch_and_loses_nothing(store: Store) -> None:
    class Tight(Wrapped):
        def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
            if len(self.calls) in (3, 4, 7) or len(sequences) > 40:
                self.calls.append(-1)
                raise OutOfMemoryError("no room")
            return super().embed(sequences, pooling=pooling)

    report = embedstore.build(store, Tight())
    assert report.n_halved_batches >= 3
    assert (report.n_embedded, report.n_skipped) == (report.n_expected, 0)
    assert embedstore.verify(store).ok


@pytest.mark.parametrize("error", [OutOfMemoryError, NonFiniteError])
def test_what_fails_alone_too_is_skipped_by_name(store: Store, error: type[EmbedstoreError]) -> None:
    class Small(Wrapped):
        def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
            if max(map(len, sequences)) > 100:
                raise error("for a reason")
            return super().embed(sequences, pooling=pooling)

    report = embedstore.build(store, Small())
    too_long = {digest(text.encode()) for text in proteins(500).values() if len(text) > 100}
    assert report.n_skipped == len(too_long) > 0
    assert set(store.space().skipped) == too_long
    assert all(error.kind in why and "for a reason" in why for why in report.skipped.values())
    assert embedstore.verify(store).ok
    assert embedstore.build(store, load_model("kmer")).n_embedded == len(too_long)
    assert store.space().skipped == {}


def test_a_protein_over_the_limit_is_skipped_and_not_cut(store: Store) -> None:
    model = Wrapped()
    model.max_residues = 50
    with pytest.raises(InputError, match="no residue vectors, so that windows cannot be merged"):
        embedstore.build(store, model)
    report = embedstore.build(store, model, long="skip")
    assert report.n_skipped == len({text for text in proteins(500).values() if len(text) > 50})
    assert all("takes at most 50" in why for why in report.skipped.values())


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, "float16"), (np.inf, "float32"), (1e5, "float16"), (0.0, "float16")]
)
def test_a_vector_that_cannot_be_stored_is_skipped_by_name(store: Store, value: float, dtype: str) -> None:
    class Broken(Wrapped):
        def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
            vectors = super().embed(sequences, pooling=pooling)
            vectors[[len(text) == 60 for text in sequences]] = value
            return vectors

    report = embedstore.build(store, Broken(), dtype=dtype)
    assert report.n_skipped == len({text for text in proteins(500).values() if len(text) == 60}) > 0
    assert embedstore.verify(store).ok


def test_a_model_that_returns_too_few_rows_is_an_error(store: Store) -> None:
    class Short(Wrapped):
        def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
            return super().embed(sequences, pooling=pooling)[1:]

    with pytest.raises(LedgerError, match=r"expected \(16, 1024\)"):
        embedstore.build(store, Short())


@pytest.mark.parametrize(
    "changed",
    [
        {"weights_sha256": "0"},
        {"revision": "other"},
        {"layer": 3},
        {"precision": "bfloat16"},
        {"residue_policy": "none"},
    ],
)
def test_any_other_identity_is_another_space(store: Store, changed: dict[str, str | int | None]) -> None:
    class Other(Wrapped):
        def identity(self) -> dict[str, str | int | None]:
            return {**super().identity(), **changed}

    embedstore.build(store, load_model("kmer"))
    report = embedstore.build(store, Other())
    assert (report.n_present, len(store.spaces())) == (0, 2)
    with pytest.raises(InputError, match="Which space"):
        store.space("kmer")


def test_another_dtype_is_another_space(store: Store) -> None:
    embedstore.build(store, load_model("kmer"))
    assert embedstore.build(store, load_model("kmer"), dtype="float32").n_present == 0
    with pytest.raises(InputError, match="Unknown dtype 'float8'"):
        embedstore.build(store, load_model("kmer"), dtype="float8")


def test_an_unknown_data_set_is_an_error_before_anything_is_written(store: Store) -> None:
    with pytest.raises(UnknownNameError, match="Unknown data set 'mime'"):
        embedstore.build(store, load_model("kmer"), ["mime"])
    assert store.spaces() == []


def test_two_writers_that_raced_show_each_key_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Model = load_model("kmer")
    embedstore.build(store, model)
    expected = content(store)
    # The second writer planned before the first had committed anything: it embeds all over again.
    with monkeypatch.context() as patch:
        patch.setattr(planner.BuildPlanner, "_keys_of", lambda work, _: KeyPartition(work.n_units))
        patch.setattr(api, "_close_ledger", lambda *arguments, **options: None)
        embedstore.build(store, model)
    store.refresh()
    assert sum(part.n_rows for part in store.space().parts) == 2 * len(expected)
    assert content(store) == expected
    assert store.space().n_rows == len(expected)


KILLED = """
import sys, time
import embedstore
from embedstore.models import load_model
from embedstore.store import space_writer, spaces
space_writer.PART_ROWS = 64
store = embedstore.open(sys.argv[1])
model = load_model("kmer")
embed_each = model.embed_each
def slow(sequences, poolings):
    time.sleep(0.02)
    return embed_each(sequences, poolings)
model.embed_each = slow
print("ready", flush=True)
embedstore.build(store, model, batch_residues=1500)
"""


def count_parts(store: Store) -> int:
    return len(list(Path(str(store.path)).glob("spaces/*/parts/*/zarr.json")))


def test_killed_at_any_moment_and_run_again_gives_the_same_store(tmp_path: Path) -> None:
    file = fasta(tmp_path / "p.fasta", proteins(3000, seed=5))
    whole, broken = (embedstore.open(tmp_path / name, mode="a") for name in ("whole.zarr", "broken.zarr"))
    for store in (whole, broken):
        store.add("mine", file)
    embedstore.build(whole, load_model("kmer"), batch_residues=1500)
    kills, rows = 0, [0]
    source = random.Random(11)
    while kills < 4:
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(broken.path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        n_parts = count_parts(broken)
        while process.poll() is None and count_parts(broken) == n_parts:
            time.sleep(0.01)
        time.sleep(source.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == -signal.SIGKILL:
            kills += 1
            broken.refresh()
            rows.append(broken.space().n_rows if broken.spaces() else 0)
            assert embedstore.verify(broken).ok
    assert rows == sorted(rows)
    assert 0 < rows[-1] < whole.space().n_rows
    broken.refresh()
    report = embedstore.build(broken, load_model("kmer"), batch_residues=1500)
    assert report.n_present == rows[-1]
    assert content(broken) == content(whole)
    assert embedstore.verify(broken).ok


def test_parts_are_committed_while_the_work_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_writer, "PART_ROWS", 100)
    embedstore.build(store, load_model("kmer"), batch_residues=1000)
    assert len(store.space().parts) >= 4
    assert all(part.n_rows >= 100 for part in store.space().parts[:-1])
    assert os.path.commonpath([part.path for part in store.space().parts]).endswith("parts")


def test_a_commit_that_fails_at_the_end_leaves_no_part_of_the_other_spaces_lying(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(part: PartWriter, n_rows: int, details: dict[str, Any]) -> str:
        raise StoreWriteError("The disk is full.")

    monkeypatch.setattr(PartWriter, "commit", full)
    model = load_model(make_checkpoint(store.path.parent / "esm", "esm"), family="esm")
    with pytest.raises(StoreWriteError, match="The disk is full"):
        embedstore.build(store, model, pooling=["mean", "max"], residues=True)
    assert len(list(store.path.glob("spaces/*/parts"))) == 3
    assert list(store.path.glob("spaces/*/parts/*/")) == []


@pytest.mark.parametrize("stamp", ["00000000T000000000000-00000000", "99999999T000000000000-00000000"])
def test_sequences_that_others_add_while_a_build_runs_do_not_shift_its_reads(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stamp: str
) -> None:
    class Adding(Wrapped):
        """Between two batches, another machine, whose clock is wrong, adds sequences; the worker sees the new part."""

        def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
            if not self.calls:
                with monkeypatch.context() as patch:
                    patch.setattr("embedstore.store.part_writer.new_part_name", lambda: stamp)
                    embedstore.open(store.path).add("more", fasta(tmp_path / "more.fasta", proteins(900, seed=9)))
                store.refresh()
            return super().embed(sequences, pooling=pooling)

    report = embedstore.build(store, Adding(), ["mine"])
    assert report.n_embedded == report.n_expected
    assert embedstore.verify(store).ok


@pytest.mark.parametrize("when", ["made", "written"])
def test_a_temporary_directory_that_is_full_is_told_as_such(
    store: Store, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def full(*arguments: object, **options: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(planner, "UNIT_ROWS", 100)
    monkeypatch.setattr(external_partition, "_FLUSH_ROWS", 100)
    if when == "made":
        monkeypatch.setattr(tempfile, "TemporaryFile", full)
    else:
        # Every write to it fails, as on a full disk.
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb"))  # noqa: PTH123, SIM115
    with pytest.raises(StoreWriteError, match=r"temporary file in .*No space left.*set TMPDIR"):
        embedstore.build(store, load_model("kmer"))
    assert store.spaces() == []


def test_a_protein_whose_residue_vectors_do_not_fit_is_skipped_by_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> NoReturn:
        raise MemoryError("Unable to allocate 137. GiB")

    monkeypatch.setattr("embedstore.embedding.embedder.merge_windows", no_room)
    model = load_model(make_checkpoint(store.path.parent / "esm", "esm"), family="esm")
    report = embedstore.build(store, model, max_residues=100)
    assert report.n_skipped == len({text for text in proteins(500).values() if len(text) > 100}) > 0
    assert all("do not fit into memory" in reason for reason in report.skipped.values())


def test_a_small_data_set_in_a_large_store_is_planned_without_the_others(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add("large", fasta(tmp_path / "large.fasta", proteins(6000, seed=8)))
    embedstore.build(store, load_model("kmer"), ["large"])
    taken: list[int] = []
    append = KeyPartition.append
    monkeypatch.setattr(
        KeyPartition, "append", lambda self, rows, **more: (taken.append(len(rows)), append(self, rows, **more))
    )
    few = embedstore.open(store.path)
    few.add("few", fasta(tmp_path / "few.fasta", dict(list(proteins(500).items())[:20])))
    plan = embedstore.plan(few, load_model("kmer"), ["few"])
    assert (plan.n_expected, plan.n_missing) == (20, 20)
    # What is asked for, and one in sixteen of the others, of sequences and of vectors.
    assert sum(taken) < 2 * 6500 / 8


def test_a_sieve_never_holds_back_what_was_added() -> None:
    source = np.random.default_rng(0)
    keys, others = source.integers(0, 256, (2, 5000, 24), dtype=np.uint8)
    sieve = BloomFilter(len(keys))
    sieve.add(keys)
    assert sieve.may_hold(keys).all()
    assert sieve.may_hold(others).mean() < 0.1
    assert not BloomFilter(0).may_hold(others).any()


def test_a_model_that_uses_its_array_again_does_not_change_what_waits_to_be_written(store: Store) -> None:
    class Reusing(Wrapped):
        def embed(self, sequences: Sequence[bytes], *, pooling: str = "mean") -> NDArray[np.float32]:
            self.array[: len(sequences)] = super().embed(sequences, pooling=pooling)
            return self.array[: len(sequences)]

    model = Reusing()
    model.array = np.zeros((500, model.dim), np.float32)  # type: ignore[attr-defined]
    embedstore.build(store, model)
    digests = store.space().digests
    expected = load_model("kmer").embed(store.sequences.take(digests)).astype(np.float16)
    np.testing.assert_array_equal(store.space().take(digests), expected)


def test_nobody_is_alone_in_a_store_while_a_worker_is_between_two_parts(store: Store) -> None:
    model = load_model("kmer")
    long = LongSequencePolicy(kind="window", limit=None)
    space = store.create_space(space_spec(model, pooling="mean", dtype="float16", long=long))
    with Worker(store, Embedder(model, ["mean"], long), [space]), exclusive_lock(store.path) as is_alone:
        assert not is_alone
    with exclusive_lock(store.path) as is_alone:
        assert is_alone


def test_vectors_that_are_removed_while_a_build_runs_are_told_as_such(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space_writer, "PART_ROWS", 100)

    def progress(step: Progress) -> None:
        if step.done > step.total / 2 and not removed:
            removed.append(embedstore.remove(embedstore.open(store.path), "kmer").n_rows)

    removed: list[int] = []
    with pytest.raises(LedgerError, match=r"build again embeds them\. Unless vectors of kmer-\w+ were removed"):
        embedstore.build(store, Wrapped(), progress=progress)
    assert removed[0] > 0
    assert embedstore.build(store, Wrapped()).n_expected == store.space().n_rows


def test_an_estimate_does_not_come_from_what_a_killed_build_has_left_of_a_unit(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "UNIT_ROWS", 250)
    identity = space_spec(
        load_model("kmer"), pooling="mean", dtype="float16", long=LongSequencePolicy(kind="skip", limit=None)
    )
    model, sizes = Wrapped(), []
    with BuildPlanner(store, None, [identity], budget=2000) as work:
        unit = next(work.units())
        # All but the last batch, which holds the shortest.
        done = np.concatenate(unit.batches[:-1])
        with space_writer.SpaceWriter(store.create_space(identity)) as writer:
            keys = unit.keys.rows(done)
            writer.append(keys.digests, np.ones((len(done), model.dim)), keys.lengths, np.zeros(len(done), np.uint8))
    embed = Wrapped.embed
    monkeypatch.setattr(
        Wrapped, "embed", lambda self, texts, **more: sizes.append(max(map(len, texts))) or embed(self, texts, **more)
    )
    assert embedstore.plan(store, model, sample_seconds=5.0).seconds is not None
    assert max(sizes) > 100


def test_a_query_whose_vector_a_build_would_leave_out_is_refused_by_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Wrapped()
    embedstore.build(store, model)
    monkeypatch.setattr(model, "embed", lambda texts, **_: np.full((len(texts), model.dim), 1e6, np.float32))
    with pytest.raises(NonFiniteError, match=r"vector of 'huge' is not finite, is zero, or exceeds float16"):
        embed_records(store.space(), [Record(id="huge", residues=b"MKV" * 50)], model=model)
