"""Wall time, processor time and peak memory of a block of code."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(slots=True)
class Cost:
    """Time and memory of a block of code, filled in when it ends.

    Attributes
    ----------
    seconds
        Wall time.
    cpu_seconds
        Processor time of this process and of the programs that it called and that have ended.
    peak_bytes
        Peak resident memory of the process meanwhile, including what it held before; None where the system does not
        report it (Linux does).
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int | None = None


@contextmanager
def measure_cost() -> Iterator[Cost]:
    """Measure the block of the ``with`` statement.

    >>> with measure_cost() as cost:
    ...     _ = sum(range(1000))
    >>> cost.seconds > 0
    True
    """
    cost = Cost()
    is_reset = _reset_peak()
    start, processor = time.perf_counter(), _processor_seconds()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        cost.cpu_seconds = _processor_seconds() - processor
        cost.peak_bytes = _peak_bytes() if is_reset else None


def _processor_seconds() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _reset_peak() -> bool:
    """Reset the kernel's high-water mark (``man 5 proc``, clear_refs)."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _peak_bytes() -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)
