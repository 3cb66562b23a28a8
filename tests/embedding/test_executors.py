"""Several workers: one process a device, the same store bit by bit, and a death that is noticed."""

from __future__ import annotations

import importlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import embedstore
from embedstore.embedding.executors import process_pool
from embedstore.embedding.executors.process_pool import split_unit
from embedstore.embedding.planner import BuildPlanner
from embedstore.errors import InputError, OutOfMemoryError, StoreWriteError, WorkerDiedError
from embedstore.models import Model, load_model
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
    with BuildPlanner(store, None, [{"model": "x", "dim": 1}], budget=2000) as work:
        (unit,) = work.units()
        whole = [unit.keys.digests[rows].tobytes() for rows in unit.batches]
        cut = list(split_unit(unit, n_residues=6000))
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


def misbehaving(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """Have workers run this instead of their life; real processes, on a real line."""
    (folder / "misbehaving.py").write_text(textwrap.dedent(body))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "misbehaving", raising=False)
    monkeypatch.setattr(process_pool, "worker_main", importlib.import_module("misbehaving").worker_main)


@pytest.mark.parametrize(
    ("body", "match"),
    [
        # A message is its length, then so many bytes: this one is cut, as by a kill in the middle of it.
        (
            """
            import os, signal, struct
            def worker_main(connection, config, device):
                connection.send(("ready", None))
                connection.recv()
                os.write(connection.fileno(), struct.pack("!i", 4096) + b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            """,
            "was ended by signal 9 while at work on 5 sequences",
        ),
        (
            """
            import os
            def worker_main(connection, config, device):
                os._exit(1)
            """,
            r"exit code 1 before it could start.*What it wrote to stderr says why",
        ),
        (
            """
            import os, signal
            def worker_main(connection, config, device):
                os.kill(os.getpid(), signal.SIGKILL)
            """,
            "was ended by signal 9 before or after its work.*Out of memory is the usual reason",
        ),
        # It closes the line and does not end: the death must be told all the same, after some patience.
        (
            """
            import signal, time
            def worker_main(connection, config, device):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                connection.close()
                time.sleep(600)
            """,
            "was ended by signal 9",
        ),
    ],
    ids=["in a message", "at import", "at start", "deaf"],
)
def test_a_worker_that_ends_at_any_point_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, match: str
) -> None:
    monkeypatch.setattr(process_pool, "_GRACE_S", 2.0)
    store = filled(tmp_path, count=5)
    misbehaving(monkeypatch, tmp_path, body)
    with pytest.raises(WorkerDiedError, match=match):
        embedstore.build(store, load_model("kmer"), devices=["cpu"])
    assert not workers_of(os.getpid())


@pytest.mark.parametrize(
    ("raised", "error", "match"),
    [
        # torch.load says so of a checkpoint that was cut; it is no hung up line.
        ("EOFError('Ran out of input')", EOFError, "Ran out of input"),
        ("BrokenPipeError('of a store on the network')", BrokenPipeError, "of a store on the network"),
        ("OutOfMemoryError('The weights do not fit')", OutOfMemoryError, "The weights do not fit"),
        ("Odd(1, 2)", RuntimeError, "Odd in a worker: 1 and 2"),
        ("Locked()", RuntimeError, "Locked in a worker"),
    ],
)
def test_whatever_a_worker_raises_arrives_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: str, error: type[Exception], match: str
) -> None:
    body = f"""
        import threading
        from embedstore.errors import EmbedstoreError, OutOfMemoryError
        from embedstore.embedding.executors import worker_process
        class Odd(EmbedstoreError):
            def __init__(self, a, b):
                super().__init__(f"{{a}} and {{b}}")
        class Locked(EmbedstoreError):
            def __init__(self):
                self.lock = threading.Lock()
        def broken(parent, config, device):
            raise {raised}
        def worker_main(connection, config, device):
            worker_process._run_units = broken
            worker_process.worker_main(connection, config, device)
        """
    store = filled(tmp_path, count=5)
    misbehaving(monkeypatch, tmp_path, body)
    with pytest.raises(error, match=match) as caught:
        embedstore.build(store, load_model("kmer"), devices=["cpu"])
    assert "in broken" in str(caught.value.__cause__)
    assert not workers_of(os.getpid())


def test_an_error_in_the_progress_callback_ends_the_workers_and_is_raised(tmp_path: Path) -> None:
    def progress(step: object) -> None:
        raise BrokenPipeError("nobody reads the bar")

    store = filled(tmp_path, count=200)
    with pytest.raises(BrokenPipeError, match="nobody reads the bar"):
        embedstore.build(store, load_model("kmer"), devices=["cpu", "cpu"], batch_residues=500, progress=progress)
    assert not workers_of(os.getpid())
    assert embedstore.verify(store).ok


def workers_of(pid: int) -> list[psutil.Process]:
    return [one for one in psutil.Process(pid).children(recursive=True) if "spawn_main" in " ".join(one.cmdline())]


def unfinished_parts(store: Store) -> list[Path]:
    return [part for part in store.path.glob("spaces/*/parts/*/") if not (part / "zarr.json").exists()]


BUILD = """
import sys
import embedstore
from embedstore.models import load_model
def main():
    store = embedstore.open(sys.argv[1])
    embedstore.build(store, load_model("kmer"), devices=["cpu", "cpu"], batch_residues=150)
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C", "SIGTERM"])
def test_workers_end_with_their_parent_however_it_ends(tmp_path: Path, how: str) -> None:
    store = filled(tmp_path, count=30000)
    script = tmp_path / "build.py"
    script.write_text(BUILD)
    command = [sys.executable, str(script), str(store.path)]
    if how == "SIGTERM":
        options = ["--model", "kmer", "--device", "cpu,cpu", "--batch-residues", "150", "--store", str(store.path)]
        command = [sys.executable, "-c", "from cli.main import embedstore; embedstore()", "build", *options]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    waited = time.monotonic() + 60
    while len(unfinished_parts(store)) < 2 and time.monotonic() < waited:
        time.sleep(0.02)
    workers = workers_of(parent.pid)
    assert len(workers) == 2, "both are at work"
    if how == "Ctrl-C":
        os.killpg(parent.pid, signal.SIGINT)
    else:
        parent.send_signal(signal.SIGKILL if how == "kill -9" else signal.SIGTERM)
    _, told = parent.communicate(timeout=30)
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert not alive
    assert unfinished_parts(store) == []
    if how == "Ctrl-C":
        assert parent.returncode == -signal.SIGINT
        assert told.count("KeyboardInterrupt") == 1, told
    elif how == "SIGTERM":
        assert parent.returncode == 143
        assert told.strip() == "Ended by SIGTERM. What was committed stays; run the same command again to go on."
    else:
        assert "Traceback" not in told
    assert embedstore.verify(store).ok


@pytest.mark.parametrize("from_stdin", [False, True])
def test_a_script_needs_no_main_guard_and_no_file(tmp_path: Path, from_stdin: bool) -> None:
    store = filled(tmp_path, count=100)
    script = tmp_path / "unguarded.py"
    script.write_text(BUILD.replace('if __name__ == "__main__":\n    main()', "main()"))
    with script.open() as stdin:
        command = [sys.executable, "-" if from_stdin else str(script), str(store.path)]
        subprocess.run(command, stdin=stdin, check=True, timeout=60)
    assert embedstore.plan(store, load_model("kmer")).n_missing == 0
