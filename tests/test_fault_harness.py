"""The fault benchmark in small: kills, failing calls, full disks, damage; its full run is in results/faults.json."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fault_kills
from benchmarks.fault_kills import Scene, run_kills

ROOT = Path(__file__).resolve().parent.parent


def harness(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.bench_faults", "--no-result", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize(("n_processes", "n_builds"), [(1, 2), (3, 1)])
def test_builds_that_are_killed_lose_and_double_nothing(tmp_path: Path, n_processes: int, n_builds: int) -> None:
    scene = Scene(
        model="kmer", family="-", n_processes=n_processes, n_builds=n_builds, n_proteins=800, seconds=0.3 * n_processes
    )
    found = run_kills(3, tmp_path, scenes=[(1.0, scene)])
    assert found["ok"], found
    assert found["total"]["n_kills"] >= 3
    assert found["total"]["n_rows_compared_at_the_end"] >= 700
    assert fault_kills.SCENES


def test_a_call_that_fails_at_any_point_and_a_full_disk_lose_nothing() -> None:
    found = harness("--only", "calls", "full", "--every", "61")
    assert found["calls"]["n_faults"] >= 10
    assert found["full"].get("n_full_disks") == 1 or "no small disk" in found["full"]["skipped"]


def test_damage_of_every_kind_is_found_where_data_stands() -> None:
    found = harness("--only", "damage", "--every", "7")["damage"]
    assert found["n_damages"] >= 50
    assert found["n_found"] >= found["n_damages"] - 1, found["missed"]
