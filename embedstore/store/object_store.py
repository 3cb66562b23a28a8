"""Object storage (``s3://``, ``gs://``, ``memory://``): what a store does there otherwise than in a directory."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any

from embedstore.errors import EmbedstoreError, InputError, StoreError, StoreWriteError

if TYPE_CHECKING:
    from upath import UPath

_EXCLUSIVE = ("s3", "s3a", "gs", "gcs", "memory")
"""Protocols whose file systems can refuse to overwrite in the very request that writes."""

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Protocol -> the extra of ours that installs its package."""

_UPLOAD_BYTES = 16 * 2**20
"""What of a file is kept in memory until it is uploaded; object stores want at least 5 MiB."""

_READ_BYTES = 8 * 2**20
"""One request of those that read a whole object ..."""

_AT_ONCE = 8
"""... and how many of them run at once."""

_FAILURES = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
}
"""Module -> errors of it that reach us as they are, and are no OSError."""

Span = tuple["UPath", int, int]
"""A stretch of an object: path, first byte, and the one behind the last."""


def locate(path: str | PathLike[str]) -> UPath:
    """The path of a store in object storage, with its file system ready for use.

    Raises
    ------
    InputError
        If nothing is known of its protocol.
    StoreError
        If the package for its protocol is not installed.
    """
    from upath import UPath

    protocol, _, place = str(path).partition("://")
    if protocol in _EXTRAS and not place.strip("/"):
        raise InputError(f"{str(path)!r} names no bucket. Pass {protocol}://bucket/name as --store.")
    try:
        # A cached listing hides what others have committed since.
        url_path = UPath(path, use_listings_cache=False)
        url_path.fs  # noqa: B018 - imports the package
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        advice = f"pip install 'embedstore[{extra}]'" if extra else f"pip install the fsspec package for {protocol}"
        raise StoreError(f"{path} needs a package that is not installed: {error}. Run: {advice}") from error
    except ValueError as error:
        raise InputError(
            f"Cannot make out {str(path)!r}: {error}. A store is a directory, s3://bucket/name or gs://bucket/name."
        ) from error
    except backend_errors() as error:
        # Some file systems connect at once.
        raise StoreError(f"Cannot read {path}: {explain(error)}") from error
    return url_path


def check_exclusive(path: UPath) -> None:
    """Refuse file systems on which two writers could overwrite each other's records without a word.

    Raises
    ------
    StoreWriteError
    """
    if path.protocol not in _EXCLUSIVE:
        raise StoreWriteError(
            f"Cannot write to a store at {path}: {path.protocol}:// cannot create a file only if it is not there. "
            "Use a directory, s3:// or gs://; reading works."
        )


def check_server(record: UPath) -> None:
    """Prove that the server refuses to overwrite ``record``, by offering it the same bytes once more.

    Raises
    ------
    StoreWriteError
        If it takes them: some servers that speak S3 ignore the condition.
    """
    if create(record, read(record)):
        raise StoreWriteError(
            f"Cannot write to the store at {record.parent}: the server overwrites files that it was told not to "
            "(If-None-Match), so two writers could lose each other's work. Use one that follows the condition."
        )


def backend_errors() -> tuple[type[BaseException], ...]:
    """The errors by which a file system says that it could not do what it was asked for."""
    types: list[type[BaseException]] = [OSError]
    for module, names in _FAILURES.items():
        if module in sys.modules:
            types += [getattr(sys.modules[module], name) for name in names]
    return tuple(types)


def explain(error: BaseException) -> str:
    """What went wrong and what to do, in two sentences."""
    said = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".") or type(error).__name__
    kind, code = type(error).__name__, _code(error)
    if code == "NoSuchBucket" or "bucket does not exist" in said:
        return "There is no such bucket. Create it, or name another with --store."
    if "Credential" in kind or "Token" in kind or "GoogleAuth" in kind or "DefaultCredentials" in said:
        return (
            f"{said}. Give credentials as for its own tools ($AWS_PROFILE, $GOOGLE_APPLICATION_CREDENTIALS); "
            "to read a public bucket set FSSPEC_S3_ANON=true or FSSPEC_GS_TOKEN=anon."
        )
    if isinstance(error, PermissionError) or said.startswith("Forbidden") or code in ("403", "401"):
        return f"Access was refused ({said}). Check the credentials and what they may do in this bucket."
    if isinstance(error, ConnectionError | TimeoutError) or any(part in kind for part in ("Connect", "Timeout")):
        return f"The server does not answer ({said}). Check the network and $AWS_ENDPOINT_URL."
    return f"{said}. Run the same command again; what is committed is kept."


def _code(error: BaseException) -> str:
    """What the server called the error, where it was S3."""
    for source in (error, error.__cause__):
        response = getattr(source, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return str(getattr(error, "code", ""))


@contextlib.contextmanager
def translate_read_errors(path: UPath) -> Iterator[None]:
    """Turn what a file system says about a failed read into one clear error; a missing object stays as it is."""
    try:
        yield
    except backend_errors() as error:
        if isinstance(error, EmbedstoreError) or (isinstance(error, FileNotFoundError) and not _no_bucket(error)):
            raise
        raise StoreError(f"Cannot read {path}: {explain(error)}") from error


def _no_bucket(error: BaseException) -> bool:
    return _code(error) == "NoSuchBucket"


def read(path: UPath) -> bytes:
    """A whole small object; FileNotFoundError if there is none."""
    with translate_read_errors(path):
        # With a start this is one request; without one, the size is asked for first.
        return bytes(path.fs.cat_file(path.path, start=0))


def create(path: UPath, payload: bytes) -> bool:
    """Create an object in one request that fails where it exists already; False if it does."""
    for attempt in range(5):
        try:
            path.fs.pipe_file(path.path, payload, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            # Servers other than Amazon's leave out which condition failed; there was only this one.
            if _code(error) in ("PreconditionFailed", "412"):
                return False
            # Two writers were at it in the same moment, and the server took neither.
            if _code(error) not in ("ConditionalRequestConflict", "409") or attempt == 4:
                raise
            time.sleep(0.1 * 2**attempt)
        else:
            return True
    return False


class ObjectWriter:
    """Streams a file into an object, which is there, whole, once `finish` returns."""

    def __init__(self, path: UPath) -> None:
        self._file: Any = path.fs.open(path.path, "wb", block_size=_UPLOAD_BYTES)

    def write(self, payload: bytes | memoryview) -> None:
        """Append bytes."""
        self._file.write(payload)

    def finish(self) -> None:
        """Upload what is left."""
        self._file.close()

    def abandon(self) -> None:
        """Drop what was uploaded; nothing will be there."""
        try:
            with contextlib.suppress(*backend_errors()):
                self._file.discard()
        finally:
            # Or the garbage collector would close it, and so complete the upload.
            with contextlib.suppress(AttributeError):
                self._file.closed = True


def directories(path: UPath) -> list[UPath]:
    """What has objects below it, directly under ``path``, in order of names."""
    return sorted((path / name for name, is_directory in _listed(path) if is_directory), key=lambda child: child.name)


def is_empty(path: UPath) -> bool:
    """Whether there is no object at ``path`` or below it."""
    return not _listed(path)


def _listed(path: UPath) -> list[tuple[str, bool]]:
    """Name of each child, and whether it is a directory."""
    try:
        with translate_read_errors(path):
            entries = path.fs.ls(path.path, detail=True)
    except FileNotFoundError:
        return []
    here = path.path.strip("/")
    # An object that stands for the directory itself is made by some browsers of buckets.
    children = [(entry["name"].strip("/"), entry["type"] == "directory") for entry in entries]
    return [(name.rpartition("/")[2], folder) for name, folder in children if name != here or not folder]


def read_many(paths: Sequence[UPath]) -> list[bytes | None]:
    """Whole small objects, all at once; None for each that is not there."""
    return [
        None if isinstance(content, FileNotFoundError) else content
        for content in _fetch([(path, 0, -1) for path in paths])
    ]


def read_spans(spans: Sequence[Span]) -> list[bytes]:
    """Stretches of objects, all at once; an object that ends before a stretch gives less.

    Raises
    ------
    FileNotFoundError
        If an object is not there.
    StoreError
        If the server does not give it.
    """
    contents = []
    for content in _fetch(spans):
        if isinstance(content, FileNotFoundError):
            raise content
        contents.append(content)
    return contents


def _fetch(spans: Sequence[Span]) -> list[bytes | FileNotFoundError]:
    if not spans:
        return []
    first = spans[0][0]
    stops = [stop if stop >= 0 else None for _, _, stop in spans]
    with translate_read_errors(first):
        answers = first.fs.cat_ranges(
            [path.path for path, _, _ in spans], [start for _, start, _ in spans], stops, on_error="return"
        )
    out: list[bytes | FileNotFoundError] = []
    for (path, _, _), answer in zip(spans, answers, strict=True):
        if not isinstance(answer, BaseException):
            out.append(bytes(answer))
        elif isinstance(answer, FileNotFoundError) and not _no_bucket(answer):
            out.append(answer)
        elif _code(answer) in ("InvalidRange", "416"):
            # The stretch lies behind the end.
            out.append(b"")
        else:
            with translate_read_errors(path):
                raise answer
    return out


def blocks(path: UPath) -> Iterator[bytes]:
    """A whole object of any size, block by block; FileNotFoundError if there is none."""
    with translate_read_errors(path):
        size = int(path.fs.info(path.path)["size"])
    yield from blocks_up_to(path, size)


def blocks_up_to(path: UPath, stop: int) -> Iterator[bytes]:
    """The first ``stop`` bytes of an object, or what it has, block by block; FileNotFoundError if there is none."""
    spans = ((path, start, min(start + _READ_BYTES, stop)) for start in range(0, stop, _READ_BYTES))
    while window := list(islice(spans, _AT_ONCE)):
        yield from read_spans(window)


def sizes(path: UPath) -> dict[str, int]:
    """Path, without slashes around it, and size in bytes of every object below ``path``, by one listing."""
    try:
        with translate_read_errors(path):
            objects: dict[str, dict[str, Any]] = path.fs.find(path.path, detail=True)
    except FileNotFoundError:
        return {}
    return {name.strip("/"): int(about["size"]) for name, about in objects.items()}
