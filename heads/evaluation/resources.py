"""What a piece of work costs: seconds, processor seconds, and the most memory that the process held meanwhile."""

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
    """Cost of a piece of work, known when it is done.

    Attributes
    ----------
    seconds
        Wall time.
    cpu_seconds
        Processor time of this process and of the programs that it called and that have ended.
    peak_bytes
        Most resident memory of the process while it ran, all that it held before included; None where the system does
        not tell it (it does on Linux).
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int | None = None

    def to_dict(self) -> dict[str, float | int | None]:
        """The figures by name, for JSON."""
        return {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds, "peak_bytes": self.peak_bytes}


@contextmanager
def measure_cost() -> Iterator[Cost]:
    """Measure what runs inside.

    >>> with measure_cost() as cost:
    ...     _ = sum(range(1000))
    >>> cost.seconds > 0
    True
    """
    cost = Cost()
    resets = _reset_peak()
    started, processor = time.perf_counter(), _processor_seconds()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - started
        cost.cpu_seconds = _processor_seconds() - processor
        cost.peak_bytes = _peak_bytes() if resets else None


def _processor_seconds() -> float:
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system


def _reset_peak() -> bool:
    """Start the kernel's high-water mark anew (``man 5 proc``, clear_refs)."""
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
