"""Several workers on one machine: a process for each device, which is sent units of work one after the other."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

import numpy as np

from embedstore.embedding.executors.worker import BuildCounters
from embedstore.embedding.executors.worker_process import RemoteTraceback, WorkerConfig, worker_main
from embedstore.embedding.planner import WorkUnit
from embedstore.sequences import key_text

_log = logging.getLogger(__name__)

_GRACE_S = 10.0
"""How long a worker may take to remove uncommitted files after it was asked to end."""

_PIECES_A_WORKER = 8
"""Pieces of work that each worker gets, about: fewer idle at the end, more cost messages."""


def split_unit(unit: WorkUnit, *, n_residues: int) -> Iterator[WorkUnit]:
    """A unit in pieces of whole batches, each of about so many residues."""
    batches: list[Any] = []
    count = 0
    for rows in unit.batches:
        batches.append(rows)
        count += int(unit.keys.lengths[rows].sum())
        if count >= n_residues:
            yield _subunit(unit, batches)
            batches, count = [], 0
    if batches:
        yield _subunit(unit, batches)


def _subunit(unit: WorkUnit, batches: Sequence[Any]) -> WorkUnit:
    ends = np.cumsum([len(rows) for rows in batches])
    numbers = np.split(np.arange(ends[-1]), ends[:-1])
    return WorkUnit(keys=unit.keys.rows(np.concatenate(batches)), batches=numbers, n_planned=unit.n_planned)


def piece_residues(n_residues: int, *, n_workers: int, batch_residues: int) -> int:
    """Residues in a piece of work: several pieces a worker, a few batches at least, a few hundred at most."""
    share = n_residues // (n_workers * _PIECES_A_WORKER)
    return min(max(share, 4 * batch_residues), 512 * batch_residues)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFailure:
    """A worker that ended unexpectedly: a description, and advice what to do about it."""

    description: str
    advice: str


def run_processes(
    config: WorkerConfig, devices: Sequence[str], units: Iterator[WorkUnit], done: Callable[[BuildCounters], None]
) -> list[WorkerFailure]:
    """Run pieces of work in one process a device; returns the workers that died.

    What a dead worker had not committed is not done: the caller plans again from what the store holds.

    Raises
    ------
    EmbedstoreError
        The first that a worker raised, with the worker's traceback as its cause; the others are ended.
    """
    context = get_context("spawn")
    workers: list[_WorkerHandle] = []
    failures: list[WorkerFailure] = []
    try:
        for device in devices:
            # One by one: should the second not start, the first is there to be ended.
            workers.append(_start_worker(context, config, device))  # noqa: PERF401
        running = {worker.connection: worker for worker in workers}
        while running:
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)  # noqa: S101 - for mypy: nothing else was given
                worker = running[connection]
                try:
                    message, content = connection.recv()
                except (EOFError, OSError):
                    # OSError: it was killed in the middle of a message, or has not read ours.
                    failures.append(worker.failure_report())
                    del running[connection]
                    continue
                worker.has_reported = True
                if message == "error":
                    error, trace = content
                    raise error from RemoteTraceback(trace)
                if message == "tally":
                    done(content)
                elif message == "ready":
                    worker.unit = next(units, None)
                    _send(connection, worker.unit)
                else:
                    worker.finished = True
                    del running[connection]
    finally:
        _stop_workers(workers)
    return failures


@dataclass(slots=True)
class _WorkerHandle:
    process: BaseProcess
    connection: Connection
    device: str
    unit: WorkUnit | None = None
    has_reported: bool = False
    finished: bool = False

    def failure_report(self) -> WorkerFailure:
        _end(self.process, within=_GRACE_S)
        code = self.process.exitcode or 0
        outcome = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        description = f"The worker on {self.device} {outcome}"
        if not self.has_reported and code >= 0:
            return WorkerFailure(
                description=f"{description} before it could start.",
                advice="What it wrote to stderr says why.",
            )
        advice = (
            "Out of memory is the usual reason: take smaller batches (--batch-residues), or windows (--max-residues)."
        )
        if self.unit is None:
            return WorkerFailure(description=f"{description} before or after its work.", advice=advice)
        keys = self.unit.keys
        examples = ", ".join(key_text(row.tobytes()) for row in keys.digests[:3])
        return WorkerFailure(
            description=f"{description} while at work on {len(keys):,} sequences of {keys.lengths.min():,} to "
            f"{keys.lengths.max():,} residues, among them {examples}.",
            advice=advice,
        )


def _start_worker(context: SpawnContext, config: WorkerConfig, device: str) -> _WorkerHandle:
    parent_end, worker_end = context.Pipe()
    # Daemons: should anything keep this process from ending them, its end does.
    process = context.Process(
        target=worker_main, args=(worker_end, config, device), name=f"embedstore on {device}", daemon=True
    )
    # Ctrl-C reaches every process of the terminal, also one that has not come as far as ignoring it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        with _hidden_main():
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # The process alone holds its end now: when it dies, reading ours says so.
    worker_end.close()
    return _WorkerHandle(process, parent_end, device)


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Keep a new process from running the user's script again: nothing in it is wanted there.

    So a script needs no ``if __name__ == "__main__":``, and can come from stdin, where there is no file to run.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _send(connection: Connection, content: Any) -> None:
    try:
        connection.send(content)
    except OSError:
        # It died in this moment; reading its end will tell.
        _log.debug("A worker took no message.")


def _stop_workers(workers: Iterable[_WorkerHandle]) -> None:
    """End what still runs: workers remove what they have not committed, or are killed after some seconds."""
    for worker in workers:
        if not worker.finished:
            worker.process.terminate()
    deadline = time.monotonic() + _GRACE_S
    try:
        for worker in workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for worker in workers:
            _end(worker.process)
            worker.connection.close()


def _end(process: BaseProcess, *, within: float = 0.0) -> None:
    """Wait for a process for so many seconds, then kill it; nothing of it is left, no zombie either."""
    process.join(within)
    if process.is_alive():
        process.kill()
        process.join()
