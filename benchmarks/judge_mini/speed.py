"""Speed on Pfam domains, time to load, and size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

import embedstore
from benchmarks.bench_build import in_store
from benchmarks.harness import ROOT, interleave
from benchmarks.judge_mini.models import CONFIG, WEIGHTS, ModelVectors
from benchmarks.judge_mini.sets import Data
from embedstore.store import Store

REPEATS = 5
LOADS = 5

_LOAD = """
import json, sys, time
start = time.perf_counter()
import torch
from pathlib import Path
from benchmarks.judge_mini.models import open_model
imported = time.perf_counter()
open_model("mini", Path(sys.argv[1]), Path()).vectors([b"MKVLAT"])
print(json.dumps([imported - start, time.perf_counter() - imported]))
"""


def speed(data: Data, models: dict[str, ModelVectors], weights: Path) -> dict[str, Any]:
    """Domains per second (median and range of interleaved runs), seconds to load, bytes of weights.

    ``forward``: the model's calls alone on one thread. ``build``: from a store into a store, on all cores.
    """
    sequences = data.split("pfam", "test", asked=True).sequences
    found: dict[str, Any] = {
        "n": len(sequences),
        "residues": sum(map(len, sequences)),
        "domains_per_second": {},
        "weights_bytes": (weights / WEIGHTS).stat().st_size,
        "config_bytes": (weights / CONFIG).stat().st_size,
    }
    before = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        store = in_store(list(dict.fromkeys(sequences)), Path(folder) / "speed")
        work: dict[str, Callable[[], object]] = {}
        for name, model in models.items():
            work[f"{name}, forward, 1 thread"] = partial(_embed, model, sequences)
            work[f"{name}, build, {os.cpu_count()} cores"] = partial(_build, model, store)
        try:
            for name, seconds in interleave(work, repeats=REPEATS).items():
                rates = sorted(len(sequences) / second for second in seconds)
                found["domains_per_second"][name] = {"value": rates[REPEATS // 2], "low": rates[0], "high": rates[-1]}
        finally:
            torch.set_num_threads(before)
    loads = sorted(_load(weights) for _ in range(LOADS))
    imported, loaded = loads[LOADS // 2]
    found["load"] = {"imports_s": imported, "read_and_first_vector_s": loaded}
    return found


def shown(found: dict[str, Any]) -> str:
    """A table of what :func:`speed` gave."""
    lines = [f"pfam/test: domains per second (n = {found['n']:,}; median and range of {REPEATS})"]
    lines += [
        f"  {name:<26} {rate['value']:8.0f} [{rate['low']:.0f}, {rate['high']:.0f}]"
        for name, rate in found["domains_per_second"].items()
    ]
    lines.append(
        f"  mini: {found['weights_bytes'] / 1e6:.2f} MB of weights; first vector "
        f"{found['load']['read_and_first_vector_s']:.2f} s after {found['load']['imports_s']:.2f} s of imports"
    )
    return "\n".join(lines)


def _embed(model: ModelVectors, sequences: list[bytes]) -> None:
    torch.set_num_threads(1)
    with threadpool_limits(1):
        model.vectors(sequences)


def _build(model: ModelVectors, store: Store) -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    shutil.rmtree(store.path / "spaces", ignore_errors=True)
    embedstore.build(store, model.model)


def _load(weights: Path) -> tuple[float, float]:
    """Seconds of the imports and of the rest in a new process."""
    said = subprocess.run(
        [sys.executable, "-c", _LOAD, str(weights.resolve())], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    imported, loaded = json.loads(said)
    return float(imported), float(loaded)
