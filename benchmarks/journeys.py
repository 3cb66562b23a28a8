"""Count the modules that a user's request passes through, from the console command to its result.

    python -m benchmarks.journeys [CHECKOUT] [--json]

Each journey is a console command, run in a process of its own with the checkout first on the path. Counted are the
modules of ``embedstore`` and ``heads`` in which a function that is written there is called. What runs while a module is
imported does not count, nor do the command line, ``__init__``, ``errors`` and ``types``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

N_SEQUENCES, N_FAMILIES = 1000, 20
_OPTIMIZED = 0x1  # inspect.CO_OPTIMIZED: the code of a function, not of a module or a class body

STEPS: tuple[tuple[str | None, tuple[str, ...]], ...] = (
    (None, ("embedstore", "simulate", "families.csv", "-n", f"{N_SEQUENCES}", "--families", f"{N_FAMILIES}")),
    (None, ("embedstore", "simulate", "queries.fasta", "-n", "50", "--families", f"{N_FAMILIES}")),
    ("a FASTA file into the store", ("embedstore", "add", "plain", "queries.fasta")),
    (None, ("embedstore", "add", "families", "families.csv")),
    ("a sequence to its vector", ("embedstore", "build", "families", "--model", "kmer")),
    ("a label to a saved head", ("heads", "fit", "--dataset", "families", "--head", "linear", "--out", "fitted")),
    ("a query to its family", ("embedstore", "lookup", "queries.fasta", "--dataset", "families")),
    (
        "a comparison to its page",
        ("heads", "compare", "--dataset", "families", "--heads", "linear,knn", "--out", "page"),
    ),
)
"""What is run, in order and in one folder; those with a name are counted."""


class CalledModules:
    """A profile function that notes in which modules functions are called."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not frame.f_code.co_flags & _OPTIMIZED:
            return
        name = frame.f_globals.get("__name__", "")
        if name in self.names or not name.startswith(("embedstore.", "heads.")):
            return
        # Methods that dataclasses write have no file.
        if frame.f_code.co_filename != frame.f_globals.get("__file__") or _is_import(frame):
            return
        if Path(frame.f_code.co_filename).stem not in ("__init__", "errors", "types"):
            self.names.add(name)


def _is_import(frame: FrameType | None) -> bool:
    """Whether a module is being imported in a frame or in one of its callers."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def count(checkout: Path) -> dict[str, list[str]]:
    """The modules of each journey through a checkout, sorted."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store.zarr"
        for name, command in STEPS:
            written = Path(folder) / "modules.json"
            subprocess.run(
                [sys.executable, __file__, "--run", str(written), *command],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(checkout.resolve()), "EMBEDSTORE": str(store)},
                check=True,
                stdout=subprocess.DEVNULL,
            )
            if name is not None:
                found[name] = json.loads(written.read_text())
    return found


def _run(written: Path, command: str, arguments: list[str]) -> None:
    """Run one console command in this process under the profile."""
    import importlib
    import threading

    # The folder of this script would be the first on the path.
    del sys.path[0]
    main = importlib.import_module("cli.main")
    sys.argv = [command, *arguments]
    called = CalledModules()
    threading.setprofile(called)
    sys.setprofile(called)
    try:
        getattr(main, command)()
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    finally:
        sys.setprofile(None)
        written.write_text(json.dumps(sorted(called.names)))


def main() -> None:
    """Count, and print a table or JSON."""
    if sys.argv[1:2] == ["--run"]:
        _run(Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", nargs="?", type=Path, default=Path())
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = count(args.checkout)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for name, modules in found.items():
        packages = ", ".join(
            f"{sum(module.startswith(f'{package}.') for module in modules)} of {package}"
            for package in ("embedstore", "heads")
        )
        print(f"{name:30}{len(modules):4} modules: {packages}")


if __name__ == "__main__":
    main()
