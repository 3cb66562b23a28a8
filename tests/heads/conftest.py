"""A small store of simulated families: real FASTA and CSV in, real k-mer vectors."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import embedstore
from embedstore.store import Store

LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)


class Simulated:
    """Proteins of six families, and files of them."""

    families = tuple(f"PF{number:05}.1" for number in range(6))

    def proteins(self, n: int, *, seed: int) -> list[tuple[str, str, str]]:
        """Id, sequence and family of proteins that are a family's ancestor with one residue in ten changed."""
        ancestors = np.random.default_rng(5).choice(LETTERS, (len(self.families), 80))
        rng = np.random.default_rng(seed)
        rows = []
        for number in range(n):
            family = number % len(self.families)
            changed = np.where(rng.random(80) < 0.1, rng.choice(LETTERS, 80), ancestors[family])
            sequence = changed.astype(np.uint8).tobytes().decode()
            rows.append((f"sp|P{seed}{number:04}/1-80", sequence, self.families[family]))
        return rows

    def table(self, path: Path, rows: Sequence[tuple[str, ...]], header: tuple[str, ...]) -> Path:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    def fasta(self, path: Path, rows: Sequence[tuple[str, ...]]) -> Path:
        path.write_text("".join(f">{row[0]}\n{row[1]}\n" for row in rows))
        return path


@pytest.fixture(scope="session")
def simulated() -> Simulated:
    return Simulated()


@pytest.fixture(scope="session")
def splits_table(simulated: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 proteins of six families with a split column; one test row repeats a training sequence."""
    rows = []
    for split, n, seed in (("train", 150, 1), ("dev", 42, 2), ("test", 48, 3)):
        rows += [(*row, split) for row in simulated.proteins(n, seed=seed)]
    rows[-1] = (rows[-1][0], rows[5][1], rows[5][2], "test")
    header = ("id", "sequence", "family_accession", "split")
    return simulated.table(tmp_path_factory.mktemp("source") / "pfam.csv", rows, header)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory, splits_table: Path) -> Store:
    """A store with that data set as ``pfam``, and its k-mer space. Read it only."""
    opened = embedstore.open(tmp_path_factory.mktemp("store") / "proteins.zarr", mode="a")
    opened.add("pfam", splits_table)
    embedstore.build(opened, embedstore.load_model("kmer"))
    opened.refresh()
    return opened
