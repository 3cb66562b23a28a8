"""Whether anything is lost: kills, full disks, failing system calls and damaged files, counted.

    python -m benchmarks.bench_faults [--kills 200] [--only kills full calls damage] [--every 1] [--no-result]

Ends with 1 if a row was lost, doubled or changed, a verification failed, or a damage was not found.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.fault_calls import run_calls, run_full_disks
from benchmarks.fault_damage import run_damage
from benchmarks.fault_kills import run_kills
from benchmarks.harness import RESULTS, commit, write_result

PARTS = ("kills", "full", "calls", "damage")


def folder_for_stores() -> str | None:
    """Memory where there is some: nothing here depends on a real disk, and thousands of syncs cost nothing there."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--every", type=int, default=1, help="fail every n-th call, damage every n-th file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-result", action="store_true", help="print, and leave results/faults.json alone")
    arguments = parser.parse_args()
    # One thread, so that a vector has the same bits in however many processes it is made.
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[str, Any] = {}
    for part in arguments.only:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=folder_for_stores(), prefix="faults-") as folder:
            home = Path(folder)
            if part == "kills":
                found[part] = run_kills(arguments.kills, home, seed=arguments.seed)
            elif part == "full":
                found[part] = run_full_disks(home, every=arguments.every)
            elif part == "calls":
                found[part] = run_calls(home, every=arguments.every)
            else:
                found[part] = run_damage(home, every=arguments.every)
        found[part] |= {"seconds": round(time.monotonic() - started, 1), "commit": commit()}
    if not arguments.no_result:
        kept = json.loads((RESULTS / "faults.json").read_text()) if (RESULTS / "faults.json").exists() else {}
        write_result("faults", {**{part: kept[part] for part in PARTS if part in kept}, **found}, packages=["numpy"])
    print(json.dumps(found, indent=1))
    sys.exit(0 if all(one["ok"] for one in found.values()) else 1)


if __name__ == "__main__":
    main()
