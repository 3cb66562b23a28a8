"""A build that is made to be disturbed: parts of a few rows, and a pause in each batch, in every process of it.

    python -m benchmarks.faulty_build STORE MODEL FAMILY PROCESSES

Prints ``building`` once the model is loaded. MODEL is a name of the catalog (FAMILY is ``-``), or a checkpoint.
"""

from __future__ import annotations

import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import embedstore
from benchmarks import faulty_build
from embedstore.embedding.embedder import Embedder
from embedstore.embedding.executors import process_pool, worker_process
from embedstore.models import load_model
from embedstore.store import Store, space_writer

BATCH_RESIDUES = 1500
PART_ROWS = 64
PAUSE_S = 0.01

_embed = Embedder.embed


def _slow_embed(embedder: Embedder, sequences: Any) -> Any:
    time.sleep(PAUSE_S)
    return _embed(embedder, sequences)


def slow_down() -> None:
    """Have this process commit often, and compute slowly, so that every moment of a build can be hit."""
    space_writer.PART_ROWS = PART_ROWS
    Embedder.embed = _slow_embed  # type: ignore[method-assign]


def worker_main(connection: Connection, config: worker_process.WorkerConfig, device: str) -> None:
    """The life of a worker, slowed down."""
    slow_down()
    worker_process.worker_main(connection, config, device)


def build(store: Store, model: str, family: str, n_processes: int = 1) -> None:
    """Fill the spaces of a model: all that it can do, in one process or in several."""
    loaded = load_model(model, family=None if family == "-" else family, device="cpu")
    print("building", flush=True)
    options: dict[str, Any] = {} if family == "-" else {"pooling": ["mean", "max"], "residues": True}
    devices = ["cpu"] * n_processes if n_processes > 1 else None
    embedstore.build(store, loaded, batch_residues=BATCH_RESIDUES, devices=devices, **options)


def main() -> None:
    slow_down()
    # By the name under which a new process finds it: here this module is `__main__`.
    process_pool.worker_main = faulty_build.worker_main
    path, model, family, n_processes = sys.argv[1:]
    build(embedstore.open(path), model, family, int(n_processes))


if __name__ == "__main__":
    main()
