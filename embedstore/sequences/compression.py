"""Bytes of a file: decompressed in bounded memory, with damage reported and never passed over."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import zstandard

from embedstore.errors import FileFormatError, InputError, MissingFileError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

COMPRESSED_SUFFIXES = (".gz", ".zst")
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_COMPRESSED = "is compressed with {}; expected gzip, zstd or no compression. Decompress it first."
_UTF_16 = "is UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)."
_UNSUPPORTED = {
    b"BZh": _COMPRESSED.format("bzip2"),
    b"\xfd7zXZ": _COMPRESSED.format("xz"),
    b"PK\x03\x04": "is a zip archive (an Excel or Word file?): export it as CSV or FASTA, or unpack it.",
    b"\xd0\xcf\x11\xe0": "is an old Excel or Word file: export it as CSV or FASTA.",
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
}
"""Starts of files that people have in place of text, and what to tell them."""

# Compressed bytes handed to the decompressor at once. zlib expands at most 1,032 times, which bounds the memory.
_COMPRESSED_CHUNK = 1 << 16
_HEAD_BYTES = 1 << 16
_BUFFER_BYTES = 1 << 18


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFile:
    """A file being read: its decompressed bytes, and the raw file beneath, whose position tells the progress."""

    stream: io.BufferedReader
    raw: io.FileIO


class _Decompressed(io.RawIOBase):
    """Members or frames of a compressed file as one stream.

    Written here because ``zstandard``'s own stream reader ends without an error where a truncated file ends.
    """

    def __init__(self, raw: io.FileIO, new_decompressor: Callable[[], _Decompressor]) -> None:
        self._chunks = _decompress(raw, new_decompressor)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        target = memoryview(buffer)
        n = min(len(target), len(self._rest))
        target[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        return n


def _decompress(raw: io.FileIO, new_decompressor: Callable[[], _Decompressor]) -> Iterator[bytes]:
    decompressor = new_decompressor()
    inside = False
    while chunk := raw.read(_COMPRESSED_CHUNK):
        while chunk:
            inside = True
            if data := decompressor.decompress(chunk):
                yield data
            if not decompressor.eof:
                break
            inside = False
            # gzip permits zero padding between and after its members.
            chunk = decompressor.unused_data.lstrip(b"\0")
            decompressor = new_decompressor()
    if inside:
        raise EOFError("it ends in the middle of a compressed block")


def _decompressor_of(kind: str) -> Callable[[], _Decompressor]:
    if kind == "gzip":
        return lambda: zlib.decompressobj(wbits=31)
    return lambda: zstandard.ZstdDecompressor().decompressobj()


@contextmanager
def open_file(path: Path) -> Iterator[OpenFile]:
    """Open a file for reading, decompressed by its magic bytes (gzip, zstd), whatever its name says.

    Raises
    ------
    MissingFileError
        If there is no such file.
    FileFormatError
        While reading: if it is compressed in another way, or is damaged or cut short.
    """
    with _plain_errors(path), path.open("rb", buffering=0) as raw:
        magic = raw.read(8)
        raw.seek(0)
        kinds = [kind for start, kind in _MAGIC.items() if magic.startswith(start)]
        source = _Decompressed(raw, _decompressor_of(kinds[0])) if kinds else raw
        stream: io.BufferedReader = io.BufferedReader(source, _BUFFER_BYTES)
        # Of the decompressed bytes: a spreadsheet under gzip is one too.
        opening = stream.peek(8)
        for start, advice in _UNSUPPORTED.items():
            if opening.startswith(start):
                raise FileFormatError(f"{path} {advice}")
        yield OpenFile(stream=stream, raw=raw)


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(f"No such file: {path}. Check the path.") from error
    except PermissionError as error:
        raise InputError(f"No permission to read {path}. Change its mode, or copy it.") from error
    except (EOFError, zlib.error, zstandard.ZstdError) as error:
        raise FileFormatError(f"{path} is damaged or cut short: {error}. Fetch or write it again.") from error
    except UnicodeDecodeError as error:
        raise FileFormatError(
            f"{path} is not UTF-8 text: byte 0x{error.object[error.start]:02x}. Convert it: iconv -f latin1 -t utf-8."
        ) from error


def read_head(path: Path) -> bytes:
    """Read the first 64 KiB of a file, decompressed."""
    with open_file(path) as opened:
        return opened.stream.read(_HEAD_BYTES)


def file_sha256(path: str | PathLike[str]) -> str:
    """Hash the raw bytes of a file, for provenance: 64 hexadecimal characters.

    A pass of its own, and only for who asks: it takes longer than reading records does, and the file is in the
    page cache by then.

    Raises
    ------
    MissingFileError
        If there is no such file.
    """
    path = Path(path)
    with _plain_errors(path), path.open("rb", buffering=0) as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()
