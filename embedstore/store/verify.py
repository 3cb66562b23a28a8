"""Proves that a store is whole: files, keys, vectors and ledgers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from embedstore.errors import StoreCorruptError, StoreError
from embedstore.sequences import digest, key_text
from embedstore.store.keys import as_digests
from embedstore.store.layout import PARTS, RECORD
from embedstore.store.reader import Part
from embedstore.store.store import Store
from embedstore.types import Progress, ProgressCallback, no_progress

_ROWS = 8192


@dataclass(slots=True, kw_only=True)
class VerifyReport:
    """What `verify` looked at and what it found.

    ``problems`` are sentences, each a reason not to trust the store; ``notes`` are worth knowing and no fault.
    """

    n_parts: int = 0
    n_files: int = 0
    n_bytes: int = 0
    n_sequences: int = 0
    n_vectors: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {"ok": self.ok, **asdict(self)}


def verify(store: Store, progress: ProgressCallback = no_progress) -> VerifyReport:
    """Read every byte of the store and compare it with what the commit records promise.

    Proved: each file has the size and the hash that its record states; each key is the digest of its sequence;
    each data set and each space names only keys that have a sequence; no vector is zero, NaN or infinite; and
    whatever a finished build covered is embedded or skipped with a reason.

    Parameters
    ----------
    store
        The store; others may be writing to it.
    progress
        Called after each part, in parts.
    """
    report = VerifyReport()
    directories = sorted(path for path in store.path.rglob(PARTS) if path.is_dir())
    parts = [path for directory in directories for path in sorted(directory.iterdir()) if path.is_dir()]
    for number, path in enumerate(parts):
        if (path / RECORD).exists():
            report.n_parts += 1
            _guard(report, partial(_check_part, path, report))
        else:
            where = path.relative_to(store.path)
            report.notes.append(f"{where} has no commit record: a writer is at work, or was killed. It does not count.")
        progress(Progress(stage="verify", done=number + 1, total=len(parts), unit="parts"))
    if report.ok:
        # What the parts say of each other means nothing while one of them is hurt.
        store.refresh()
        _guard(report, lambda: _check_datasets(store, report))
        _guard(report, lambda: _check_spaces(store, report))
    return report


def _guard(report: VerifyReport, check: Callable[[], None]) -> None:
    try:
        check()
    except (StoreError, OSError) as error:
        report.problems.append(str(error))


def _check_part(path: Path, report: VerifyReport) -> None:
    part = Part(path)
    for name, promised in part.details["files"].items():
        file = path / name
        if not file.is_file():
            raise StoreCorruptError(f"{file} is gone. Restore it, or remove {path} and run the build again.")
        size, hashed = _hash(file)
        if (size, hashed) != (promised["bytes"], promised["xxh3_128"]):
            raise StoreCorruptError(
                f"{file} was changed: {size:,} bytes with hash {hashed}, where {promised['bytes']:,} with "
                f"{promised['xxh3_128']} are promised. Restore it, or remove {path} and run the build again."
            )
        report.n_files += 1
        report.n_bytes += size
    checks = {"sequences": _check_sequences, "vectors": _check_vectors}
    if part.details["kind"] in checks:
        checks[part.details["kind"]](part, report)


def _hash(file: Path) -> tuple[int, str]:
    state = xxhash.xxh3_128()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            state.update(block)
        return stream.tell(), state.hexdigest()


def _check_sequences(part: Part, report: VerifyReport) -> None:
    report.n_sequences += part.n_rows
    offsets = part.array("residues_offsets").read()
    for start in range(0, part.n_rows, _ROWS):
        stop = min(start + _ROWS, part.n_rows)
        stated = part.array("digests").read(start, stop)
        residues = part.array("residues").read(offsets[start], offsets[stop]).tobytes()
        local = (offsets[start : stop + 1] - offsets[start]).tolist()
        found = as_digests([digest(residues[a:b]) for a, b in pairwise(local)])
        wrong = np.flatnonzero((stated != found).any(axis=1))
        if len(wrong):
            key = key_text(stated[wrong[0]].tobytes())
            raise StoreCorruptError(
                f"{part.path}: {len(wrong)} keys are not the digest of their sequence, first {key}."
            )


def _check_vectors(part: Part, report: VerifyReport) -> None:
    report.n_vectors += part.n_rows
    shapes = {name: part.array(name).shape[0] for name in part.array_names}
    if set(shapes.values()) != {part.n_rows}:
        raise StoreCorruptError(f"{part.path} states {part.n_rows:,} rows and holds {shapes}.")
    for start in range(0, part.n_rows, _ROWS):
        vectors = part.array("vectors").read(start, start + _ROWS)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1))
        if len(bad):
            raise StoreCorruptError(
                f"{part.path}: {len(bad)} vectors are zero or not finite, first in row {start + bad[0]}."
            )


def _check_datasets(store: Store, report: VerifyReport) -> None:
    for name in store.datasets():
        missing = int((~store.sequences.contains(store.dataset(name).digests)).sum())
        if missing:
            report.problems.append(
                f"Data set {name!r}: {missing:,} records have a key without a sequence. Add its files again."
            )


def _check_spaces(store: Store, report: VerifyReport) -> None:
    for space_id in store.spaces():
        space = store.space(space_id)
        orphans = int((~store.sequences.contains(space.digests)).sum())
        if orphans:
            report.problems.append(f"Space {space_id}: {orphans:,} vectors have a key without a sequence.")
        covered = {part for build in space.builds for parts in build["covers"].values() for part in parts}
        for name, part in _dataset_parts(store):
            digests = part.array("digests").read()
            without = digests[space.find(digests) < 0]
            lost = len({row.tobytes() for row in without} - set(space.skipped))
            if lost and part.name in covered:
                report.problems.append(
                    f"Space {space_id}: {lost:,} sequences of data set {name!r} that a finished build covered "
                    "are neither embedded nor skipped. Run the build again."
                )
            elif lost:
                report.notes.append(f"Space {space_id}: {lost:,} sequences of data set {name!r} are not embedded yet.")


def _dataset_parts(store: Store) -> Iterator[tuple[str, Part]]:
    for name in store.datasets():
        for part in store.dataset(name).parts:
            yield name, part
