"""Writes one part: arrays stream to disk under a unique name, the commit record makes them exist."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from embedstore.errors import StoreWriteError
from embedstore.store.files import StorePath, blocks, read_bytes
from embedstore.store.layout import (
    RECORD,
    create_exclusive,
    fsync_path,
    make_directory,
    new_part_name,
    translate_write_errors,
)
from embedstore.store.locks import PartLock, remove_part
from embedstore.store.manifest import commit_record
from embedstore.store.zarr_shards.writer import ArrayWriter, FileTable, write_file


class PartWriter:
    """A part under construction; leaves nothing behind unless `commit` was called.

    Parameters
    ----------
    store
        Directory of the store.
    location
        Where the part belongs, below it: ``datasets/pfam/parts``.
    kind
        What the part is, for its record.
    """

    def __init__(self, store: StorePath, location: str, kind: str) -> None:
        self.kind = kind
        self.place = f"{location}/{new_part_name()}"
        self.path = store / self.place
        self._arrays: dict[str, ArrayWriter] = {}
        self._files: FileTable = {}
        self._offered = False
        with translate_write_errors(self.path):
            make_directory(self.path)
            self.lock = PartLock(store, self.path)

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Name of the part."""
        return self.path.name

    def append(self, array: str, rows: NDArray[Any], dtype: DTypeLike) -> None:
        """Add rows to an array, which the first rows create."""
        with translate_write_errors(self.path):
            if array not in self._arrays:
                self._arrays[array] = ArrayWriter(self.path, array, dtype, rows.shape[1:])
            self._arrays[array].append(rows)

    def text(self, array: str) -> TextColumn:
        """A column of texts, stored as UTF-8 bytes and N + 1 offsets."""
        return TextColumn(self, array)

    def copy(self, file: Path, name: str) -> None:
        """Take a file of this machine into the part as ``name``."""
        with translate_write_errors(self.path):
            self._files[name] = write_file(self.path / name, blocks(file))

    def commit(self, n_rows: int, details: dict[str, Any], *, replaces: Sequence[str] = ()) -> str:
        """Sync everything, then publish the record; returns the part's name.

        ``replaces`` names the parts that readers no longer see from then on.
        """
        files: FileTable = dict(self._files)
        metadata = {}
        with translate_write_errors(self.path):
            for name, array in self._arrays.items():
                metadata[name] = array.close()
                files.update(array.files)
            fsync_path(self.path)
            fsync_path(self.path.parent)
        record = commit_record(
            kind=self.kind,
            place=self.place,
            n_rows=n_rows,
            files=files,
            arrays=metadata,
            details=details,
            replaces=replaces,
        )
        self.lock.check(files)
        self._offered = True
        # A request whose answer was lost is sent again, and then refused because of itself.
        if not create_exclusive(self.path / RECORD, record) and read_bytes(self.path / RECORD) != record:
            raise StoreWriteError(f"{self.path} has a record already: another writer took this name. Run again.")
        return self.name

    def close(self) -> None:
        """Remove what was written, unless it was committed."""
        # Here the record decides, not how far `commit` came: an interrupt can fall between the two. A server may still
        # be at work on a request for it that we gave up, so that nothing is removed once it was offered.
        if not ((self.path / RECORD).exists() if isinstance(self.path, Path) else self._offered):
            with contextlib.suppress(StoreWriteError):
                remove_part(self.path)
        self.lock.release()


class TextColumn:
    """Appends texts to a pair of arrays ``<name>`` (UTF-8 bytes) and ``<name>_offsets`` (N + 1)."""

    def __init__(self, part: PartWriter, array: str) -> None:
        self._part = part
        self._array = array
        self._end = 0
        self.n_rows = 0
        part.append(f"{array}_offsets", np.zeros(1, np.int64), np.int64)
        part.append(array, np.empty(0, np.uint8), np.uint8)

    def append(self, texts: Sequence[bytes]) -> None:
        """Add texts, given as bytes."""
        lengths = np.fromiter(map(len, texts), np.int64, count=len(texts))
        offsets = self._end + np.cumsum(lengths)
        self._part.append(f"{self._array}_offsets", offsets, np.int64)
        self._part.append(self._array, np.frombuffer(b"".join(texts), np.uint8), np.uint8)
        self._end += int(lengths.sum())
        self.n_rows += len(texts)
