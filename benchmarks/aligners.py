"""The nearest protein by alignment: BLASTp and MMseqs2, run as published comparisons run them, answers kept on disk."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import MissingFileError

NO_HIT = -1
"""Stands for the row of a query that finds nothing: an error wherever it is counted."""


class Aligner(ABC):
    """An alignment program as a finder of nearest proteins.

    Parameters
    ----------
    cache
        Directory of earlier answers. An answer is taken again if program, version, settings, queries and database are
        the same.
    threads
        Given to the program; changes no answer.
    """

    name: str
    program: str
    settings: tuple[str, ...]

    def __init__(self, cache: Path, *, threads: int = 1) -> None:
        if shutil.which(self.program) is None:
            raise MissingFileError(
                f"{self.program} is not on the path. Install it, or leave {self.name} out of --models."
            )
        self.cache = cache
        self.threads = threads
        self.version = self._version()

    def nearest(
        self, queries: Sequence[bytes], base: Sequence[bytes], own: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Row of the best hit of each query among `base`, (n,) int64; `NO_HIT` where there is none.

        ``own`` is the row that each query itself has in `base`, which is passed over.
        """
        kept = self.cache / f"{self.name}-{self._key(queries, base, own)}.json"
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=self.cache) as work:
                hits = self._hits(
                    _fasta(Path(work) / "queries.fasta", queries), _fasta(Path(work) / "base.fasta", base), Path(work)
                )
            best = np.full(len(queries), NO_HIT, np.int64)
            for query, target in hits:
                if best[query] == NO_HIT and (own is None or target != own[query]):
                    best[query] = target
            new = kept.with_suffix(".new")
            new.write_text(json.dumps({"program": self.version, "settings": self.settings, "best": best.tolist()}))
            new.replace(kept)
        return np.array(json.loads(kept.read_text())["best"], np.int64)

    def ranked(
        self, queries: Sequence[bytes], base: Sequence[bytes], k: int, *, keep: bool = True
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows of the `k` best hits of each query among `base`, and their bit scores, (n, k) each, the best first.

        `NO_HIT` and 0 stand where there are fewer. ``keep=False`` asks the program whatever is on disk.
        """
        kept = self.cache / f"{self.name}-{self._key(queries, base, None, f'ranked {k}')}.npz"
        if not keep or not kept.exists():
            with tempfile.TemporaryDirectory(dir=self.cache) as work:
                asked = _fasta(Path(work) / "queries.fasta", queries)
                hits = self._scored(asked, _fasta(Path(work) / "base.fasta", base), Path(work))
            rows, bits = _top(hits, len(queries), k)
            if not keep:
                return rows, bits
            new = kept.with_name(f"new-{kept.name}")
            np.savez(new, rows=rows, bits=bits)
            new.replace(kept)
        with np.load(kept) as held:
            return held["rows"], held["bits"]

    def _key(self, queries: Sequence[bytes], base: Sequence[bytes], own: NDArray[np.int64] | None, *more: str) -> str:
        said = hashlib.sha256(json.dumps([self.name, self.version, self.settings, *more]).encode())
        for part in (b"\n".join(queries), b"\n".join(base), b"" if own is None else own.tobytes()):
            said.update(hashlib.sha256(part).digest())
        return said.hexdigest()[:24]

    @abstractmethod
    def _version(self) -> str: ...

    @abstractmethod
    def _hits(self, queries: Path, base: Path, work: Path) -> list[tuple[int, int]]:
        """Pairs of query and target, the hits of a query best first."""

    @abstractmethod
    def _scored(self, queries: Path, base: Path, work: Path) -> list[tuple[int, int, float]]:
        """Query, target and bit score of every hit."""


class Blastp(Aligner):
    """NCBI BLAST+; the first line of a query is its answer (Bileschi et al. 2022).

    ``num_alignments`` is 5 and not the published 1: the query itself may stand in the database, and BLAST advises
    against less. On SCOP2 both give the same answers.
    """

    name = "blastp"
    program = "blastp"
    settings = ("-evalue", "10", "-outfmt", "10 qseqid sseqid", "-max_hsps", "1", "-num_alignments", "5")

    def _version(self) -> str:
        return _output("blastp", "-version").splitlines()[0]

    def _hits(self, queries: Path, base: Path, work: Path) -> list[tuple[int, int]]:
        database = work / "database"
        _output("makeblastdb", "-dbtype", "prot", "-in", base, "-out", database)
        table = _output(
            self.program, "-query", queries, "-db", database, *self.settings, "-num_threads", str(self.threads)
        )
        return _pairs(table, ",")

    def _scored(self, queries: Path, base: Path, work: Path) -> list[tuple[int, int, float]]:
        database = work / "database"
        _output("makeblastdb", "-dbtype", "prot", "-in", base, "-out", database)
        table = _output(
            self.program, "-query", queries, "-db", database, "-evalue", "10", "-max_hsps", "1",
            "-outfmt", "6 qseqid sseqid bitscore", "-max_target_seqs", "50", "-num_threads", str(self.threads),
        )  # fmt: skip
        return _triples(table)


class MMseqs(Aligner):
    """MMseqs2 at its most sensitive usual setting."""

    name = "mmseqs"
    program = "mmseqs"
    settings = ("-s", "7.5", "-e", "10", "--format-output", "query,target")

    def _version(self) -> str:
        return f"mmseqs {_output('mmseqs', 'version').strip()}"

    def _hits(self, queries: Path, base: Path, work: Path) -> list[tuple[int, int]]:
        table = work / "hits.tsv"
        _output(
            self.program, "easy-search", queries, base, table, work / "tmp", *self.settings,
            "--threads", str(self.threads), "-v", "1",
        )  # fmt: skip
        return _pairs(table.read_text(), "\t")

    def _scored(self, queries: Path, base: Path, work: Path) -> list[tuple[int, int, float]]:
        table = work / "hits.tsv"
        _output(
            self.program, "easy-search", queries, base, table, work / "tmp", "-s", "7.5", "-e", "10",
            "--format-output", "query,target,bits", "--threads", str(self.threads), "-v", "1",
        )  # fmt: skip
        return _triples(table.read_text())


ALIGNERS: dict[str, type[Aligner]] = {kind.name: kind for kind in (Blastp, MMseqs)}


def _output(*command: str | Path) -> str:
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def _fasta(path: Path, sequences: Sequence[bytes]) -> Path:
    path.write_text("".join(f">{row}\n{sequence.decode()}\n" for row, sequence in enumerate(sequences)))
    return path


def _pairs(table: str, separator: str) -> list[tuple[int, int]]:
    pairs = (line.split(separator) for line in table.splitlines())
    return [(int(query), int(target)) for query, target in pairs]


def _triples(table: str) -> list[tuple[int, int, float]]:
    parts = (line.split("\t") for line in table.splitlines())
    return [(int(query), int(target), float(bits)) for query, target, bits in parts]


def _top(hits: Sequence[tuple[int, int, float]], n: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best hits of each query; the order of equal scores is the program's."""
    rows, bits = np.full((n, k), NO_HIT, np.int64), np.zeros((n, k), np.float32)
    place = [0] * n
    for query, target, score in sorted(hits, key=lambda hit: -hit[2]):
        if place[query] < k:
            rows[query, place[query]], bits[query, place[query]] = target, score
            place[query] += 1
    return rows, bits
