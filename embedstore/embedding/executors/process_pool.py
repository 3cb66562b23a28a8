"""Several workers on one machine: a process for each device, fed with pieces of work as it finishes them."""

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
"""How long a worker that is told to end may take for putting its things away."""

_PIECES_A_WORKER = 8
"""Pieces of work that each worker gets, about: fewer idle at the end, more cost messages."""


def split_unit(unit: WorkUnit, *, n_residues: int) -> Iterator[WorkUnit]:
    """A unit in pieces of whole batches, each of about so many residues."""
    held: list[Any] = []
    count = 0
    for rows in unit.batches:
        held.append(rows)
        count += int(unit.keys.lengths[rows].sum())
        if count >= n_residues:
            yield _piece(unit, held)
            held, count = [], 0
    if held:
        yield _piece(unit, held)


def _piece(unit: WorkUnit, batches: Sequence[Any]) -> WorkUnit:
    ends = np.cumsum([len(rows) for rows in batches])
    numbers = np.split(np.arange(ends[-1]), ends[:-1])
    return WorkUnit(keys=unit.keys.rows(np.concatenate(batches)), batches=numbers, n_planned=unit.n_planned)


def piece_residues(n_residues: int, *, n_workers: int, batch_residues: int) -> int:
    """Residues in a piece of work: several pieces a worker, a few batches at least, a few hundred at most."""
    share = n_residues // (n_workers * _PIECES_A_WORKER)
    return min(max(share, 4 * batch_residues), 512 * batch_residues)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFailure:
    """A worker that ended without a word: a sentence that tells of it, and one with what may be done about it."""

    told: str
    advice: str


def run_processes(
    recipe: WorkerConfig, devices: Sequence[str], work: Iterator[WorkUnit], done: Callable[[BuildCounters], None]
) -> list[WorkerFailure]:
    """Run pieces of work in one process a device; returns the workers that died.

    What a dead worker had not committed is not done: the caller plans again from what the store holds.

    Raises
    ------
    EmbedstoreError
        The first that a worker raised, with the worker's traceback as its cause; the others are ended.
    """
    context = get_context("spawn")
    members: list[_Member] = []
    deaths: list[WorkerFailure] = []
    try:
        for device in devices:
            # One by one: should the second not start, the first is there to be ended.
            members.append(_hire(context, recipe, device))  # noqa: PERF401
        team = {member.line: member for member in members}
        while team:
            for line in wait(list(team)):
                assert isinstance(line, Connection)  # noqa: S101 - for mypy: nothing else was given
                member = team[line]
                try:
                    said, what = line.recv()
                except (EOFError, OSError):
                    # OSError: it was killed in the middle of a message, or has not read ours.
                    deaths.append(member.obituary())
                    del team[line]
                    continue
                member.spoke = True
                if said == "error":
                    error, trace = what
                    raise error from RemoteTraceback(trace)
                if said == "tally":
                    done(what)
                elif said == "ready":
                    member.at_work = next(work, None)
                    _send(line, member.at_work)
                else:
                    member.finished = True
                    del team[line]
    finally:
        _dismiss(members)
    return deaths


@dataclass(slots=True)
class _Member:
    process: BaseProcess
    line: Connection
    device: str
    at_work: WorkUnit | None = None
    spoke: bool = False
    finished: bool = False

    def obituary(self) -> WorkerFailure:
        _end(self.process, within=_GRACE_S)
        code = self.process.exitcode or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        told = f"The worker on {self.device} {how}"
        if not self.spoke and code >= 0:
            return WorkerFailure(
                told=f"{told} before it could start.",
                advice="What it wrote to stderr says why.",
            )
        advice = (
            "Out of memory is the usual reason: take smaller batches (--batch-residues), or windows (--max-residues)."
        )
        if self.at_work is None:
            return WorkerFailure(told=f"{told} before or after its work.", advice=advice)
        keys = self.at_work.keys
        named = ", ".join(key_text(row.tobytes()) for row in keys.digests[:3])
        return WorkerFailure(
            told=f"{told} while at work on {len(keys):,} sequences of {keys.lengths.min():,} to "
            f"{keys.lengths.max():,} residues, among them {named}.",
            advice=advice,
        )


def _hire(context: SpawnContext, recipe: WorkerConfig, device: str) -> _Member:
    ours, theirs = context.Pipe()
    # Daemons: should anything keep this process from ending them, its end does.
    process = context.Process(
        target=worker_main, args=(theirs, recipe, device), name=f"embedstore on {device}", daemon=True
    )
    # Ctrl-C reaches every process of the terminal, also one that has not come as far as ignoring it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        with _nameless_main():
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # The process alone holds its end now: when it dies, reading ours says so.
    theirs.close()
    return _Member(process, ours, device)


@contextlib.contextmanager
def _nameless_main() -> Iterator[None]:
    """Keep a new process from running the user's script again: nothing in it is wanted there.

    So a script needs no ``if __name__ == "__main__":``, and can come from stdin, where there is no file to run.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _send(line: Connection, what: Any) -> None:
    try:
        line.send(what)
    except OSError:
        # It died in this moment; reading its end will tell.
        _log.debug("A worker took no message.")


def _dismiss(members: Iterable[_Member]) -> None:
    """End what still runs: workers remove what they have not committed, or are killed after some seconds."""
    for member in members:
        if not member.finished:
            member.process.terminate()
    deadline = time.monotonic() + _GRACE_S
    try:
        for member in members:
            member.process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for member in members:
            _end(member.process)
            member.line.close()


def _end(process: BaseProcess, *, within: float = 0.0) -> None:
    """Wait for a process for so many seconds, then kill it; nothing of it is left, no zombie either."""
    process.join(within)
    if process.is_alive():
        process.kill()
        process.join()
