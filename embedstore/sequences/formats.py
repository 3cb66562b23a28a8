"""Which format a file has: what its first bytes say, checked against what its name claims."""

from __future__ import annotations

from pathlib import Path

from embedstore.errors import FileFormatError, InputError
from embedstore.sequences.columns import is_semicolon_separated
from embedstore.sequences.compression import read_head
from embedstore.sequences.discovery import claimed_format

FORMATS = ("fasta", "csv", "tsv", "parquet")
_TABLES = ("csv", "tsv")


def check_format(name: str) -> None:
    """Check the ``format`` argument.

    Raises
    ------
    InputError
        If it is neither ``"auto"`` nor one of :data:`FORMATS`.
    """
    if name not in ("auto", *FORMATS):
        raise InputError(
            f"Unknown format {name!r}; expected auto, {', '.join(FORMATS)}. Pass one of these as format= (--format)."
        )


def detect_format(path: Path) -> str:
    """Find the format of a file.

    Raises
    ------
    FileFormatError
        If the file is empty, is none of the formats, or its content contradicts its name.
    """
    head = read_head(path).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        raise FileFormatError(f"{path} is empty. Check how it was made.")
    claimed = claimed_format(path)
    content_format = _by_content(head)
    if claimed in _TABLES and content_format in (None, *_TABLES) and b"\0" not in head:
        return claimed
    if content_format is None or (claimed is not None and claimed != content_format):
        if content_format is None and b";" in head.splitlines()[0] and b"\0" not in head:
            raise is_semicolon_separated(str(path))
        looks = f"reads like {content_format}" if content_format else "is neither FASTA nor a CSV, TSV or Parquet table"
        called = f" is named like {claimed} but" if claimed else ""
        raise FileFormatError(
            f"{path}{called} {looks}; it starts with {_shown(head)}. "
            "Rename it, or say what it is with format= (--format)."
        )
    return content_format


def _shown(head: bytes) -> str:
    """The first line, short, in quotes, and without what would steer a terminal."""
    start = head[:40].splitlines()[0]
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError:
        return repr(start[:16])
    return repr(text) if text.isprintable() else repr(start[:16])


def _by_content(head: bytes) -> str | None:
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b">"):
        return "fasta"
    first = head.splitlines()[0]
    if b"\0" in head:
        return None
    if b"\t" in first:
        return "tsv"
    return "csv" if b"," in first else None
