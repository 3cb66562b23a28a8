"""Memory of `add`, `build` and `verify` by the number of sequences: what must not grow with it, and what may.

    python -m benchmarks.bench_memory [--sizes 10000 1000000] [--no-result]

Random sequences of lengths like those of proteins (log-normal, median 200 residues) stand in for a database; the
model is `kmer`, so that what is measured is the store and the build. Each step runs in a process of its own, whose
peak resident memory (`VmHWM`) is told: `ru_maxrss` would begin with that of the process that started it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import embedstore
from benchmarks.harness import ROOT, write_result

STEPS = ("add", "build", "verify")
_RESIDUES = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
_BLOCK = 10_000


def write_random(path: Path, count: int, *, seed: int = 0) -> Path:
    """A FASTA of random sequences, made in blocks."""
    source = np.random.default_rng(seed)
    with path.open("wb") as file:
        for first in range(0, count, _BLOCK):
            lengths = np.clip(source.lognormal(np.log(200), 0.6, min(_BLOCK, count - first)), 20, 5000).astype(int)
            residues = _RESIDUES[source.integers(0, 20, lengths.sum())].tobytes()
            ends = np.cumsum(lengths).tolist()
            starts = [0, *ends[:-1]]
            file.write(
                b"".join(
                    b">s%d\n%b\n" % (first + row, residues[start:end])
                    for row, (start, end) in enumerate(zip(starts, ends, strict=True))
                )
            )
    return path


def step(name: str, store: Path, file: Path) -> None:
    """Do a step in this process, and print its peak memory in MiB and its seconds."""
    started = time.monotonic()
    opened = embedstore.open(store, mode="a")
    if name == "add":
        opened.add("random", file)
    elif name == "build":
        embedstore.build(opened, embedstore.load_model("kmer"))
    else:
        report = embedstore.verify(opened)
        assert report.ok, report.problems
    (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    print(json.dumps({"mib": round(int(peak.split()[1]) / 1024, 1), "seconds": round(time.monotonic() - started, 1)}))


def measure(count: int, folder: Path) -> dict[str, Any]:
    """Every step for so many sequences."""
    store, file = folder / "store.zarr", write_random(folder / "random.fasta", count)
    found: dict[str, Any] = {"fasta_mib": round(file.stat().st_size / 2**20, 1)}
    for name in STEPS:
        command = [sys.executable, "-m", "benchmarks.bench_memory", "--step", name, str(store), str(file)]
        ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(ended.stdout)
    shutil.rmtree(store)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--no-result", action="store_true", help="print, and leave results/memory.json alone")
    parser.add_argument("--step", nargs=3, metavar=("STEP", "STORE", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        name, store, file = arguments.step
        step(name, Path(store), Path(file))
        return
    sizes: dict[str, Any] = {}
    for count in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="memory-") as folder:
            sizes[str(count)] = measure(count, Path(folder))
        print(count, sizes[str(count)], file=sys.stderr, flush=True)
    first, last = (sizes[str(count)] for count in (min(arguments.sizes), max(arguments.sizes)))
    ratios = {name: round(last[name]["mib"] / first[name]["mib"], 3) for name in STEPS}
    payload = {"model": "kmer", "sequences": "random, log-normal lengths", "sizes": sizes, "ratio_of_peaks": ratios}
    if not arguments.no_result:
        write_result("memory", payload, packages=["numpy"])
    print(json.dumps(payload, indent=1))


if __name__ == "__main__":
    main()
