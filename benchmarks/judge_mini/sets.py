"""The sets that `mini` is judged on, read from the project's data folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.train_mini.data import order, rows
from embedstore.sequences import digest
from embedstore.store.keys import as_digests
from embedstore.types import Digests

TRAIN_ROWS = 8
"""Under a limit, so many rows of a training split or database are read for each test row."""


@dataclass(frozen=True, slots=True)
class Proteins:
    """Rows of a set: sequences as models take them, and every column of the file."""

    sequences: list[bytes]
    columns: dict[str, NDArray[np.str_]]

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def labels(self) -> NDArray[np.str_]:
        """(N,)."""
        return self.columns["label"]

    @property
    def digests(self) -> Digests:
        """Key of each row, (N, 24) uint8."""
        return as_digests([digest(sequence) for sequence in self.sequences])

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Proteins:
        """Some of the rows, by number or mask."""
        numbers = np.arange(len(self))[chosen]
        return Proteins(
            [self.sequences[row] for row in numbers.tolist()],
            {name: column[numbers] for name, column in self.columns.items()},
        )


def joined(parts: Sequence[Proteins]) -> Proteins:
    """The rows of all, with the columns that all have."""
    names = [name for name in parts[0].columns if all(name in part.columns for part in parts)]
    return Proteins(
        [sequence for part in parts for sequence in part.sequences],
        {name: np.concatenate([part.columns[name] for part in parts]) for name in names},
    )


@dataclass(frozen=True)
class Data:
    """The data folder; with a limit, a fixed sample of each split in place of the whole."""

    directory: Path
    limit: int | None = None

    def split(self, name: str, split: str, *, asked: bool = False) -> Proteins:
        """A split of a set; ``asked``: its rows are the questions, else they are learned from or searched."""
        found = _read(self.directory / name / f"{split}.csv.gz")
        if self.limit is None:
            return found
        n_rows = self.limit if asked else TRAIN_ROWS * self.limit
        chosen = sorted(range(len(found)), key=lambda row: order(found.columns["id"][row]))[:n_rows]
        return found.take(np.array(sorted(chosen), np.int64))


@cache
def _read(path: Path) -> Proteins:
    held = list(rows(path))
    columns = {name: np.array([row[name] for row in held]) for name in held[0] if name != "sequence"}
    return Proteins([row["sequence"].upper().rstrip("*").encode() for row in held], columns)
