"""What every benchmark shares: fair timing, a description of the machine, and the JSON that claims are read from."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def interleave(work: Mapping[str, Callable[[], object]], *, repeats: int = 5) -> dict[str, list[float]]:
    """Time each function ``repeats`` times, in turns, so that a slow minute of the machine falls on all alike.

    One untimed round comes first (imports, page cache).

    Returns
    -------
    dict of str to list of float
        Wall seconds of each run, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for name in work:
        work[name]()
    for _ in range(repeats):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: Mapping[str, Iterable[float]]) -> dict[str, float]:
    """Return the median of each row of :func:`interleave`."""
    return {name: statistics.median(runs) for name, runs in seconds.items()}


def write_result(name: str, payload: Mapping[str, Any], *, packages: Iterable[str] = ()) -> Path:
    """Write ``results/<name>.json``: the payload, and the machine, commit, date and versions that it was made with."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    about = {
        "name": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "versions": versions(packages),
    }
    path.write_text(json.dumps({**about, **payload}, indent=2) + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """Describe the processor, its cores, the load while measuring and the operating system."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Return the versions of Python and of packages; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def commit() -> str:
    """Return the commit of this checkout, with ``-dirty`` if files differ; ``unknown`` outside git."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown"


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
