"""Tables of records: CSV, TSV and Parquet, streamed; every further column is kept as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from embedstore.errors import FileFormatError
from embedstore.sequences.columns import (
    ID_COLUMNS,
    NUMBERED,
    SEQUENCE_COLUMNS,
    find_column,
    is_semicolon_separated,
    listed_names,
)
from embedstore.sequences.validation import RecordValidator
from embedstore.types import Record

_BLOCK_ROWS = 1024
# A quote that is never closed would make the rest of the file one field; the longest protein known has 36,000 residues.
_LONGEST_FIELD = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """How to read a table.

    Attributes
    ----------
    id_column, sequence_column
        Names of these columns; None to find them by their usual names. `NUMBERED` for rows without ids.
    split
        The split that the layout says, added as the column ``split``; None if it says none.
    only_split
        Keep only rows whose column ``split`` has this value; None for all.
    """

    id_column: str | None = None
    sequence_column: str | None = None
    split: str | None = None
    only_split: str | None = None

    def of_split(self, split: str | None) -> TableOptions:
        """Make the options for a file of this split."""
        return replace(self, split=split)


def csv_records(
    stream: io.BufferedReader, validator: RecordValidator, options: TableOptions, *, delimiter: str
) -> Generator[list[Record], None, None]:
    """Yield the records of a CSV or TSV stream, in blocks. Fields may be quoted; a byte order mark is dropped.

    Raises
    ------
    FileFormatError
        If a column is missing or ambiguous, or quotes do not match.
    SequenceError
        If a record cannot be used and the validator does not skip such.
    """
    # The limit is one for the process, so it is only ever raised; the default would refuse long alignments.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        if sum(name.count(";") for name in header) >= len(header):
            raise is_semicolon_separated(validator.file)
        table = _Table(_named(header, validator), validator, options)
        lines = ((row, f"line {rows.line_num}") for row in rows if row)
        while block := list(islice(lines, _BLOCK_ROWS)):
            yield table.records(block)
    except csv.Error as error:
        raise FileFormatError(
            f"{validator.file}, line {rows.line_num}: {error}; expected fields quoted as in RFC 4180. "
            "Close or double the quote."
        ) from error
    finally:
        text.detach()


def parquet_records(
    path: Path, validator: RecordValidator, options: TableOptions
) -> Iterator[tuple[list[Record], float]]:
    """Yield the records of a Parquet file, in blocks, each with the share of the file that is read by then.

    Values become text as Arrow writes them; a null becomes an empty text, as in CSV.

    Raises
    ------
    FileFormatError
        If a column is missing or ambiguous, is nested, or the file is damaged.
    SequenceError
        If a record cannot be used and the validator does not skip such.
    """
    # Imported here: pyarrow takes longer to import than a FASTA of thousands takes to read.
    import pyarrow
    import pyarrow.parquet

    try:
        # Buffering ahead would hold whole row groups, which are often the whole file.
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            table = _Table(_named(file.schema_arrow.names, validator), validator, options)
            n_rows = 0
            for batch in file.iter_batches(batch_size=_BLOCK_ROWS, use_threads=False):
                columns = [_as_text(column) for column in batch.columns]
                rows = zip(*columns, strict=True)
                yield (
                    table.records([(row, f"row {number}") for number, row in enumerate(rows, n_rows + 1)]),
                    (n_rows + batch.num_rows) / file.metadata.num_rows,
                )
                n_rows += batch.num_rows
    except pyarrow.ArrowException as error:
        raise FileFormatError(
            f"{path} cannot be read: {error}. Expected a whole file with columns of text or numbers. Write it so."
        ) from error


class _Table:
    """The rows of one table, once its header is known."""

    def __init__(self, names: Sequence[str], validator: RecordValidator, options: TableOptions) -> None:
        self._names = names
        self._validator = validator
        self._split = options.split
        self._only_split = options.only_split
        self._stem = Path(validator.file).name.split(".")[0]
        self._n_rows = 0
        numbered = options.id_column == NUMBERED and NUMBERED not in names
        self._id = (
            None if numbered else find_column(names, options.id_column, ID_COLUMNS, role="id", file=validator.file)
        )
        self._sequence = find_column(
            names, options.sequence_column, SEQUENCE_COLUMNS, role="sequence", file=validator.file
        )
        if self._only_split is not None and "split" not in names:
            raise FileFormatError(
                f"{validator.file} has no column 'split'; its columns are {listed_names(names)}. Read it without "
                "split= (--split)."
            )

    def records(self, rows: Iterable[tuple[Sequence[str], str]]) -> list[Record]:
        """Turn rows, each with where it stands, into records."""
        made = (self._record(row, where) for row, where in rows)
        return [record for record in made if record is not None]

    def _record(self, row: Sequence[str], where: str) -> Record | None:
        self._n_rows += 1
        if len(row) != len(self._names):
            shown = dict(zip(self._names, row, strict=False)).get(self._id or "", "")
            self._validator.refuse(
                shown, where, f"it has {len(row)} fields; expected {len(self._names)}, as in the header"
            )
            return None
        columns = dict(zip(self._names, row, strict=True))
        record_id = f"{self._stem}_{self._n_rows - 1}" if self._id is None else columns.pop(self._id)
        raw = columns.pop(self._sequence).encode("utf-8")
        if self._only_split is not None and columns["split"] != self._only_split:
            self._validator.report.n_other_splits += 1
            return None
        if self._split is not None and columns.setdefault("split", self._split) != self._split:
            reason = f"its column 'split' says {columns['split']!r}, but it stands under {self._split!r}"
            self._validator.refuse(record_id, where, reason)
            return None
        return self._validator.accept(record_id, raw, columns, where)


def _named(names: Sequence[str], validator: RecordValidator) -> list[str]:
    """Check that no name stands twice; a column without a name (an index that pandas wrote) gets one."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FileFormatError(f"{validator.file} has the column {twice[0][:40]!r} more than once. Rename one of them.")
    if "" not in names:
        return list(names)
    place = names.index("")
    name = f"column_{place + 1}"
    validator.report.warnings.append(f"{validator.file}: column {place + 1} has no name and is kept as {name!r}.")
    return _named([*names[:place], name, *names[place + 1 :]], validator)


def _as_text(column: Any) -> list[str]:
    import pyarrow

    values: list[str] = column.cast(pyarrow.string()).fill_null("").to_pylist()
    return values
