"""SIGKILL at random moments of builds: what was committed stays, and the end is that of an undisturbed build."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

import embedstore
from benchmarks.faulty_build import build
from benchmarks.harness import ROOT
from embedstore.store import ResidueSpace, Store
from embedstore.testing.checkpoints import make_checkpoint

_RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A kind of build: which model, how many processes, how many such builds at the same time, of how many proteins."""

    model: str
    family: str
    n_processes: int
    n_builds: int
    n_proteins: int
    seconds: float


@dataclass(slots=True, kw_only=True)
class Counts:
    """What was seen. Rows are counted over all spaces; ``n_lost``, ``n_doubled``, ``n_different`` and the rest of the
    second group must be 0."""

    n_kills: int = 0
    n_kills_of_workers: int = 0
    n_stores: int = 0
    n_rows_committed_at_kills: int = 0
    n_rows_compared_at_the_end: int = 0
    n_unfinished_parts_left: int = 0

    n_lost: int = 0
    n_doubled: int = 0
    n_different: int = 0
    n_failed_verifications: int = 0
    n_outliving_workers: int = 0
    n_builds_that_failed: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.told

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, **asdict(self)}


def write_proteins(path: Path, count: int, *, seed: int = 0, longest: int = 150) -> Path:
    """Write random proteins."""
    source = random.Random(seed)
    with path.open("w") as file:
        for number in range(count):
            file.write(f">p{number}\n{''.join(source.choices(_RESIDUES, k=source.randint(1, longest)))}\n")
    return path


def content(store: Store) -> tuple[dict[tuple[str, bytes], bytes], int]:
    """What a reader gets, by space and key, and how many keys come more than once."""
    store.refresh()
    rows = []
    for name in store.spaces():
        space = store.any_space(name)
        if isinstance(space, ResidueSpace):
            blocks = [(key, matrix) for keys, found in space.blocks() for key, matrix in zip(keys, found, strict=True)]
        else:
            blocks = [(key, vector) for keys, found in space.blocks() for key, vector in zip(keys, found, strict=True)]
        rows += [((name, key.tobytes()), value.tobytes()) for key, value in blocks]
    whole = dict(rows)
    return whole, len(rows) - len(whole)


class Trial:
    """One kind of build, killed again and again on store after store."""

    def __init__(self, scene: Scene, folder: Path, counts: Counts, *, seed: int) -> None:
        self._scene, self._folder, self._counts = scene, folder, counts
        self._source = random.Random(seed)
        self._model = scene.model
        if scene.family != "-":
            self._model = str(make_checkpoint(folder / "checkpoint", scene.family))
        self._empty = folder / "empty.zarr"
        embedstore.open(self._empty, mode="a").add("mine", write_proteins(folder / "p.fasta", scene.n_proteins))
        whole = embedstore.open(shutil.copytree(self._empty, folder / "whole.zarr"))
        build(whole, self._model, scene.family)
        self._expected, _ = content(whole)
        self._new_store()

    def _new_store(self) -> None:
        path = self._folder / "broken.zarr"
        shutil.rmtree(path, ignore_errors=True)
        self._store = embedstore.open(shutil.copytree(self._empty, path))
        self._committed: dict[tuple[str, bytes], bytes] = {}
        self._counts.n_stores += 1

    def kill(self, n_kills: int) -> None:
        """So many kills; finish and compare whenever a store is nearly full, and at the end."""
        due = self._counts.n_kills + n_kills
        while self._counts.n_kills < due:
            self._disturb()
            self._look()
            if len(self._committed) > 0.9 * len(self._expected):
                self.finish()
                self._new_store()
        self.finish()

    def _disturb(self) -> None:
        """Start builds, kill one process at a random moment, and wait until nothing of them runs."""
        scene = self._scene
        command = [sys.executable, "-m", "benchmarks.faulty_build", str(self._store.path), self._model, scene.family]
        teams = [
            subprocess.Popen(
                [*command, str(scene.n_processes)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            for _ in range(scene.n_builds)
        ]
        for team in teams:
            assert team.stdout is not None
            team.stdout.readline()
        time.sleep(self._source.uniform(0, scene.seconds))
        parent = self._source.choice(teams)
        workers = {team.pid: _workers(team.pid) for team in teams}
        victims = [parent.pid, *(worker.pid for worker in workers[parent.pid])]
        victim = self._source.choice(victims)
        if parent.poll() is None:
            psutil.Process(victim).send_signal(signal.SIGKILL)
            self._counts.n_kills += 1
            self._counts.n_kills_of_workers += victim != parent.pid
        for team in teams:
            # What is left of the builds goes on for a moment, and is then killed too.
            left = 0.0 if victim == team.pid else self._source.uniform(0, scene.seconds)
            self._end(team, workers[team.pid], after=left)

    def _end(self, team: subprocess.Popen[str], workers: list[psutil.Process], *, after: float) -> None:
        try:
            team.wait(timeout=after)
        except subprocess.TimeoutExpired:
            workers = [*workers, *_workers(team.pid)]
            team.kill()
            self._counts.n_kills += 1
        _, told = team.communicate()
        if team.returncode not in (0, -signal.SIGKILL) and "WorkerDiedError" not in told:
            self._counts.n_builds_that_failed += 1
            self._counts.told.append(f"a build ended with {team.returncode}: {told[-2000:]}")
        _, alive = psutil.wait_procs(workers, timeout=30)
        if alive:
            self._counts.n_outliving_workers += len(alive)
            self._counts.told.append(f"{len(alive)} workers lived 30 s longer than their parent")
            for process in alive:
                process.kill()

    def _look(self) -> None:
        counts = self._counts
        report = embedstore.verify(self._store)
        if not report.ok:
            counts.n_failed_verifications += 1
            counts.told.append(f"verify: {report.problems[:3]}")
        found, n_doubled = content(self._store)
        lost = self._committed.keys() - found.keys()
        different = [key for key, value in found.items() if self._expected.get(key) != value]
        counts.n_rows_committed_at_kills += len(found)
        counts.n_lost += len(lost)
        counts.n_doubled += n_doubled
        counts.n_different += len(different)
        if lost or n_doubled or different:
            counts.told.append(f"{len(lost)} rows lost, {n_doubled} doubled, {len(different)} different")
        self._committed = found
        counts.n_unfinished_parts_left += sum(
            not (part / "zarr.json").exists() for part in self._store.path.glob("spaces/*/parts/*/")
        )

    def finish(self) -> None:
        """Run the build to its end, and compare with the one that nobody disturbed."""
        build(self._store, self._model, self._scene.family)
        self._look()
        missing = self._expected.keys() - self._committed.keys()
        if missing:
            self._counts.n_lost += len(missing)
            self._counts.told.append(f"{len(missing)} rows are missing at the end")
        self._counts.n_rows_compared_at_the_end += len(self._committed)


def _workers(pid: int) -> list[psutil.Process]:
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


SCENES = (
    (0.43, Scene(model="kmer", family="-", n_processes=1, n_builds=1, n_proteins=2500, seconds=1.5)),
    (0.25, Scene(model="kmer", family="-", n_processes=3, n_builds=1, n_proteins=2500, seconds=3.0)),
    (0.18, Scene(model="kmer", family="-", n_processes=2, n_builds=2, n_proteins=2500, seconds=3.0)),
    (0.09, Scene(model="", family="esm", n_processes=1, n_builds=2, n_proteins=1200, seconds=2.0)),
    (0.05, Scene(model="", family="t5", n_processes=2, n_builds=1, n_proteins=1200, seconds=15.0)),
)
"""Kinds of build, with the share of the kills that each gets."""


def run_kills(n_kills: int, folder: Path, *, seed: int = 1, scenes: Any = SCENES) -> dict[str, Any]:
    """Kill builds of every scene; returns the counts of each, and their sum."""
    each = {}
    total: Counter[str] = Counter()
    for number, (share, scene) in enumerate(scenes):
        home = folder / f"kills{number}"
        home.mkdir()
        counts = Counts()
        started = time.monotonic()
        Trial(scene, home, counts, seed=seed + number).kill(max(1, round(share * n_kills)))
        name = f"{scene.family.replace('-', 'kmer')}, {scene.n_builds} x {scene.n_processes} processes"
        each[name] = {**counts.to_dict(), "seconds": round(time.monotonic() - started, 1)}
        total.update({key: value for key, value in asdict(counts).items() if isinstance(value, int)})
        print(name, each[name], file=sys.stderr, flush=True)
        shutil.rmtree(home)
    return {"ok": all(one["ok"] for one in each.values()), "total": dict(total), "scenes": each}
