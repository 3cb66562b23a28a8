"""Where the records of a path are: one file, or a directory whose files are splits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from embedstore.errors import FileFormatError, InputError, MissingFileError
from embedstore.sequences.compression import COMPRESSED_SUFFIXES

SPLITS = ("train", "dev", "valid", "val", "validation", "test")
"""Names of folders or files that are splits, in the order in which they are read."""

SUFFIXES = {
    **dict.fromkeys((".fasta", ".fa", ".faa", ".fas", ".fsa", ".ffn", ".fna", ".pep"), "fasta"),
    ".csv": "csv",
    **dict.fromkeys((".tsv", ".tab"), "tsv"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
"""The format that a file's name claims."""

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of records: its path, the split it holds (None if the layout does not say) and its raw size in bytes."""

    path: Path
    split: str | None
    size: int


def source_files(path: str | PathLike[str], *, split: str | None = None) -> list[SourceFile]:
    """List the files behind a path, in an order that does not depend on the directory's.

    A directory is read in one of two layouts: folders ``train/ dev/ test/`` of files (the random split of Bileschi et
    al. has CSV shards ``data-00000-of-00080``), or files ``train.csv.gz valid.csv.gz test.csv.gz`` (also TSV, Parquet,
    FASTA). Other files are left alone; :func:`left_alone` lists them.

    Parameters
    ----------
    path
        A file or a directory.
    split
        Only the files of this split; a single file is of no split.

    Raises
    ------
    MissingFileError
        If there is nothing at ``path``.
    FileFormatError
        If a directory has neither layout, a shard is missing, or two files claim one split.
    InputError
        If a directory has no such split.

    References
    ----------
    Bileschi et al. (2022), Nature Biotechnology 40: 932-937, for the layout of shards.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"No such file or directory: {path}. Check the path.")
    if not path.is_dir():
        if not path.is_file():
            raise InputError(
                f"{path} is neither a file nor a directory; records are read more than once. Save it first."
            )
        return [_source(path, None)]
    by_split = _by_split(path)
    if split is not None:
        if split not in by_split:
            raise InputError(f"{path} has no split {split!r}; it has {', '.join(by_split)}. Pass one of these.")
        by_split = {split: by_split[split]}
    return [_source(file, name) for name, files in by_split.items() for file in files]


def ignored_files(path: Path) -> list[str]:
    """Name the files directly in a directory that look like records and are not read, since no split is named so."""
    if not path.is_dir():
        return []
    return [file.name for file in _visible(path) if claimed_format(file) and _stem(file) not in SPLITS]


def _source(path: Path, split: str | None) -> SourceFile:
    return SourceFile(path=path, split=split, size=path.stat().st_size)


def _by_split(path: Path) -> dict[str, list[Path]]:
    folders = {name: _files_of_split(path / name) for name in SPLITS if (path / name).is_dir()}
    if folders:
        return folders
    found: dict[str, list[Path]] = {}
    for name in SPLITS:
        files = [file for file in _visible(path) if file.is_file() and claimed_format(file) and _stem(file) == name]
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise FileFormatError(f"{path} has several files for the split {name!r}: {names}. Leave one of them.")
        if files:
            found[name] = files
    if not found:
        names = ", ".join(file.name for file in _visible(path)[:10]) or "nothing"
        raise FileFormatError(
            f"{path} is no directory of records; expected folders train/ dev/ test/, or files like train.csv.gz, "
            f"valid.csv.gz, test.csv.gz; found {names}. Pass one file of it, or name its files so."
        )
    return found


def _files_of_split(folder: Path) -> list[Path]:
    shards = {file: match for file in _visible(folder) if (match := _SHARD.match(file.name))}
    for match in shards.values():
        have = {int(other["number"]) for other in shards.values() if other["stem"] == match["stem"]}
        missing = sorted(set(range(int(match["total"]))) - have)
        if missing:
            raise FileFormatError(
                f"{folder} lacks {len(missing)} of the {int(match['total'])} shards that its names count, first "
                f"{match['stem']}-{missing[0]:05}-of-{match['total']}. Fetch what is missing."
            )
    files = list(shards) or [file for file in _visible(folder) if file.is_file() and claimed_format(file)]
    if not files:
        raise FileFormatError(
            f"{folder} holds no file of records; expected shards or CSV, Parquet or FASTA files. Add them."
        )
    return files


def _visible(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if not file.name.startswith("."))


def _without_compression(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in COMPRESSED_SUFFIXES else path


def claimed_format(path: Path) -> str | None:
    """Say which format a file's name claims, past ``.gz`` or ``.zst``; None if none that is known."""
    return SUFFIXES.get(_without_compression(path).suffix.lower())


def _stem(path: Path) -> str:
    return _without_compression(path).stem
