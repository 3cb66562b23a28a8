"""FASTA, a block of whole records at a time."""

from __future__ import annotations

import io
import struct
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import FileFormatError
from embedstore.sequences.alphabet import illegal_offset
from embedstore.sequences.validation import RecordValidator
from embedstore.types import Record

# Blocks and what is made from them stay in a core's second-level cache: 1 MiB is a third slower, 16 KiB too.
_BLOCK_BYTES = 1 << 17
_BOM = b"\xef\xbb\xbf"
_NEW_LINE = ord("\n")

_SET_ID = Record.__dict__["id"].__set__
_SET_RESIDUES = Record.__dict__["residues"].__set__
_SET_COLUMNS = Record.__dict__["columns"].__set__


def fasta_records(
    stream: io.BufferedIOBase, intake: RecordValidator, *, split: str | None = None
) -> Generator[list[Record], None, None]:
    """Yield the records of a FASTA stream, in blocks.

    Headers and sequences may be separated by LF, CRLF or CR; blank lines mean nothing. The id is the first word of
    the header, and what follows it is the column ``description``.

    Parameters
    ----------
    stream
        Decompressed bytes; what stands before the first ``>`` must be white space or a byte order mark.
    intake
        Where records are checked and counted.
    split
        The split that the layout says, added as the column ``split``; None if it says none.

    Raises
    ------
    FileFormatError
        If the stream does not start with ``>``.
    SequenceError
        If a record cannot be used and the intake does not skip such.
    """
    line = 1
    for block in _whole_records(stream):
        if line == 1 and not block.lstrip().startswith(b">"):
            raise FileFormatError(
                f"{intake.file} is not FASTA: it starts with {block.lstrip()[:20]!r}; expected '>'. Say what it is "
                "with format= (--format)."
            )
        records = _fast_block(block, intake) or _careful_block(block, intake, line)
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


def _fast_block(block: bytes, intake: RecordValidator) -> list[Record] | None:
    """Read a block in which nothing needs normalising; None if something does.

    Line breaks are found and removed for the whole block at once, and positions are carried over from the block to its
    squeezed form. A block is clean when every byte outside A-Z stands in a header.
    """
    letters = np.frombuffer(block, dtype=np.uint8)
    breaks = np.flatnonzero(letters == _NEW_LINE)
    if not block.startswith(b">") or not len(breaks) or breaks[-1] != len(block) - 1:
        return None
    # The break that ends each header, as an index into ``breaks``: the first, and each one after a break before '>'.
    header_ends = np.concatenate(([0], np.flatnonzero(letters[breaks[:-1] + 1] == ord(">")) + 1))
    starts = np.concatenate(([0], breaks[header_ends[1:] - 1] + 1)) - header_ends
    middles = breaks[header_ends] - header_ends
    ends = np.append(starts[1:], len(block) - len(breaks))
    if (middles == ends).any():
        return None

    squeezed = block.replace(b"\n", b"")
    headers, residues = _cut(squeezed, middles - starts - 1, ends - middles)
    joined = np.frombuffer(b"".join(headers), dtype=np.uint8)
    in_headers = np.count_nonzero(_outside(joined, b"A", b"Z")) + len(headers)
    if np.count_nonzero(_outside(np.frombuffer(squeezed, dtype=np.uint8), b"A", b"Z")) != in_headers:
        return None
    if _outside(joined, b" ", b"~").any():
        return None
    # Blanks are the only white space left: one of them ends the id, and more of them are rare.
    ids, _, rests = zip(
        *[header.partition(" ") for header in b"\n".join(headers).decode("ascii").split("\n")], strict=True
    )
    if not all(ids):
        return None
    columns = [{"description": text} if (text := rest.lstrip(" ")) else {} for rest in rests]
    intake.count_clean(residues)
    return _make_records(ids, residues, columns)


def _outside(letters: NDArray[np.uint8], low: bytes, high: bytes) -> NDArray[np.bool_]:
    """Mark bytes below ``low`` (they wrap round to large ones) or above ``high``."""
    return (letters - np.uint8(low[0])) > (high[0] - low[0])


def _cut(
    squeezed: bytes, header_lengths: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """Cut ``>``, header, residues, again and again, in one call: struct makes all pieces in C.

    A ``Struct`` of its own, since ``struct.unpack`` would keep the last hundred formats in memory.
    """
    both = np.stack((header_lengths, lengths), axis=1).ravel().tolist()
    pieces = struct.Struct("x%ds%ds" * len(lengths) % tuple(both)).unpack(squeezed)
    return pieces[::2], pieces[1::2]


def _make_records(ids: Sequence[str], residues: Sequence[bytes], columns: list[dict[str, str]]) -> list[Record]:
    """Make many records, filling the slots directly: a frozen dataclass's own constructor costs more than reading."""
    records = list(map(object.__new__, repeat(Record, len(ids))))
    deque(map(_SET_ID, records, ids), maxlen=0)
    deque(map(_SET_RESIDUES, records, residues), maxlen=0)
    deque(map(_SET_COLUMNS, records, columns), maxlen=0)
    return records


def _careful_block(block: bytes, intake: RecordValidator, line: int) -> list[Record]:
    """Read a block record by record; ``line`` is the number of its first line."""
    records = []
    blank = len(block) - len(block.lstrip())
    line += block[:blank].count(b"\n")
    for piece in block[blank + 1 :].split(b"\n>"):
        record = _careful_record(piece, intake, line)
        if record is not None:
            records.append(record)
        line += piece.count(b"\n") + 1
    return records


def _careful_record(piece: bytes, intake: RecordValidator, line: int) -> Record | None:
    header, _, body = piece.partition(b"\n")
    # bytes, not str: only ASCII white space ends an id.
    words = header.split(None, 1)
    try:
        texts = [word.decode("utf-8") for word in words]
    except UnicodeDecodeError:
        shown = words[0].decode("utf-8", "backslashreplace")
        intake.refuse(shown, f"line {line}", "its header is not UTF-8 text; convert it with iconv -f latin1 -t utf-8")
        return None
    offset = illegal_offset(body)
    if offset >= 0:
        line += 1 + body[:offset].count(b"\n")
    columns = {"description": texts[1]} if len(texts) > 1 else {}
    return intake.admit(texts[0] if texts else "", body.replace(b"\n", b""), columns, f"line {line}")
