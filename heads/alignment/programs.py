"""Heads that run an external alignment program on temporary files."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from heads.alignment.base import NearestHead
from heads.alignment.hits import Hits, hits_of
from heads.tasks.programs import program_version, write_fasta

_logger = logging.getLogger(__name__)


class ProgramHead(NearestHead):
    """A head whose hits come from an external program.

    The database is made at the first search, in a temporary directory that is removed with the head. Sequences are
    named by their row, so that ids cannot confuse the program; empty ones are left out.

    A subclass names its programs and has `_make_database` and `_run`.

    Attributes
    ----------
    programs
        Programs that must be on the path; the version of the first is recorded.
    version_arguments
        Arguments that print its version.
    install
        How to install it.
    """

    programs: ClassVar[tuple[str, ...]]
    version_arguments: ClassVar[tuple[str, ...]]
    install: ClassVar[str]

    @classmethod
    def missing(cls) -> str | None:
        """Programs that are not on the path, and how to install them."""
        missing = [program for program in cls.programs if shutil.which(program) is None]
        return f"{' and '.join(missing)} not found on the path. Install it: {cls.install}." if missing else None

    @classmethod
    def _version(cls) -> str:
        version = program_version(cls.programs[0], *cls.version_arguments)
        return version if version.startswith(cls.programs[0]) else f"{cls.programs[0]} {version}"

    @abstractmethod
    def _make_database(self, fasta: Path, directory: Path) -> None:
        """Make the database of a FASTA file in a directory."""

    @abstractmethod
    def _run(self, fasta: Path, directory: Path, work: Path) -> str:
        """The hits as lines ``query target evalue bits``, tabs or commas between them, in the program's order."""

    def _index(self) -> None:
        self._database: Path | None = None

    def _search(self, queries: Sequence[str]) -> Hits:
        lines: list[str] = []
        if any(queries):
            directory = self._directory()
            with tempfile.TemporaryDirectory(prefix="embedstore-") as work:
                fasta = write_fasta(Path(work) / "queries.fasta", queries)
                table = self._run(fasta, directory, Path(work))
            lines = table.splitlines()
        fields = [line.replace(",", "\t").split("\t") for line in lines]
        columns = np.array(fields, np.float64).reshape(-1, 4).T
        return hits_of(len(queries), columns[0], columns[1], columns[3], columns[2]).top(self.max_hits)

    def _directory(self) -> Path:
        """The directory of the database, which is made at the first call."""
        if self._database is None or not self._database.exists():
            if self._version() != self.program_:
                _logger.warning("Fitted with %s, searched with %s.", self.program_, self._version())
            self._database = Path(tempfile.mkdtemp(prefix="embedstore-"))
            weakref.finalize(self, shutil.rmtree, self._database, ignore_errors=True)
            self._make_database(write_fasta(self._database / "targets.fasta", self.residues_), self._database)
        return self._database
