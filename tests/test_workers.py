"""Several workers: one process a device, the same store bit by bit, and a death that is noticed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import embedstore
from embedstore.errors import InputError, StoreWriteError, WorkerDiedError
from embedstore.executors.local import pieces
from embedstore.models import Model, load_model
from embedstore.planning import Work
from embedstore.store import Store
from embedstore.testing.checkpoints import make_checkpoint

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(make_checkpoint(tmp_path_factory.mktemp("esm"), "esm"), family="esm")


def filled(path: Path, count: int = 300) -> Store:
    source = random.Random(3)
    store = embedstore.open(path / "store.zarr", mode="a")
    file = path / "p.fasta"
    with file.open("w") as out:
        for number in range(count):
            out.write(f">p{number}\n{''.join(source.choices(RESIDUES, k=source.randint(1, 200)))}\n")
    store.add("mine", file)
    return store


def content(store: Store) -> dict[bytes, bytes]:
    return {
        key.tobytes(): row.tobytes()
        for name in store.spaces()
        for keys, rows in store.space(name).blocks()
        for key, row in zip(keys, rows, strict=True)
    }


def test_several_workers_give_what_one_gives_bit_by_bit(tmp_path: Path, model: Model) -> None:
    alone, team = filled(tmp_path / "a"), filled(tmp_path / "b")
    embedstore.build(alone, model, batch_residues=2000)
    report = embedstore.build(team, model, devices=["cpu", "cpu"], batch_residues=2000)
    assert (report.n_embedded, report.n_skipped, report.n_died) == (report.n_expected, 0, 0)
    assert content(alone) == content(team)
    assert embedstore.verify(team).ok


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()


def test_pieces_of_a_unit_hold_each_key_once_in_the_same_batches(tmp_path: Path, model: Model) -> None:
    store = filled(tmp_path)
    with Work(store, None, [{"model": "x", "dim": 1}], budget=2000) as work:
        (unit,) = work.units()
        whole = [unit.keys.digests[rows].tobytes() for rows in unit.batches]
        cut = list(pieces(unit, n_residues=6000))
    assert len(cut) > 3
    assert [piece.keys.digests[rows].tobytes() for piece in cut for rows in piece.batches] == whole


def kill_workers(pause: float, n_kills: int) -> threading.Thread:
    """Kill children of this process, one after the other, while a build runs."""

    def run() -> None:
        left = n_kills
        while left:
            time.sleep(pause)
            children = [
                child
                for child in psutil.Process().children(recursive=True)
                if "spawn_main" in " ".join(child.cmdline())
            ]
            if children:
                os.kill(children[0].pid, signal.SIGKILL)
                left -= 1

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path, model: Model) -> None:
    store = filled(tmp_path, count=2000)
    # Workers start in some seconds; one of the two is then killed at its work.
    killer = kill_workers(6.0, 1)
    report = embedstore.build(store, model, devices=["cpu", "cpu"], batch_residues=500)
    if killer.is_alive():
        pytest.skip("the build was over before the worker was killed")
    assert report.n_embedded == report.n_expected
    assert report.n_skipped == 0
    assert embedstore.verify(store).ok
    expected = filled(tmp_path / "a", count=2000)
    embedstore.build(expected, model, batch_residues=500)
    assert content(store) == content(expected)


def test_workers_that_only_die_end_the_build_with_the_keys_at_which_they_died(tmp_path: Path, model: Model) -> None:
    store = filled(tmp_path, count=20)
    killer = kill_workers(0.05, 2)
    with pytest.raises(WorkerDiedError, match=r"was ended by signal 9.*Nothing was embedded"):
        embedstore.build(store, model, devices=["cpu", "cpu"])
    killer.join(timeout=5)
    assert embedstore.verify(store).ok
    assert embedstore.build(store, model).n_embedded == 20


def test_what_a_worker_raises_is_raised(tmp_path: Path, model: Model) -> None:
    store = filled(tmp_path, count=20)
    with pytest.raises(InputError, match="Unknown device"):
        embedstore.build(store, model, devices=["gpu9"])


def test_a_model_that_cannot_be_loaded_again_needs_one_process(tmp_path: Path, model: Model) -> None:
    class Handmade(Model):
        name, dim, max_residues, batch_residues, unknown_letters = "handmade", 4, None, 1000, b""

        def identity(self) -> dict[str, str | int | None]:
            return {"model": "handmade"}

    with pytest.raises(InputError, match="was not made by load_model"):
        embedstore.build(filled(tmp_path, count=5), Handmade(), devices=["cpu", "cpu"])


def test_a_disk_that_is_too_small_is_seen_before_the_first_batch(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, count=20)
    monkeypatch.setattr(Store, "free_bytes", lambda _: 64 << 20)
    with pytest.raises(StoreWriteError, match=r"The vectors will take .* GiB; the disk of"):
        embedstore.build(store, model)
    assert store.spaces() == []


def test_a_sample_says_how_long_and_how_big(tmp_path: Path, model: Model) -> None:
    store = filled(tmp_path)
    plan = embedstore.plan(store, model, pooling=["mean", "max"], sample_seconds=5.0, batch_residues=1000)
    assert plan.n_bytes == 2 * plan.n_missing * model.dim * 2
    assert plan.seconds is not None
    assert plan.seconds_range is not None
    assert 0 < plan.seconds_range[0] <= plan.seconds <= plan.seconds_range[1]
    assert plan.memory_bytes is not None
    assert plan.memory_bytes > 50 << 20
    assert store.spaces() == []
    np.testing.assert_allclose(plan.padded_share, 0.05, atol=0.1)
