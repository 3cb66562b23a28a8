"""Simulated protein families as files: CSV, FASTA, or the shards of Pfam's random split."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from embedstore.catalog import unknown_name
from embedstore.errors import InputError, MissingFileError
from embedstore.sequences.discovery import claimed_format
from embedstore.testing.evolution import Evolution
from embedstore.testing.families import SPLITS, simulate_families
from embedstore.types import Progress, ProgressCallback, Record, null_progress

ROWS_PER_SHARD = 13_500
"""Rows of a shard of the Pfam layout; at most :data:`MAX_SHARDS` a split, as in the published split."""

MAX_SHARDS = 80

_PFAM_FOLDERS = {"train": "train", "valid": "dev", "test": "test"}
_PFAM_COLUMNS = ("family_id", "sequence_name", "family_accession", "aligned_sequence", "sequence")
_SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}

_REPORT_EVERY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFamilies:
    """What was written.

    Attributes
    ----------
    path
        The file or folder.
    n_sequences, n_families, n_residues
        Counts over all splits.
    n_by_split
        Sequences in train, valid and test.
    """

    path: Path
    n_sequences: int
    n_families: int
    n_residues: int
    n_by_split: dict[str, int]


def write_families(
    path: str | os.PathLike[str],
    n_sequences: int,
    n_families: int,
    *,
    layout: str | None = None,
    seed: int = 0,
    exponent: float = 0.8,
    evolution: Evolution | None = None,
    progress: ProgressCallback = null_progress,
) -> WrittenFamilies:
    """Simulate families into a file or folder, which appears whole or not at all.

    Parameters
    ----------
    path
        A name that is not taken yet, in a folder that exists. If it ends in ``.gz``, ``csv`` and ``fasta`` are
        compressed. Without ``layout``, ``.csv`` and ``.fasta`` (or ``.fa``, ``.faa``) say which it is, and a name
        without a suffix means ``pfam``.
    n_sequences, n_families, seed, exponent, evolution
        As for :func:`~embedstore.testing.families.simulate_families`.
    layout
        None to go by the name, or one of these.
        ``csv``: columns id, sequence, label, split and, if there are clans, clan.
        ``fasta``: header ``>id family=SIM00042 clan=SIMCL0004 split=train``.
        ``pfam``: folders train, dev and test of CSV shards with the columns of Bileschi et al. (2022, Nat. Biotechnol.
        40, 932-937). There is no alignment: ``aligned_sequence`` repeats the sequence. The members of a family are
        dealt to the shards in turn.
    progress
        Called each 1,000 records.

    Raises
    ------
    InputError
        If the layout is unknown or is not the one that the name says, the path is taken, or a size is out of range.
    MissingFileError
        If the folder to write into does not exist.
    """
    path = Path(path)
    write = _LAYOUTS[_layout_of(path, layout)]
    records = simulate_families(n_sequences, n_families, seed=seed, exponent=exponent, evolution=evolution)
    if path.exists():
        raise InputError(f"{path} exists already and is left as it is. Remove it or give another path.")
    if not path.parent.is_dir():
        raise MissingFileError(f"Cannot write {path}: there is no folder {path.parent}. Create it first.")
    counts = dict.fromkeys(SPLITS, 0)
    residues = [0]

    def counted() -> Iterator[Record]:
        for done, record in enumerate(records, start=1):
            counts[record.columns["split"]] += 1
            residues[0] += len(record.residues)
            if done % _REPORT_EVERY == 0 or done == n_sequences:
                progress(Progress(stage="simulate", done=done, total=n_sequences, unit="records"))
            yield record

    with _appearing(path) as unfinished:
        write(unfinished, counted(), n_sequences)
    return WrittenFamilies(
        path=path, n_sequences=n_sequences, n_families=n_families, n_residues=residues[0], n_by_split=counts
    )


def _layout_of(path: Path, layout: str | None) -> str:
    """The layout to write: the one that is asked for, if the name does not say another; else the name's."""
    if layout is not None and layout not in _LAYOUTS:
        raise unknown_name("layout", layout, list(_LAYOUTS))
    claimed = claimed_format(path)
    if claimed is None and layout is None and not path.suffix:
        return "pfam"
    if path.suffix.lower() == ".zst" or claimed not in (layout, None, *_LAYOUTS):
        raise InputError(
            f"{path} cannot be written: simulated families go into .csv or .fasta (or with .gz after that), or into a "
            "folder. Give it such a name."
        )
    if layout is None and claimed is None:
        raise InputError(
            f"The name {path.name!r} does not say which layout to write; expected .csv or .fasta, or no suffix for a "
            "folder in the layout of Pfam. Name it so, or pass layout= (--layout)."
        )
    if layout is not None and claimed not in (layout, None):
        raise InputError(
            f"{path} is named like {claimed}, but layout={layout!r} (--layout) was given. Rename it, or leave the "
            "layout out."
        )
    return layout or claimed or "pfam"


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """Give a name beside ``path``, which takes its place on success and is removed on failure."""
    unfinished = path.with_name(f".unfinished-{os.getpid()}-{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)


@contextmanager
def _text_file(path: Path) -> Iterator[TextIO]:
    """Open a text file with plain line ends, which is on the disk when it is closed."""
    with path.open("wb") as raw:
        # No time and no name in the header of gzip: equal arguments, equal bytes.
        binary: AbstractContextManager[object] = nullcontext(raw)
        if path.suffix == ".gz":
            binary = gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0)
        with binary as opened:
            text = io.TextIOWrapper(cast(BinaryIO, opened), encoding="utf-8", newline="")
            try:
                yield text
            finally:
                text.detach()
        raw.flush()
        os.fsync(raw.fileno())


def _write_csv(path: Path, records: Iterable[Record], _: int) -> None:
    with _text_file(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        for place, record in enumerate(records):
            columns = dict(record.columns)
            label, split = columns.pop("family"), columns.pop("split")
            if place == 0:
                rows.writerow(["id", "sequence", "label", "split", *columns])
            rows.writerow([record.id, record.residues.decode("ascii"), label, split, *columns.values()])


def _write_fasta(path: Path, records: Iterable[Record], _: int) -> None:
    with _text_file(path) as file:
        for record in records:
            facts = " ".join(f"{name}={value}" for name, value in record.columns.items() if value)
            file.write(f">{record.id} {facts}\n{record.residues.decode('ascii')}\n")


def _write_pfam(path: Path, records: Iterable[Record], n_sequences: int) -> None:
    with ExitStack() as stack:
        shards = {split: _open_shards(path, split, n_sequences, stack) for split in SPLITS}
        dealt = dict.fromkeys(SPLITS, 0)
        for record in records:
            family, split = record.columns["family"], record.columns["split"]
            sequence = record.residues.decode("ascii")
            # The version stands as in Pfam, whose accessions read PF00001.23.
            line = f"{family},{record.id},{family}.1,{sequence},{sequence}\n"
            shards[split][dealt[split] % len(shards[split])].write(line)
            dealt[split] += 1


def _open_shards(path: Path, split: str, n_sequences: int, stack: ExitStack) -> list[TextIO]:
    folder = path / _PFAM_FOLDERS[split]
    folder.mkdir(parents=True)
    n_shards = min(MAX_SHARDS, max(1, round(n_sequences * _SHARES[split] / ROWS_PER_SHARD)))
    names = [folder / f"data-{shard:05d}-of-{n_shards:05d}" for shard in range(n_shards)]
    files = [stack.enter_context(_text_file(name)) for name in names]
    for file in files:
        file.write(",".join(_PFAM_COLUMNS) + "\n")
    return files


_LAYOUTS: dict[str, Callable[[Path, Iterable[Record], int], None]] = {
    "csv": _write_csv,
    "fasta": _write_fasta,
    "pfam": _write_pfam,
}
