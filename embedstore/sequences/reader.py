"""Reading records from any supported source, one block in memory at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from itertools import chain
from os import PathLike
from pathlib import Path

from embedstore.errors import FileFormatError, InputError
from embedstore.sequences.compression import open_file
from embedstore.sequences.discovery import SourceFile, ignored_files, source_files
from embedstore.sequences.fasta import fasta_records
from embedstore.sequences.formats import check_format, detect_format
from embedstore.sequences.tables import TableOptions, csv_records, parquet_records
from embedstore.sequences.validation import ReadReport, RecordValidator
from embedstore.types import Progress, ProgressCallback, Record, null_progress

_DELIMITERS = {"csv": ",", "tsv": "\t"}


class RecordReader:
    """The records of one source, streamed; each iteration reads it anew and starts a new report.

    Made by :func:`read_records`.

    Attributes
    ----------
    files
        The files that are read, in order.
    report
        What the iteration under way, or the last one, saw.
    """

    def __init__(
        self,
        files: Sequence[tuple[SourceFile, str]],
        *,
        options: TableOptions,
        skip_invalid: bool = False,
        warnings: Sequence[str] = (),
        progress: ProgressCallback = null_progress,
    ) -> None:
        self.files = [file for file, _ in files]
        self.report = ReadReport()
        self._files = list(files)
        self._options = options
        self._skip_invalid = skip_invalid
        self._warnings = list(warnings)
        self._progress = progress

    def __iter__(self) -> Iterator[Record]:
        return chain.from_iterable(self.blocks())

    def blocks(self) -> Iterator[list[Record]]:
        """Yield records in lists of some hundreds or thousands: the same as iterating, with less work for each.

        Raises
        ------
        FileFormatError
            If a file cannot be read as its format, or there is no record in all of them.
        SequenceError
            If a record is not a protein and ``skip_invalid`` is not set.
        """
        report = self.report = ReadReport(warnings=list(self._warnings))
        total = sum(file.size for file in self.files)
        done = 0
        only_nucleotides = True
        for file, file_format in self._files:
            validator = RecordValidator(report, file=str(file.path), skip_invalid=self._skip_invalid)
            for block, n_bytes in self._file_blocks(file, file_format, validator):
                self._progress(Progress(stage="read", done=done + n_bytes, total=total, unit="bytes"))
                if block:
                    yield block
            done += file.size
            only_nucleotides = only_nucleotides and validator.only_nucleotides
        if not report.n_records and not report.n_other_splits:
            raise self._no_records(report)
        if report.n_records and only_nucleotides:
            report.warnings.append(
                "All sequences look like nucleotides, and are read as amino acids A, C, G, T: translate them first."
            )

    def _file_blocks(
        self, file: SourceFile, file_format: str, validator: RecordValidator
    ) -> Iterator[tuple[list[Record], int]]:
        """Yield blocks of one file, each with the raw bytes read by then."""
        options = self._options.of_split(file.split)
        if file_format == "parquet":
            for block, share in parquet_records(file.path, validator, options):
                yield block, round(share * file.size)
            return
        with open_file(file.path) as opened:
            if file_format == "fasta":
                blocks = fasta_records(opened.stream, validator, split=file.split)
            else:
                blocks = csv_records(opened.stream, validator, options, delimiter=_DELIMITERS[file_format])
            # Closed before the file is: a caller may stop in the middle.
            with closing(blocks):
                for block in blocks:
                    yield block, opened.raw.tell()

    def _no_records(self, report: ReadReport) -> FileFormatError:
        first = report.rejected[:1]
        seen = f"; {len(report.rejected)} rejected, the first at {first[0].where}: {first[0].reason}" if first else ""
        return FileFormatError(
            f"No sequence in {', '.join(str(file.path) for file in self.files)}{seen}. Check the file."
        )


def read_records(
    path: str | PathLike[str],
    *,
    format: str = "auto",  # noqa: A002 - the option's name, as on the command line
    id_column: str | None = None,
    sequence_column: str | None = None,
    split: str | None = None,
    files: Collection[Path] | None = None,
    skip_invalid: bool = False,
    progress: ProgressCallback = null_progress,
) -> RecordReader:
    """Read the proteins of a file or a directory, in bounded memory.

    Parameters
    ----------
    path
        FASTA, CSV or TSV (plain, gzip or zstd), Parquet, or a directory as :func:`source_files` describes.
    format
        ``"fasta"``, ``"csv"``, ``"tsv"`` or ``"parquet"``; ``"auto"`` goes by content, checked against the name.
    id_column, sequence_column
        Columns of a table, by exact name; None looks for the usual names.
    split
        Only this split: of a directory, the folder or file; of a table, rows with this value in the column ``split``.
    files
        Only these of the files that :func:`source_files` finds; None for all.
    skip_invalid
        Leave out records that are not proteins and name them in the report, instead of raising. Records without
        residues are always left out and named.
    progress
        Called after each block with the raw bytes read so far.

    Returns
    -------
    RecordReader
        Iterate over it; afterwards its ``report`` says what was changed and what was left out.

    Raises
    ------
    MissingFileError
        If there is nothing at ``path``.
    FileFormatError
        If a file is empty or is not what it claims to be.
    InputError
        If an argument does not fit the source.
    """
    check_format(format)
    path = Path(path)
    in_layout = path.is_dir()
    sources = source_files(path, split=split if in_layout else None)
    wanted = [file for file in sources if files is None or file.path in files]
    detected = [(file, detect_format(file.path) if format == "auto" else format) for file in wanted]
    if any(file_format == "fasta" for _, file_format in detected):
        _refuse_columns(path, id_column=id_column, sequence_column=sequence_column, split=None if in_layout else split)
    ignored = ignored_files(path)
    return RecordReader(
        detected,
        options=TableOptions(
            id_column=id_column, sequence_column=sequence_column, only_split=None if in_layout else split
        ),
        skip_invalid=skip_invalid,
        warnings=[f"{path}: not read, since no split is named so: {', '.join(ignored)}."] if ignored else [],
        progress=progress,
    )


def _refuse_columns(path: Path, **given: str | None) -> None:
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"{path} is FASTA, which has no columns, but {name}={value!r} (--{name.replace('_', '-')}) was "
                "given. Leave it out."
            )
