"""Compare the processor time of two checkouts over the same commands, in turns.

    python -m benchmarks.bench_checkouts BEFORE AFTER [--repeats 3] [--sequences 20000]

Each figure is user and system seconds of one process with one thread for numerical libraries, start included, so that
other work on the machine weighs little. Writes ``results/redesign_speed.json``.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import write_result

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SIDES = ("before", "after")

LARGE, SMALL = ("--store", "large.zarr"), ("--store", "small.zarr")
STEPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("start", "embedstore", ("--version",)),
    ("add", "embedstore", ("add", "large", "../large.csv", *LARGE)),
    ("build kmer", "embedstore", ("build", "large", "--model", "kmer", *LARGE)),
    ("search flat, 500 queries", "embedstore", ("search", "../queries.fasta", "--index", "flat", "--tsv", *LARGE)),
    ("lookup, 500 queries", "embedstore", ("lookup", "../queries.fasta", "--dataset", "large", "--tsv", *LARGE)),
    ("fit linear", "heads", ("fit", "--dataset", "large", "--head", "linear", "--out", "linear", *LARGE)),
    ("fit knn", "heads", ("fit", "--dataset", "large", "--head", "knn", "--out", "knn", *LARGE)),
    ("index build ivf_pq", "embedstore", ("index", "build", "INDEX_TYPE", "ivf_pq", *LARGE)),
    ("search ivf_pq, 500 queries", "embedstore", ("search", "../queries.fasta", "--index", "ivf_pq", "--tsv", *LARGE)),
    ("", "embedstore", ("add", "small", "../small.csv", *SMALL)),
    ("build mini, 1,000 proteins", "embedstore", ("build", "small", "--model", "mini", "--device", "cpu", *SMALL)),
    ("", "embedstore", ("build", "small", "--model", "kmer", *SMALL)),
    ("fit mlp, 1,000 proteins", "heads", ("fit", "--dataset", "small", "--head", "mlp", "--space", "kmer", *SMALL)),
)
"""Name, console command and arguments, in order; those without a name only prepare."""


def run(checkout: Path, folder: Path, command: str, *arguments: str) -> float:
    """User and system seconds of a console command of a checkout, in a process of its own."""
    # The option had another name before the redesign.
    old = (checkout / "cli" / "embedstore_app").exists()
    arguments = tuple({"INDEX_TYPE": "--kind" if old else "--index-type"}.get(text, text) for text in arguments)
    code = f"import sys; sys.argv[0] = {command!r}; from cli.main import {command} as main; main()"
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(checkout), "EMBEDSTORE_CACHE": str(folder / "cache")},
        check=True,
        capture_output=True,
    )
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime


def compare(checkouts: dict[str, Path], root: Path, *, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each step on each side; who goes first changes with every repeat."""
    seconds: dict[str, dict[str, list[float]]] = {}
    for repeat in range(repeats):
        for side in SIDES:
            shutil.rmtree(root / side, ignore_errors=True)
            (root / side).mkdir()
        for name, command, arguments in STEPS:
            for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
                spent = run(checkouts[side], root / side, command, *arguments)
                if name:
                    seconds.setdefault(name, {each: [] for each in SIDES})[side].append(round(spent, 3))
    return seconds


def summary(seconds: dict[str, dict[str, list[float]]]) -> dict[str, object]:
    """Each step with its medians and the ratio of them: above 1, the new side takes longer."""
    steps: dict[str, object] = {}
    for name, runs in seconds.items():
        before, after = (statistics.median(runs[side]) for side in SIDES)
        steps[name] = {"ratio": round(after / before, 3), "before_s": before, "after_s": after, "runs_s": runs}
    return steps


def main() -> None:
    """Compare, write the result and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sequences", type=int, default=20_000)
    args = parser.parse_args()
    checkouts = {side: getattr(args, side).resolve() for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, n, families, seed in (
            ("large.csv", args.sequences, max(1, args.sequences // 100), 0),
            ("queries.fasta", 500, max(1, args.sequences // 100), 1),
            ("small.csv", 1000, 20, 0),
        ):
            wanted = ("-n", f"{n}", "--families", f"{families}", "--seed", f"{seed}")
            run(checkouts["after"], root, "embedstore", "simulate", name, *wanted)
        steps = summary(compare(checkouts, root, repeats=args.repeats))
    commits = {
        side: subprocess.run(
            ["git", "-C", str(path), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for side, path in checkouts.items()
    }
    write_result("redesign_speed", {"commits": commits, "sequences": args.sequences, "steps": steps})
    for name, step in steps.items():
        print(f"{name:30}{step}")


if __name__ == "__main__":
    main()
