"""A worker process: receives units of work and reports what became of them."""

from __future__ import annotations

import copy
import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

from embedstore.embedding.embedder import Embedder
from embedstore.embedding.executors.worker import Worker
from embedstore.embedding.planner import WorkUnit
from embedstore.embedding.windows import LongSequencePolicy
from embedstore.errors import EmbedstoreError


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """The configuration of a worker process.

    Attributes
    ----------
    store
        Path of the store.
    load_options
        Arguments of `embedstore.models.load_model`, but for the device.
    poolings, identities
        Poolings, and the identity of the space of each.
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


class RemoteTraceback(Exception):  # noqa: N818 - never raised, only shown as the cause of what is
    """The traceback of an error in another process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _ParentGoneError(Exception):
    """The parent is gone: what is not committed is done by the next build."""


class _ParentConnection:
    """The worker's end of the pipe to its parent; an error of the pipe has a class of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, message: str, content: Any = None) -> None:
        try:
            self._connection.send((message, content))
        except OSError as error:
            _ignore_sigterm()
            raise _ParentGoneError from error

    def receive(self) -> WorkUnit | None:
        try:
            unit: WorkUnit | None = self._connection.recv()
        except (EOFError, OSError) as error:
            _ignore_sigterm()
            raise _ParentGoneError from error
        return unit


def worker_main(connection: Connection, config: WorkerConfig, device: str) -> None:
    """Work until there are no more units, or the parent is gone."""
    # Ctrl-C reaches every process of the terminal; the parent ends us, by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    signal.signal(signal.SIGTERM, _terminated)
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    if device == "cpu":
        os.environ["OMP_NUM_THREADS"] = str(config.n_threads)
    parent = _ParentConnection(connection)
    try:
        try:
            _run_units(parent, config, device)
            parent.send("done")
        except _ParentGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - raised again by the parent
            _send_error(parent, error)
    except _ParentGoneError:
        return


def _terminated(*_: object) -> NoReturn:
    # An exception, so that parts which are not committed are removed on the way out.
    _ignore_sigterm()
    sys.exit(128 + signal.SIGTERM)


def _ignore_sigterm() -> None:
    """Let nothing disturb the way out, once it is taken."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _end_with_parent() -> None:
    """End this process soon after its parent, however that ended, and not at the end of a batch of minutes."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _send_error(parent: _ParentConnection, error: Exception) -> None:
    """Send an error; one of a class that cannot travel, or that the parent may not know, goes as text."""
    trace = "".join(traceback.format_exception(error))
    as_text = RuntimeError(f"{type(error).__qualname__} in a worker: {error}")
    if isinstance(error, EmbedstoreError) or type(error).__module__ == "builtins":
        try:
            # Copying rebuilds an exception in the way in which the parent will.
            parent.send("error", (copy.copy(error), trace))
        except _ParentGoneError:
            raise
        except Exception:  # noqa: BLE001 - whatever kept it from travelling, the text can
            parent.send("error", (as_text, trace))
    else:
        parent.send("error", (as_text, trace))


def _run_units(parent: _ParentConnection, config: WorkerConfig, device: str) -> None:
    from threadpoolctl import threadpool_limits

    from embedstore.models import load_model
    from embedstore.store import open_store

    with threadpool_limits(config.n_threads if device == "cpu" else None):
        store = open_store(config.store, mode="a")
        model = load_model(**config.load_options, device=device)
        embedder = Embedder(
            model, config.poolings, LongSequencePolicy.parse(config.long), batch_residues=config.batch_residues
        )
        with Worker(store, embedder, [store.create_space(identity) for identity in config.identities]) as worker:
            while True:
                parent.send("ready")
                unit = parent.receive()
                if unit is None:
                    break
                worker.run(unit, lambda counters: parent.send("tally", counters))
