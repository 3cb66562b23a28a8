"""Files as they are published, made into one table that can be added."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from embedstore.errors import FileFormatError
from heads.tasks.table import header_fields

TABLE = "table.csv"
"""What the made table is called."""


def flip_residues(files: Sequence[Path], folder: Path) -> Path:
    """FLIP's tasks on residues: sequences, labels with ``SET=`` and ``VALIDATION=``, perhaps masks, joined by id.

    Parameters
    ----------
    files
        FASTA files: of the sequences, of the labels (a letter a residue), and of the masks where there are some.
    folder
        Where to write.

    Returns
    -------
    A CSV file with the columns id, sequence, label, set, validation and mask.

    Raises
    ------
    FileFormatError
        If a label has no sequence.
    """
    sequences = {name: text for name, _, text in _fasta(files[0])}
    masks = {name: text for name, _, text in _fasta(files[2])} if len(files) > 2 else {}
    rows = []
    for name, header, labels in _fasta(files[1]):
        if name not in sequences:
            raise FileFormatError(
                f"{files[1]} has labels of {name!r}, which {files[0]} does not have. Fetch both again."
            )
        fields = header_fields(header)
        mask = masks.get(name, "1" * len(labels))
        rows.append((name, sequences[name], labels, fields.get("set", ""), fields.get("validation", ""), mask))
    return _write(folder / TABLE, ("id", "sequence", "label", "set", "validation", "mask"), rows)


def fasta_classes(files: Sequence[Path], folder: Path) -> Path:
    """FASTA files that are called ``<split>.<label>.fa``, ``all`` for no split, as one table."""
    rows = []
    for file in files:
        split, label = file.name.split(".")[:2]
        rows += [(name, text, label, "" if split == "all" else split) for name, _, text in _fasta(file)]
    if not any(row[3] for row in rows):
        return _write(folder / TABLE, ("id", "sequence", "label"), [row[:3] for row in rows])
    return _write(folder / TABLE, ("id", "sequence", "label", "split"), rows)


def _fasta(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield id, rest of the header and text; labels are no residues, so `read_records` would refuse them."""
    for piece in path.read_text(encoding="utf-8").lstrip().removeprefix(">").split("\n>"):
        header, _, body = piece.partition("\n")
        name, _, rest = header.strip().partition(" ")
        yield name, rest, "".join(body.split())


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path
