"""System calls that fail, one after the other, and disks that fill up: nothing committed is lost, and it goes on."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import embedstore
from benchmarks.fault_kills import content, write_proteins
from embedstore.errors import EmbedstoreError, StoreWriteError
from embedstore.models import load_model
from embedstore.store import Store, space_writer
from embedstore.types import Progress

CALLS = ("fsync", "fdatasync", "link", "rename", "replace", "mkdir", "write", "pwrite")
"""Functions of `os` that may fail; besides them, opening a file for writing, and writing, flushing and closing it."""


class Faults:
    """Counts the calls that change a store, and lets one of them fail.

    Attributes
    ----------
    calls
        Name of each call so far.
    fail_at
        Number of the call that fails, from 1; 0 lets all pass.
    code
        What it fails with.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self.calls: list[str] = []
        self.fail_at = 0
        self.code = errno.EIO

    def step(self, name: str) -> None:
        self.calls.append(name)
        if len(self.calls) == self.fail_at:
            raise OSError(self.code, os.strerror(self.code))

    @contextlib.contextmanager
    def injected(self, fail_at: int = 0, code: int = errno.EIO) -> Iterator[None]:
        """Count from the beginning, and let a call fail."""
        self.calls, self.fail_at, self.code = [], fail_at, code
        kept: dict[str, Any] = {name: getattr(os, name) for name in CALLS}
        real_open = io.open

        def opened(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if not set(mode) & set("wxa+") or not str(file).startswith(self._root):
                return real_open(file, mode, *rest, **options)
            self.step("open")
            return _Written(real_open(file, mode, *rest, **options), self)

        try:
            for name, function in kept.items():
                setattr(os, name, self._counted(name, function))
            io.open = opened  # type: ignore[assignment]
            yield
        finally:
            io.open = real_open
            for name, function in kept.items():
                setattr(os, name, function)

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.step(name)
            return function(*arguments, **options)

        return counted


class _Written:
    """A file that is written to, each step of which may fail."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, payload: bytes) -> int:
        self._faults.step("file.write")
        return int(self._file.write(payload))

    def flush(self) -> None:
        self._faults.step("file.flush")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
        self._faults.step("file.close")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _job(path: Path, file: Path) -> Store:
    """A data set and a space with several parts, a skipped protein and a ledger."""
    store = embedstore.open(path, mode="a")
    store.add("mine", file)
    embedstore.build(store, load_model("kmer"), batch_residues=200, long="skip")
    return store


def run_calls(folder: Path, *, every: int = 1) -> dict[str, Any]:
    """Let the n-th call fail, for every n, with EIO and with ENOSPC; then verify, go on, and compare."""
    file = write_proteins(folder / "p.fasta", 60, longest=40)
    faults = Faults(folder)
    space_writer.PART_ROWS, kept = 30, space_writer.PART_ROWS
    told: list[str] = []
    counts: Counter[str] = Counter()
    try:
        expected, _ = content(_job(folder / "whole.zarr", file))
        with faults.injected():
            _job(folder / "counted.zarr", file)
        points = list(faults.calls)
        for code in (errno.EIO, errno.ENOSPC):
            for number in range(1, len(points) + 1, every):
                counts[f"{points[number - 1]} {errno.errorcode[code]}"] += 1
                try:
                    problem = _one_fault(folder / "hurt.zarr", file, faults, number, code, expected)
                except EmbedstoreError as error:
                    problem = f"{type(error).__name__}: {error}"
                if problem:
                    print(number, points[number - 1], problem, file=sys.stderr, flush=True)
                    told.append(f"{errno.errorcode[code]} at call {number} ({points[number - 1]}): {problem}")
    finally:
        space_writer.PART_ROWS = kept
    n_faults = sum(counts.values())
    return {"ok": not told, "n_faults": n_faults, "n_calls": len(points), "by_call": dict(counts), "told": told}


def _one_fault(path: Path, file: Path, faults: Faults, number: int, code: int, expected: Any) -> str | None:
    """What went wrong besides the fault itself."""
    shutil.rmtree(path, ignore_errors=True)
    with faults.injected(number, code):
        try:
            _job(path, file)
        except StoreWriteError:
            pass
        except OSError as error:
            return f"raised {type(error).__name__}, and not StoreWriteError: {error}"
    if (path / "zarr.json").exists():
        report = embedstore.verify(embedstore.open(path))
        if not report.ok:
            return f"verify found {report.problems[:2]}"
    again = _job(path, file)
    found, n_doubled = content(again)
    if found != expected or n_doubled:
        return "the build that was run again gives other content"
    return None if embedstore.verify(again).ok else "verify finds fault with the build that was run again"


def run_full_disks(folder: Path, *, every: int = 1) -> dict[str, Any]:
    """Fill a small disk at random moments of a build, make room again, and go on."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        return {"ok": True, "skipped": f"no small disk can be mounted here: {mounted.stderr.strip()}"}
    try:
        return _fill(folder, disk, every)
    finally:
        # Lazily: memory maps of the last store may live as long as what refers to them.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill(folder: Path, disk: Path, every: int) -> dict[str, Any]:
    file = write_proteins(folder / "p.fasta", 1500)
    whole = embedstore.open(folder / "whole.zarr", mode="a")
    whole.add("mine", file)
    model = load_model("kmer")
    embedstore.build(whole, model, batch_residues=3000)
    expected, _ = content(whole)
    told: list[str] = []
    n_full = n_rows_kept = 0
    space_writer.PART_ROWS, kept = 100, space_writer.PART_ROWS
    try:
        for left_kib in range(0, 2000, 100 * every):
            store = embedstore.open(disk / "store.zarr", mode="a")
            store.add("mine", file)
            ballast = disk / "ballast"

            def full(step: Progress, left: int = left_kib << 10, ballast: Path = ballast) -> None:
                if not ballast.exists():
                    _take_all_but(ballast, left)

            try:
                embedstore.build(store, model, batch_residues=3000, progress=full)
            except StoreWriteError as error:
                n_full += 1
                if "The disk is full" not in str(error):
                    told.append(f"with {left_kib} KiB left: {error}")
            else:
                told.append(f"with {left_kib} KiB left the build ended as if all were well")
            if not embedstore.verify(embedstore.open(store.path)).ok:
                told.append(f"with {left_kib} KiB left the store does not verify")
            n_rows_kept += len(content(store)[0])
            unfinished = [part for part in store.path.glob("**/parts/*/") if not (part / "zarr.json").exists()]
            if unfinished:
                told.append(f"with {left_kib} KiB left {len(unfinished)} unfinished parts went on filling the disk")
            ballast.unlink()
            embedstore.build(store, model, batch_residues=3000)
            if content(store) != (expected, 0) or not embedstore.verify(store).ok:
                told.append(f"with {left_kib} KiB left: other content after room was made")
            shutil.rmtree(store.path)
    finally:
        space_writer.PART_ROWS = kept
    return {"ok": not told, "n_full_disks": n_full, "n_rows_kept": n_rows_kept, "told": told}


def _take_all_but(ballast: Path, left: int) -> None:
    with ballast.open("wb") as file:
        free = shutil.disk_usage(ballast.parent).free
        os.posix_fallocate(file.fileno(), 0, max(1, free - left))
