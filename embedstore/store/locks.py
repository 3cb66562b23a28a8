"""Who is at work in a store: locks that die with their process, so that the living are told from the dead.

A writer holds one lock on a file in the directory of its part, and shares another, on the store's own record. Both
are advisory `flock` locks on this machine's file systems; object stores have none, and there age alone decides.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from embedstore.errors import StoreWriteError
from embedstore.store.files import StorePath, is_file
from embedstore.store.layout import RECORD, translate_write_errors
from embedstore.store.zarr_shards.writer import FileTable

LOCK_FILE = ".writer"
"""File in the directory of a part that is being written or removed; a committed part has none."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EBADF)

Writer = Literal["alive", "dead", "unknown", "none"]


class _Lock:
    """A lock on a file, held until `close`; none where the file system knows no locks."""

    def __init__(self, path: Path, how: int, *, create: bool = False) -> None:
        flags = os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            self.descriptor = os.open(path, os.O_RDWR | flags, 0o666)
        except PermissionError:
            # Somebody else's file: a lock needs no permission to write, but on some network file systems.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _flock(self.descriptor, how)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self.descriptor)


def _flock(descriptor: int, how: int) -> bool:
    """Lock a file; False where its file system knows no locks, BlockingIOError where another holds it."""
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


class SharedStoreLock:
    """Tells others, until `release`, that somebody writes to a store and may still read what he found at the start."""

    def __init__(self, store: StorePath) -> None:
        # Waits while somebody is alone in the store, which takes moments.
        self._lock = _Lock(store / RECORD, fcntl.LOCK_SH) if isinstance(store, Path) else None

    def become_alone(self) -> bool:
        """Whether nobody else is at work, and nobody can start before `release`; True where there are no locks."""
        if self._lock is None:
            return True
        try:
            _flock(self._lock.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Be gone."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


@contextlib.contextmanager
def exclusive_lock(store: StorePath) -> Iterator[bool]:
    """Whether nobody is at work in the store, and nobody can start before the end of the block.

    True where there are no locks: then only age protects.
    """
    if not isinstance(store, Path):
        yield True
        return
    lock: _Lock | None = None
    with translate_write_errors(store), contextlib.suppress(BlockingIOError):
        lock = _Lock(store / RECORD, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.close()


class PartLock:
    """What a writer holds on the directory of its part, from its first file until its record is published.

    Parameters
    ----------
    store
        Directory of the store.
    part
        Directory of the part, which is there.
    """

    def __init__(self, store: StorePath, part: StorePath) -> None:
        self.work = SharedStoreLock(store)
        self._part = part
        try:
            # Who else locks it only looks, and is gone in a moment.
            self._lock = _Lock(part / LOCK_FILE, fcntl.LOCK_EX, create=True) if isinstance(part, Path) else None
        except BaseException:
            self.work.release()
            raise

    def check(self, files: FileTable) -> None:
        """Make sure that what is about to be committed is still there.

        Raises
        ------
        StoreWriteError
            If somebody removed the part, or what it belongs to, while it was written.
        """
        with translate_write_errors(self._part):
            is_intact = all(_size(self._part / name) == about["bytes"] for name, about in files.items())
            is_intact = is_intact and is_file(self._part.parent / RECORD)
            if is_intact and self._lock is not None and isinstance(self._part, Path):
                is_intact = _same_file(self._lock.descriptor, self._part / LOCK_FILE)
        if not is_intact:
            raise StoreWriteError(
                f"{self._part} was removed while it was written (`embedstore rm`, `embedstore gc`, or by hand): "
                "nothing of it was committed. Run the same command again."
            )

    def release(self) -> None:
        """Give it up; may be called more than once."""
        if self._lock is not None and isinstance(self._part, Path):
            with contextlib.suppress(OSError):
                if _same_file(self._lock.descriptor, self._part / LOCK_FILE):
                    (self._part / LOCK_FILE).unlink()
            self._lock.close()
            self._lock = None
        self.work.release()


def writer_of(part: StorePath) -> Writer:
    """Whether a part's directory has a writer: ``none`` where no claim is there, ``unknown`` without locks."""
    if not isinstance(part, Path):
        return "unknown"
    try:
        descriptor = os.open(part / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return "none"
    try:
        return "dead" if _flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB) else "unknown"
    except BlockingIOError:
        return "alive"
    finally:
        os.close(descriptor)


def remove_abandoned(part: StorePath) -> bool:
    """Remove a part's directory that has no record and no living writer; whether it was removed."""
    if not isinstance(part, Path):
        remove_part(part)
        return True
    with translate_write_errors(part):
        try:
            lock = _Lock(part / LOCK_FILE, fcntl.LOCK_EX | fcntl.LOCK_NB, create=True)
        except (BlockingIOError, FileNotFoundError):
            return False
        try:
            # Its writer may have finished, and let go, since it was looked at.
            if (part / RECORD).exists():
                (part / LOCK_FILE).unlink(missing_ok=True)
                return False
            remove_part(part)
        finally:
            lock.close()
    return True


def remove_part(part: StorePath) -> None:
    """Remove a part: its record first, so that it is gone for readers at once, and its claim last.

    A kill at any moment leaves what a writer that died leaves.
    """
    with translate_write_errors(part):
        if isinstance(part, Path):
            with contextlib.suppress(FileNotFoundError):
                (part / LOCK_FILE).touch()
        (part / RECORD).unlink(missing_ok=True)
        remove_tree(part)


def remove_tree(path: StorePath) -> None:
    """Remove a directory with all that is in it, a claim last; the one place where something of a store is removed."""
    if not isinstance(path, Path):
        with contextlib.suppress(FileNotFoundError):
            path.fs.rm(path.path, recursive=True)
        return
    with contextlib.suppress(FileNotFoundError):
        for child in path.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            elif child.name != LOCK_FILE:
                child.unlink(missing_ok=True)
        (path / LOCK_FILE).unlink(missing_ok=True)
        path.rmdir()


def _size(path: StorePath) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
