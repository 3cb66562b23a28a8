"""MMseqs2 at the highest usual sensitivity."""

from __future__ import annotations

from pathlib import Path

from embedstore.errors import WorkerDiedError
from heads.alignment.base import n_threads
from heads.alignment.programs import ProgramHead
from heads.tasks.programs import run_program

_NO_SEED = "Maybe the sequences length is less than"


class MMseqsHead(ProgramHead):
    """The label of MMseqs2's best hit, ``-s 7.5`` (Steinegger and Söding 2017).

    The parameters are those of `heads.alignment.base.NearestHead`.
    """

    programs = ("mmseqs",)
    version_arguments = ("version",)
    install = "`apt-get install mmseqs2`, or `conda install -c bioconda mmseqs2`"
    default_hits = 300

    def _make_database(self, fasta: Path, directory: Path) -> None:
        # --dbtype 1: proteins, so that it does not guess.
        run_program("mmseqs", "createdb", fasta, directory / "targets", "--dbtype", "1", "-v", "1")

    def _run(self, fasta: Path, directory: Path, work: Path) -> str:
        queries, results, out = work / "queries", work / "results", work / "hits.tsv"
        targets, threads = directory / "targets", ("--threads", str(n_threads(self.threads)), "-v", "1")
        run_program("mmseqs", "createdb", fasta, queries, "--dbtype", "1", "-v", "1")
        try:
            run_program(
                "mmseqs", "search", queries, targets, results, work / "tmp", "-s", "7.5", "-e", f"{self.evalue:g}",
                "--max-seqs", str(self.max_hits), *threads,
            )  # fmt: skip
        except WorkerDiedError as error:
            # It fails where no training protein has a seed: peptides, or X and repeats alone.
            if _NO_SEED in str(error):
                return ""
            raise
        columns = ("--format-output", "query,target,evalue,bits")
        run_program("mmseqs", "convertalis", queries, targets, results, out, *columns, *threads)
        return out.read_text()
