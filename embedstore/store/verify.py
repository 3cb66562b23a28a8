"""Proves that a store is whole: files, keys, vectors and ledgers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import xxhash

from embedstore.errors import StoreCorruptError, StoreError
from embedstore.sequences import digest, key_text
from embedstore.store.datasets import Dataset
from embedstore.store.files import StorePath, blocks, directories, is_file
from embedstore.store.keys import as_digests
from embedstore.store.layout import BUILDS, DATASETS, PARTS, RECORD, SEQUENCES, SKIPPED, SPACES
from embedstore.store.reader import Part, has_parts
from embedstore.store.spaces import ResidueSpace, Space
from embedstore.store.store import Store
from embedstore.types import Progress, ProgressCallback, no_progress

_ROWS = 8192
_REPAIR = "Restore it from a backup, or remove its part and run the `add` or `build` that made it again."


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
    store.refresh()
    homes = _homes(store)
    parts = [path for home in homes for path in directories(home)]
    for number, path in enumerate(parts):
        if is_file(path / RECORD):
            report.n_parts += 1
            _guard(report, partial(_check_part, path, report))
        else:
            where = str(path).removeprefix(f"{store.path}/")
            report.notes.append(f"{where} has no commit record: a writer is at work, or was killed. It does not count.")
        progress(Progress(stage="verify", done=number + 1, total=len(parts), unit="parts"))
    for space in directories(store.path / SPACES):
        if not is_file(space / RECORD) and any(has_parts(home) for home in _homes_in(space)):
            report.problems.append(f"{space} has no description: restore its {RECORD} from a backup.")
    if report.ok:
        # What the parts say of each other means nothing while one of them is hurt.
        _guard(report, partial(_check_keys, store, report))
    return report


def _homes(store: Store) -> list[StorePath]:
    """Every directory that may hold parts."""
    datasets = [path / PARTS for path in directories(store.path / DATASETS)]
    spaces = [home for path in directories(store.path / SPACES) for home in _homes_in(path)]
    return [store.path / SEQUENCES / PARTS, *datasets, *spaces]


def _homes_in(space: StorePath) -> list[StorePath]:
    return [space / PARTS, space / SKIPPED / PARTS, space / BUILDS]


def _guard(report: VerifyReport, check: Callable[[], None]) -> None:
    try:
        check()
    except (StoreError, OSError) as error:
        report.problems.append(str(error))


def _check_part(path: StorePath, report: VerifyReport) -> None:
    part = Part(path)
    for name, promised in part.details["files"].items():
        file = path / name
        try:
            size, hashed = _hash(file)
        except FileNotFoundError as error:
            raise StoreCorruptError(f"{file} is gone. {_REPAIR}") from error
        if (size, hashed) != (promised["bytes"], promised["xxh3_128"]):
            raise StoreCorruptError(
                f"{file} was changed: {size:,} bytes with hash {hashed}, where {promised['bytes']:,} with "
                f"{promised['xxh3_128']} are promised. {_REPAIR}"
            )
        report.n_files += 1
        report.n_bytes += size
    checks = {"sequences": _check_sequences, "vectors": _check_vectors}
    if part.details["kind"] in checks:
        checks[part.details["kind"]](part, report)


def _hash(file: StorePath) -> tuple[int, str]:
    state, size = xxhash.xxh3_128(), 0
    for block in blocks(file):
        state.update(block)
        size += len(block)
    return size, state.hexdigest()


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
    values = "residues" if "residues" in part.array_names else "vectors"
    shapes = {name: part.array(name).shape[0] for name in part.array_names}
    due = dict.fromkeys(shapes, part.n_rows)
    if values == "residues":
        due |= {"residues_offsets": part.n_rows + 1, "residues": int(part.array("lengths").read().sum())}
    if shapes != due:
        raise StoreCorruptError(f"{part.path} states {part.n_rows:,} rows and holds {shapes}.")
    for start in range(0, shapes[values], _ROWS):
        vectors = part.array(values).read(start, start + _ROWS)
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1))
        if len(bad):
            raise StoreCorruptError(
                f"{part.path}: {len(bad)} vectors are zero or not finite, first in row {start + bad[0]}."
            )


def _check_keys(store: Store, report: VerifyReport) -> None:
    """What spaces, data sets and sequences say of each other.

    Read in this order: a writer commits sequences before the data set that names them, and vectors before the
    ledger that counts them, so that whatever is seen here has its counterpart there.
    """
    ledgers = {name: store.any_space(name).builds for name in store.spaces()}
    store.refresh()
    spaces = [store.any_space(name) for name in ledgers]
    datasets = [store.dataset(name) for name in store.datasets()]
    for dataset in datasets:
        missing = int((~store.sequences.contains(dataset.digests)).sum())
        if missing:
            report.problems.append(
                f"Data set {dataset.name!r}: {missing:,} records have a key without a sequence. Run `embedstore add` "
                "with its files again."
            )
    for space in spaces:
        _check_space(store, space, ledgers[space.id], datasets, report)


def _check_space(
    store: Store,
    space: Space | ResidueSpace,
    ledgers: list[dict[str, Any]],
    datasets: list[Dataset],
    report: VerifyReport,
) -> None:
    for part in space.parts:
        vectors = part.array(space.values)
        if (vectors.dtype, vectors.shape[1]) != (space.dtype, space.dim):
            report.problems.append(f"{part.path} holds {vectors.shape[1]} x {vectors.dtype}; {space.id} has others.")
    orphans = int((~store.sequences.contains(space.digests)).sum())
    if orphans:
        report.problems.append(f"Space {space.id}: {orphans:,} vectors have a key without a sequence.")
    covered = {part for ledger in ledgers for parts in ledger["covers"].values() for part in parts}
    skipped = set(space.skipped)
    for dataset in datasets:
        for part in dataset.parts:
            digests = part.array("digests").read()
            without = {row.tobytes() for row in digests[space.find(digests) < 0]} - skipped
            if without and part.name in covered:
                report.problems.append(
                    f"Space {space.id}: {len(without):,} sequences of data set {dataset.name!r} that a finished build "
                    "covered are neither embedded nor skipped. Run the build again."
                )
            elif without:
                report.notes.append(
                    f"Space {space.id}: {len(without):,} sequences of data set {dataset.name!r} are not embedded yet."
                )
            covered.discard(part.name)
    if covered:
        report.problems.append(
            f"{len(covered)} data set parts that a build of space {space.id} covered are gone, among them "
            f"{min(covered)}. Add their files again."
        )
    n_copies = sum(part.n_rows for part in space.parts) - space.n_rows
    if n_copies:
        report.notes.append(f"Space {space.id}: {n_copies:,} vectors stand there twice (two builds ran at once).")
