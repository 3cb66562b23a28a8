"""Download a task's published files, check them, and put them into a store."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import cast

from embedstore.catalog import load_target
from embedstore.errors import DownloadError, FileFormatError, InputError, StoreWriteError
from embedstore.sequences import file_sha256
from embedstore.store import AddReport, Store
from embedstore.store.pairs import add_pairs
from embedstore.types import ProgressCallback, null_progress
from heads.tasks.catalog import TASKS
from heads.tasks.spec import RemoteFile, Task

RECORD = "fetched.json"
"""Beside downloaded files: the sha256 of each, by name; a file without a published checksum is held to it later."""

TIMEOUT_S = 60
"""Longest wait for the server's next bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """A downloaded file.

    Attributes
    ----------
    name, path, sha256
        What it is called, where it is, and its checksum.
    verified
        Whether the checksum is the one in the catalog.
    """

    name: str
    path: str
    sha256: str
    verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """What was downloaded and added.

    Attributes
    ----------
    task, dataset
        Of the catalog.
    files
        What was downloaded.
    source
        What can be added: a table, or a directory of splits.
    added
        Reports of the store: none, one, or for pairs two.
    """

    task: str
    dataset: str
    files: list[FetchedFile]
    source: str
    added: list[AddReport]


def fetch(
    name: str,
    store: Store | None = None,
    *,
    folder: str | PathLike[str] | None = None,
    verify: bool = True,
    progress: ProgressCallback = null_progress,
) -> FetchReport:
    """Download a task's files, check each against its sha256, and add them to a store.

    Files that are there already, and are the right ones, are not downloaded again.

    Parameters
    ----------
    name
        Name of a task in `heads.TASKS`.
    store
        Where to add the data set; None only downloads.
    folder
        Where to keep the files; None for ``embedstore/<task>`` in the user's cache.
    verify
        Refuse files whose sha256 the catalog does not know. Without, they are taken as they come, and their sha256 is
        told and written to `RECORD`.
    progress
        Called while the store reads the files.

    Raises
    ------
    UnknownNameError
        If there is no such task.
    InputError
        If no file of it is known, or one has no checksum and `verify` is set.
    DownloadError
        If a file cannot be downloaded whole, or has another checksum.
    """
    task = TASKS[name]
    _check_files(task, verify=verify)
    target = _cache(task.name) if folder is None else Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        seen = _read_record(target)
        files = [_download(file, target, seen.get(file.name)) for file in task.files]
        record = {one.name: one.sha256 for one in files}
        (target / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        source = _tidy(task, files, target)
    except PermissionError as error:
        raise StoreWriteError(f"{target} cannot be written: {error.strerror}. Name another folder.") from error
    return FetchReport(
        task=task.name,
        dataset=task.dataset,
        files=files,
        source=str(source),
        added=[] if store is None else _add(store, task, source, progress),
    )


def _check_files(task: Task, *, verify: bool) -> None:
    if not task.files:
        raise InputError(
            f"No file of task {task.name!r} is known that could be read here. Get it from {task.source_url} (layout: "
            f"{task.layout}) and add it: `{task.add_command}`."
        )
    unknown = [file.name for file in task.files if file.sha256 is None]
    if unknown and verify:
        raise InputError(
            f"{len(unknown)} of the {len(task.files)} files of task {task.name!r} have no known sha256 (first: "
            f"{unknown[0]}), so that nobody could tell a wrong one. To take them as they come: --no-verify "
            "(verify=False); their checksums are told."
        )


def _cache(name: str) -> Path:
    import pooch

    return Path(pooch.os_cache("embedstore")) / name


def _read_record(folder: Path) -> dict[str, str]:
    path = folder / RECORD
    if not path.exists():
        return {}
    try:
        return cast(dict[str, str], json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise FileFormatError(f"{path} is not what was written: {error}. Remove it, and fetch again.") from error


def _download(file: RemoteFile, folder: Path, seen: str | None) -> FetchedFile:
    # Imported here: only who downloads needs it.
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    expected = file.sha256 or seen
    path = folder / file.name
    try:
        pooch.retrieve(
            file.url,
            known_hash=None if expected is None else f"sha256:{expected}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(progressbar=False, timeout=TIMEOUT_S),
        )
    except requests.HTTPError as error:
        status = str(error).split(" for url")[0]
        raise DownloadError(
            f"{file.url} cannot be had: {status}. Look for the file at its source, and add it by hand."
        ) from error
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise DownloadError(
            f"{file.url} could not be downloaded whole: {_last_cause(error)}. Nothing of it was kept; try again."
        ) from error
    except ValueError as error:
        if "hash" not in str(error):
            raise
        raise DownloadError(
            f"{file.url} is not the file that was expected: its sha256 is not {expected}. Nothing of it was kept. "
            "The file has changed since; compare it with its source before using it."
        ) from error
    found = file_sha256(path)
    return FetchedFile(name=file.name, path=str(path), sha256=found, verified=file.sha256 is not None)


def _last_cause(error: BaseException) -> str:
    """What the innermost of chained errors says, in one line."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split()) or type(error).__name__


def _tidy(task: Task, files: Sequence[FetchedFile], folder: Path) -> Path:
    """What can be added: the files as they are, unpacked, or made into a table."""
    paths = []
    for remote, file in zip(task.files, files, strict=True):
        paths += _members(Path(file.path), remote.members) if remote.members else [Path(file.path)]
    if task.tidy:
        make = cast(Callable[[Sequence[Path], Path], Path], load_target(task.tidy))
        return make(paths, folder)
    return paths[0] if len(paths) == 1 else folder


def _members(archive: Path, names: Sequence[str]) -> list[Path]:
    """Unpack files of a zip archive beside it, by their own names: folders in it could point anywhere."""
    try:
        with zipfile.ZipFile(archive) as opened:
            found = {Path(one.filename).name: one for one in opened.infolist() if not one.is_dir()}
            missing = [name for name in names if name not in found]
            if missing:
                raise FileFormatError(
                    f"{archive} has no {', '.join(missing)}; it has {', '.join(sorted(found)[:20])}. Fetch it again."
                )
            for name in names:
                (archive.parent / name).write_bytes(opened.read(found[name]))
    except zipfile.BadZipFile as error:
        raise FileFormatError(f"{archive} is no zip archive: {error}. Remove it, and fetch again.") from error
    return [archive.parent / name for name in names]


def _add(store: Store, task: Task, source: Path, progress: ProgressCallback) -> list[AddReport]:
    # Spelled out, since a mapping of texts could be any of the arguments of `add`.
    columns = {name: task.add_options.get(name) for name in ("id_column", "sequence_column")}
    if task.partner_column:
        return list(
            add_pairs(store, task.dataset, source, partner_column=task.partner_column, **columns, progress=progress)
        )
    return [
        store.add(
            task.dataset,
            source,
            id_column=columns["id_column"],
            sequence_column=columns["sequence_column"],
            progress=progress,
        )
    ]
