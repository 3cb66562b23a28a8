"""MMseqs2 at its most sensitive usual setting."""

from __future__ import annotations

from pathlib import Path

from embedstore.errors import WorkerDiedError
from heads.alignment.base import n_threads
from heads.alignment.programs import ProgramHead
from heads.tasks.programs import run_program

_NO_SEED = "Maybe the sequences length is less than"


class MMseqsHead(ProgramHead):
    """The label of MMseqs2's best hit, ``-s 7.5`` (Steinegger and Söding 2017).

    Parameters
    ----------
    n_hits
        Hits kept of each query (``--max-seqs``).
    n_votes
        Hits that vote with their bits; 1: the best hit decides.
    evalue
        Hits up to this E-value count.
    threads
        None: as many as there are CPUs.
    target_type
        What is predicted.
    """

    programs = ("mmseqs",)
    version_arguments = ("version",)
    install = "`apt-get install mmseqs2`, or `conda install -c bioconda mmseqs2`"

    def __init__(
        self,
        *,
        n_hits: int = 300,
        n_votes: int = 1,
        evalue: float = 10.0,
        threads: int | None = None,
        target_type: str = "class",
    ) -> None:
        self.n_hits = n_hits
        self.n_votes = n_votes
        self.evalue = evalue
        self.threads = threads
        self.target_type = target_type

    def _make_database(self, fasta: Path, directory: Path) -> None:
        # Said to be proteins (--dbtype 1), since it would guess.
        run_program("mmseqs", "createdb", fasta, directory / "targets", "--dbtype", "1", "-v", "1")

    def _run(self, fasta: Path, directory: Path, work: Path) -> str:
        queries, found, out = work / "queries", work / "found", work / "hits.tsv"
        targets, threads = directory / "targets", ("--threads", str(n_threads(self.threads)), "-v", "1")
        run_program("mmseqs", "createdb", fasta, queries, "--dbtype", "1", "-v", "1")
        try:
            run_program(
                "mmseqs", "search", queries, targets, found, work / "tmp", "-s", "7.5", "-e", f"{self.evalue:g}",
                "--max-seqs", str(max(self.n_hits, self.n_votes)), *threads,
            )  # fmt: skip
        except WorkerDiedError as error:
            # It ends so where no training protein has a seed: peptides, or X and repeats alone.
            if _NO_SEED in str(error):
                return ""
            raise
        columns = ("--format-output", "query,target,evalue,bits")
        run_program("mmseqs", "convertalis", queries, targets, found, out, *columns, *threads)
        return out.read_text()
