"""Proves that a store is whole: files, keys, vectors and ledgers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from embedstore.errors import InputError, StoreCorruptError, StoreError
from embedstore.store.datasets import Dataset
from embedstore.store.files import StorePath, directories, is_file, read_bytes
from embedstore.store.indexes import index_kinds, index_place
from embedstore.store.layout import DATASETS, FORMAT_VERSION, NAMESPACE, PARTS, RECORD, SPACES
from embedstore.store.locks import writer_of
from embedstore.store.maintenance.part_checks import check_files, check_sequences, check_vectors
from embedstore.store.parts import Part, recorded_paths, removed_names
from embedstore.store.paths import files_below, part_directories, relative_path
from embedstore.store.spaces import ResidueSpace, Space, open_space
from embedstore.store.store import Store
from embedstore.types import Progress, ProgressCallback, null_progress


@dataclass(slots=True, kw_only=True)
class VerifyReport:
    """What `verify` looked at and what it found.

    ``problems`` are sentences, each a reason not to trust the store; ``notes`` are worth knowing and no fault.
    ``n_embedded_again`` counts vectors that were compared with what their model gives now.
    """

    n_parts: int = 0
    n_files: int = 0
    n_bytes: int = 0
    n_sequences: int = 0
    n_vectors: int = 0
    n_embedded_again: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        return {"ok": self.ok, **asdict(self)}


def verify(
    store: Store, *, quick: bool = False, space: str | None = None, progress: ProgressCallback = null_progress
) -> VerifyReport:
    """Read every byte of the store and compare it with what the commit records promise.

    Proved: each file has the size and the hash that its record states, and no other file lies beside it; each record
    and each zarr group is what was written; each key is the digest of its sequence; each data set and each space
    names only keys that have a sequence; each matrix has a row for each residue; no vector is zero, NaN or infinite;
    and whatever a finished build covered is embedded or skipped with a reason. A ledger whose record was deleted
    leaves no such promise: what it covered is then in a note, and building again writes it anew.

    Parameters
    ----------
    store
        The store; others may be writing to it.
    quick
        Only records and sizes of files: what takes no reading of data.
    space
        Only this space, chosen as in `Store.any_space`, with the sequences and data sets that its keys stand for.
    progress
        Called after each part, in parts.
    """
    report = VerifyReport()
    store.refresh()
    locations = part_directories(store.path)
    space_id = None if space is None else store.any_space(space).id
    if space_id is not None:
        owners = {store.path / SPACES / space_id}
        owners |= {store.path / index_place(space_id, kind) for kind in index_kinds(store.path, space_id)}
        locations = [location for location in locations if owners.intersection(location.parents)]
    parts = [(location, path) for location in locations for path in directories(location)]
    hidden = {location: _hidden(store.path, location, report) for location in locations}
    for number, (location, path) in enumerate(parts):
        _guard(
            report,
            path,
            partial(_check_part, store.path, path, report, hidden=path.name in hidden[location], quick=quick),
        )
        progress(Progress(stage="verify", done=number + 1, total=len(parts), unit="parts"))
    _check_groups(store.path, locations, report)
    for directory in directories(store.path / SPACES):
        if space_id in (None, directory.name) and any(
            recorded_paths(location) for location in locations if directory in location.parents
        ):
            _guard(report, directory, partial(open_space, directory))
    if report.ok and not quick:
        # What the parts say of each other means nothing while one of them is damaged.
        _guard(report, store.path, partial(_check_keys, store, space_id, report))
    return report


def _hidden(store: StorePath, location: StorePath, report: VerifyReport) -> set[str]:
    """Names of the parts in a directory that readers do not see: `gc` will remove them."""
    try:
        removed = removed_names(location)
        replaced = {name for path in recorded_paths(location) for name in Part(path).details["replaces"]}
    except StoreError:
        # The record that is damaged is told where its part is looked at.
        return set()
    recorded = {path.name for path in recorded_paths(location)}
    hidden = recorded & (removed | replaced)
    if hidden:
        report.notes.append(
            f"{relative_path(store, location)}: {len(hidden)} parts were replaced or removed; "
            "`embedstore gc` frees their space."
        )
    return hidden


def _guard(report: VerifyReport, path: StorePath, check: Callable[[], object]) -> None:
    was_recorded = is_file(path / RECORD)
    try:
        check()
    except InputError as error:
        report.problems.append(str(error))
    except (StoreError, OSError) as error:
        # Another process may have removed the part while it was read.
        if is_file(path / RECORD) == was_recorded:
            report.problems.append(str(error))


def _check_part(store: StorePath, path: StorePath, report: VerifyReport, *, hidden: bool, quick: bool) -> None:
    if not is_file(path / RECORD):
        # Another process may have removed it since it was listed.
        if any(files_below(path)) or (isinstance(path, Path) and path.is_dir()):
            _check_unrecorded(store, path, report)
        return
    part = Part(path)
    report.n_parts += 1
    if hidden:
        return
    n_files, n_bytes = check_files(path, part.details, hashes=not quick)
    report.n_files += n_files
    report.n_bytes += n_bytes
    if part.details["kind"] == "sequences":
        report.n_sequences += part.n_rows
    if part.details["kind"] == "vectors":
        report.n_vectors += part.n_rows
    checks = {"sequences": check_sequences, "vectors": check_vectors}
    if not quick and part.details["kind"] in checks:
        checks[part.details["kind"]](part)


def _check_unrecorded(store: StorePath, path: StorePath, report: VerifyReport) -> None:
    """A part without a record: being written, or left by a writer that died, or damaged."""
    told = {
        "alive": "is being written. It does not count yet.",
        "dead": "was left by a writer that was killed. It does not count; `embedstore gc` removes it.",
        "unknown": "has no commit record: a writer is at work, or was killed. It does not count.",
        "none": "is empty: its writer was killed, or its record was deleted. It does not count; `embedstore gc` "
        "removes it.",
    }
    writer = writer_of(path)
    if writer == "none" and any(files_below(path)):
        # Writers leave a claim beside what they write until it is committed.
        raise StoreCorruptError(f"{path / RECORD}, its commit record, is gone. Restore it from a backup.")
    report.notes.append(f"{relative_path(store, path)} {told[writer]}")


def _check_groups(store: StorePath, locations: list[StorePath], report: VerifyReport) -> None:
    """The descriptions by which zarr finds parts: of the store itself, and of each directory on the way."""
    needed = {location for location in locations if recorded_paths(location)}
    on_the_way = {
        folder for location in locations for folder in (location, *location.parents) if store in folder.parents
    }
    for folder in sorted(on_the_way):
        if folder.parent == store / SPACES:
            # The description of a space has a seal of its own.
            continue
        file = folder / RECORD
        plain = {"zarr_format": 3, "node_type": "group", "attributes": {}}
        if not is_file(file):
            lost = f"{file} is gone, so that zarr finds nothing below it. Write {json.dumps(plain)}."
            is_needed = any(location == folder or folder in location.parents for location in needed)
            # A writer that begins makes the directory first.
            (report.problems if is_needed else report.notes).append(lost)
        elif _json(file) != plain:
            report.problems.append(f"{file} is not what was written. Write {json.dumps(plain)}.")
    root = _json(store / RECORD)
    versions = [{"attributes": {NAMESPACE: {"format": number + 1}}} for number in range(FORMAT_VERSION)]
    if root not in [{"zarr_format": 3, "node_type": "group", **version} for version in versions]:
        report.problems.append(f"{store / RECORD} is not what was written. Restore it from a backup.")


def _json(file: StorePath) -> Any:
    try:
        return json.loads(read_bytes(file))
    except (OSError, ValueError):
        return None


def _check_keys(store: Store, space_id: str | None, report: VerifyReport) -> None:
    """What spaces, data sets and sequences say of each other.

    Read in this order: a writer commits sequences before the data set that names them, and vectors before the
    ledger that counts them, so that whatever is seen here has its counterpart there. What was removed comes last.
    """
    ledgers = {name: store.any_space(name).builds for name in store.spaces() if space_id in (None, name)}
    store.refresh()
    spaces = [store.any_space(name) for name in ledgers]
    datasets = [store.dataset(name) for name in store.datasets()]
    removed = {name for one in directories(store.path / DATASETS) for name in removed_names(one / PARTS)}
    for dataset in datasets:
        missing = int((~store.sequences.contains(dataset.digests)).sum())
        if missing:
            report.problems.append(
                f"Data set {dataset.name!r}: {missing:,} records have a key without a sequence. Run `embedstore add` "
                "with its files again."
            )
    for space in spaces:
        _check_space(store, space, report)
        _check_ledgers(space, ledgers[space.id], datasets, removed, report)


def _check_space(store: Store, space: Space | ResidueSpace, report: VerifyReport) -> None:
    n_orphans = 0
    for part in space.parts:
        vectors = part.array(space.values)
        if (vectors.dtype, vectors.shape[1]) != (space.dtype, space.dim):
            report.problems.append(f"{part.path} holds {vectors.shape[1]} x {vectors.dtype}; {space.id} has others.")
        digests = part.array("digests").read()
        known = store.sequences.contains(digests)
        n_orphans += int((~known).sum())
        stated = part.array("lengths").read()[known]
        wrong = int((store.sequences.lengths(digests[known]) != stated).sum())
        if wrong:
            report.problems.append(
                f"{part.path} states for {wrong:,} proteins another length than their sequences have."
            )
    if n_orphans:
        # Where a data set names such a key, that is a problem of the data set, and told as one.
        report.notes.append(
            f"Space {space.id}: {n_orphans:,} vectors have no sequence in the store. `embedstore gc --unused` drops "
            "those that no data set names."
        )
    n_copies = sum(part.n_rows for part in space.parts) - space.n_rows
    if n_copies:
        report.notes.append(
            f"Space {space.id}: {n_copies:,} vectors stand there twice (two builds ran at once); `embedstore compact` "
            "drops the second."
        )


def _check_ledgers(
    space: Space | ResidueSpace,
    ledgers: list[dict[str, Any]],
    datasets: list[Dataset],
    removed: set[str],
    report: VerifyReport,
) -> None:
    covered = {part for ledger in ledgers for parts in ledger["covers"].values() for part in parts}
    skipped = set(space.skipped)
    gone = covered - removed
    for dataset in datasets:
        for part in dataset.parts:
            gone.discard(part.name)
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
            elif part.name not in covered:
                report.notes.append(
                    f"Space {space.id}: all of data set {dataset.name!r} is there, though no finished build says so. "
                    "Build it again to have that recorded; nothing is embedded twice."
                )
    if gone:
        report.problems.append(
            f"{len(gone)} data set parts that a build of space {space.id} covered are gone, among them "
            f"{min(gone)}. Add their files again."
        )
