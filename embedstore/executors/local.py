"""Several workers on one machine: a process for each device, fed with pieces of work as it finishes them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from signal import SIG_IGN, SIGINT, signal
from typing import Any

import numpy as np

from embedstore.embedding import Embedder
from embedstore.executors.worker import Tally, Worker
from embedstore.planning import Unit
from embedstore.sequences import key_text
from embedstore.windows import LongPolicy

_log = logging.getLogger(__name__)

_PIECES_A_WORKER = 8
"""Pieces of work that each worker gets, about: fewer idle at the end, more cost messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that a process needs to become a worker.

    Attributes
    ----------
    store
        Path of the store.
    load_options
        Arguments of `embedstore.models.load_model`, but for the device.
    poolings, identities
        What is wanted, and the identity of the space that each goes into.
    long
        The policy for long proteins, as text.
    batch_residues
        Padded residues in a batch.
    n_threads
        Threads that a worker on a CPU may use.
    """

    store: str
    load_options: dict[str, Any]
    poolings: list[str]
    identities: list[dict[str, Any]]
    long: str
    batch_residues: int
    n_threads: int


def pieces(unit: Unit, *, n_residues: int) -> Iterator[Unit]:
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


def _piece(unit: Unit, batches: Sequence[Any]) -> Unit:
    ends = np.cumsum([len(rows) for rows in batches])
    numbers = np.split(np.arange(ends[-1]), ends[:-1])
    return Unit(keys=unit.keys.rows(np.concatenate(batches)), batches=numbers)


def piece_residues(n_residues: int, *, n_workers: int, batch_residues: int) -> int:
    """Residues in a piece of work: several pieces a worker, a few batches at least, a few hundred at most."""
    share = n_residues // (n_workers * _PIECES_A_WORKER)
    return min(max(share, 4 * batch_residues), 512 * batch_residues)


def run_processes(
    recipe: Recipe, devices: Sequence[str], work: Iterator[Unit], done: Callable[[Tally], None]
) -> list[str]:
    """Run pieces of work in one process a device; returns a sentence for each worker that died.

    What a dead worker had not committed is not done: the caller plans again from what the store holds.

    Raises
    ------
    EmbedstoreError
        The first that a worker raised; the others are ended.
    """
    context = get_context("spawn")
    team: dict[Connection, _Member] = {}
    deaths = []
    try:
        for device in devices:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, recipe, device), name=f"embedstore on {device}")
            process.start()
            # The process alone holds its end now: when it dies, reading ours says so.
            theirs.close()
            team[ours] = _Member(process, device)
        while team:
            for connection in wait(list(team)):
                assert isinstance(connection, Connection)  # noqa: S101 - for mypy: nothing else was given
                member = team[connection]
                try:
                    said, what = connection.recv()
                except (EOFError, ConnectionResetError):
                    deaths.append(member.obituary())
                    del team[connection]
                    continue
                if said == "error":
                    raise what
                if said == "tally":
                    done(what)
                elif said == "ready":
                    member.at_work = next(work, None)
                    _send(connection, member.at_work)
                else:
                    del team[connection]
                    member.process.join()
    finally:
        for member in team.values():
            member.process.kill()
            member.process.join()
    return deaths


@dataclass(slots=True)
class _Member:
    process: BaseProcess
    device: str
    at_work: Unit | None = None

    def obituary(self) -> str:
        self.process.join()
        code = self.process.exitcode or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        told = f"The worker on {self.device} {how}"
        if self.at_work is None:
            return f"{told} before or after its work."
        keys = self.at_work.keys
        named = ", ".join(key_text(row.tobytes()) for row in keys.digests[:3])
        return (
            f"{told} while at work on {len(keys):,} sequences of {keys.lengths.min():,} to {keys.lengths.max():,} "
            f"residues, among them {named}."
        )


def _send(connection: Connection, what: Any) -> None:
    try:
        connection.send(what)
    except OSError:
        # It died in this moment; reading its end will tell.
        _log.debug("A worker took no message.")


def _serve(connection: Connection, recipe: Recipe, device: str) -> None:
    """The life of a worker process."""
    # Ctrl-C reaches every process of the terminal; the parent ends us.
    signal(SIGINT, SIG_IGN)
    if device == "cpu":
        os.environ["OMP_NUM_THREADS"] = str(recipe.n_threads)
    try:
        _work(connection, recipe, device)
        connection.send(("done", None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The parent is gone: what is not committed is done by the next build.
        return
    except Exception as error:  # noqa: BLE001 - raised again by the parent
        connection.send(("error", error))


def _work(connection: Connection, recipe: Recipe, device: str) -> None:
    from threadpoolctl import threadpool_limits

    from embedstore.models import load_model
    from embedstore.store import open_store

    with threadpool_limits(recipe.n_threads if device == "cpu" else None):
        store = open_store(recipe.store, mode="a")
        model = load_model(**recipe.load_options, device=device)
        embedder = Embedder(model, recipe.poolings, LongPolicy.parse(recipe.long), batch_residues=recipe.batch_residues)
        with Worker(store, embedder, [store.create_space(one) for one in recipe.identities]) as worker:
            while True:
                connection.send(("ready", None))
                unit = connection.recv()
                if unit is None:
                    break
                worker.run(unit, lambda tally: connection.send(("tally", tally)))
