"""Names inside a store, and the few file-system steps on which its safety rests."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedstore.errors import EmbedstoreError, InputError, StoreWriteError
from embedstore.store import object_store
from embedstore.store.files import StorePath, is_file
from embedstore.store.zarr_shards.encoding import group_metadata

FORMAT_VERSION = 1
"""Version of the layout on disk. A store of a higher version is refused."""

RECORD = "zarr.json"
"""Name of zarr's metadata file; of a part, it is the commit record."""

NAMESPACE = "embedstore"
"""The key in zarr attributes under which all of ours stands."""

SEQUENCES = "sequences"
DATASETS = "datasets"
SPACES = "spaces"
PARTS = "parts"
SKIPPED = "skipped"
BUILDS = "builds"
REMOVALS = "removals"
INDEXES = "indexes"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(kind: str, name: str) -> str:
    """Return ``name`` if it can name a directory on every file system and object store.

    Raises
    ------
    InputError
        If it holds anything but letters, digits, dot, underscore and hyphen, or starts with a sign.
    """
    if not _NAME.fullmatch(name) or name == RECORD:
        raise InputError(
            f"{name!r} cannot name a {kind}: use up to 100 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit."
        )
    return name


def new_part_name() -> str:
    """A unique part name whose alphabetical order is the order of creation."""
    nanoseconds = time.time_ns()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(nanoseconds // 10**9))
    return f"{stamp}{nanoseconds % 10**9 // 1000:06d}-{secrets.token_hex(4)}"


def utc_now() -> str:
    """The time for manifests, in UTC to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextlib.contextmanager
def translate_write_errors(path: StorePath) -> Iterator[None]:
    """Turn what the operating system or the server says about a failed write below ``path`` into one clear error."""
    again = "Free space and run the same command again: what is committed is kept."
    permission = "No permission to write there. Choose another --store, or change the permissions."
    advice = {
        errno.ENOSPC: f"The disk is full. {again}",
        errno.EDQUOT: f"The disk quota is used up. {again}",
        errno.EACCES: permission,
        errno.EPERM: permission,
        errno.EROFS: "The file system is read-only. Choose another --store.",
    }
    try:
        yield
    except object_store.backend_errors() as error:
        if isinstance(error, EmbedstoreError):
            raise
        if not isinstance(path, Path):
            why = object_store.explain(error)
            raise StoreWriteError(f"Cannot write to the store at {path}: {why}") from error
        if not isinstance(error, OSError):
            raise
        why = advice.get(error.errno or 0, "Nothing of this step was committed; run the same command again.")
        raise StoreWriteError(f"Cannot write to the store at {path}: {error.strerror or error}. {why}") from error


def fsync_path(path: StorePath) -> None:
    """Make a file's bytes, or the names inside a directory, survive a power loss; in object storage they do."""
    if not isinstance(path, Path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_exclusive(path: StorePath, payload: bytes) -> bool:
    """Create ``path`` with ``payload`` whole or not at all; False if it exists already.

    A reader can never see a prefix of the payload: it is written and synced under another name first, and
    linked to its own by an operation that fails where the name is taken. Object storage does this in one request.
    """
    if not isinstance(path, Path):
        with translate_write_errors(path):
            return object_store.create(path, payload)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with translate_write_errors(path):
        try:
            with temporary.open("xb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            published = _link(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        fsync_path(path.parent)
    return published


def _link(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        # FAT and some network file systems have no hard links. What is published there has a unique name, so that
        # no other writer can want it between the two steps, and a rename is atomic too.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        if path.exists():
            return False
        temporary.rename(path)
    return True


def is_empty(path: StorePath) -> bool:
    """Whether a store could be made here: nothing is there, or only what a first writer left that died."""
    if not isinstance(path, Path):
        return object_store.is_empty(path)
    if not path.is_dir():
        return not path.exists()
    return all(is_temporary(child) for child in path.iterdir())


def is_temporary(path: StorePath) -> bool:
    """Whether this is what a writer that died left of a record that it had not published."""
    return path.name.startswith(f".{RECORD}.") and path.name.endswith(".tmp")


def make_directory(path: StorePath) -> None:
    """Create a directory and its parents; each new name survives a power loss once this returns."""
    if not isinstance(path, Path) or path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "Not a directory", str(path))
    fsync_path(path.parent)


def ensure_group(path: StorePath, attributes: dict[str, Any] | None = None) -> None:
    """Create a zarr group at ``path``, parents included, unless one is there."""
    if is_file(path / RECORD):
        return
    with translate_write_errors(path):
        make_directory(path)
    create_exclusive(path / RECORD, to_json(group_metadata(attributes or {})))


def check_writable(path: StorePath) -> None:
    """Refuse a file system on which two writers could overwrite each other; StoreWriteError says so."""
    if not isinstance(path, Path):
        object_store.check_exclusive(path)


def ensure_store(path: StorePath) -> None:
    """Create an empty store at ``path``, unless one is there.

    Raises
    ------
    StoreWriteError
        If it cannot be written to, or not safely by two writers at once.
    """
    check_writable(path)
    ensure_group(path, {NAMESPACE: {"format": FORMAT_VERSION}})
    if not isinstance(path, Path):
        with translate_write_errors(path):
            object_store.check_server(path / RECORD)


def to_json(document: Any) -> bytes:
    """JSON for a file that people may read: sorted keys, indented, no NaN."""
    return json.dumps(document, sort_keys=True, indent=1, allow_nan=False).encode()


def canonical_json(document: Any) -> bytes:
    """JSON for hashing: one spelling for one document, and quick."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
