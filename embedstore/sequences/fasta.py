"""FASTA, a block of whole records at a time."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator

from embedstore.errors import FileFormatError
from embedstore.sequences.alphabet import illegal_offset
from embedstore.sequences.validation import RecordValidator
from embedstore.types import Record

_BLOCK_BYTES = 1 << 17
_BOM = b"\xef\xbb\xbf"


def fasta_records(
    stream: io.BufferedIOBase, validator: RecordValidator, *, split: str | None = None
) -> Generator[list[Record], None, None]:
    """Yield the records of a FASTA stream, in blocks.

    Headers and sequences may be separated by LF, CRLF or CR; blank lines mean nothing. The id is the first word of
    the header, and what follows it is the column ``description``.

    Parameters
    ----------
    stream
        Decompressed bytes; what stands before the first ``>`` must be white space or a byte order mark.
    validator
        Checks and counts the records.
    split
        Name of the split, added as the column ``split``; None for no such column.

    Raises
    ------
    FileFormatError
        If the stream does not start with ``>``.
    SequenceError
        If a record cannot be used and the validator does not skip such.
    """
    line = 1
    for block in _whole_records(stream):
        if line == 1 and not block.lstrip().startswith(b">"):
            raise FileFormatError(
                f"{validator.file} is not FASTA: it starts with {block.lstrip()[:20]!r}; expected '>'. Say what it is "
                "with format= (--format)."
            )
        records = _parse_block(block, validator, line)
        if split is not None:
            for record in records:
                record.columns["split"] = split
        yield records
        line += block.count(b"\n")


def _whole_records(stream: io.BufferedIOBase) -> Iterator[bytes]:
    """Cut a stream before headers; line ends become LF."""
    rest = b""
    size = _BLOCK_BYTES
    while chunk := stream.read(size):
        while chunk.endswith(b"\r") and (following := stream.read(1)):
            chunk += following
        if not rest and chunk.startswith(_BOM):
            chunk = chunk[len(_BOM) :]
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        rest += chunk
        cut = rest.rfind(b"\n>") + 1
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
            size = _BLOCK_BYTES
        else:
            # A record longer than the block: doubling keeps the copying linear in its length.
            size = max(size, len(rest))
    if rest:
        yield rest


def _parse_block(block: bytes, validator: RecordValidator, line: int) -> list[Record]:
    """Read a block record by record; ``line`` is the number of its first line."""
    records = []
    blank = len(block) - len(block.lstrip())
    line += block[:blank].count(b"\n")
    for piece in block[blank + 1 :].split(b"\n>"):
        record = _parse_record(piece, validator, line)
        if record is not None:
            records.append(record)
        line += piece.count(b"\n") + 1
    return records


def _parse_record(piece: bytes, validator: RecordValidator, line: int) -> Record | None:
    header, _, body = piece.partition(b"\n")
    # bytes, not str: only ASCII white space ends an id.
    words = header.split(None, 1)
    try:
        texts = [word.decode("utf-8") for word in words]
    except UnicodeDecodeError:
        shown = words[0].decode("utf-8", "backslashreplace")
        validator.refuse(
            shown, f"line {line}", "its header is not UTF-8 text; convert it with iconv -f latin1 -t utf-8"
        )
        return None
    offset = illegal_offset(body)
    if offset >= 0:
        line += 1 + body[:offset].count(b"\n")
    columns = {"description": texts[1]} if len(texts) > 1 else {}
    return validator.accept(texts[0] if texts else "", body.replace(b"\n", b""), columns, f"line {line}")
