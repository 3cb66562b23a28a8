"""BLASTp: the training protein that NCBI BLAST+ puts first."""

from __future__ import annotations

from pathlib import Path

from heads.alignment.base import n_threads
from heads.alignment.programs import ProgramHead
from heads.tasks.programs import run_program


class BlastpHead(ProgramHead):
    """The label of BLASTp's best hit, with the settings of the published comparison (Bileschi et al. 2022).

    ``makeblastdb -dbtype prot``; ``blastp -outfmt 10 -max_hsps 1 -num_alignments 1`` at E = 10.

    Parameters
    ----------
    n_hits
        Hits kept of each query. With more than the published 1 the runners-up make the probabilities better.
    n_votes
        Hits that vote with their bits; 1: the best hit decides. More than `n_hits` raises that.
    evalue
        Hits up to this E-value count.
    threads
        None: as many as there are CPUs.
    target_type
        What is predicted.
    """

    programs = ("blastp", "makeblastdb")
    version_arguments = ("-version",)
    install = "`apt-get install ncbi-blast+`, or `conda install -c bioconda blast`"

    def __init__(
        self,
        *,
        n_hits: int = 1,
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
        # Names without their directory: blanks in it would part them.
        run_program("makeblastdb", "-dbtype", "prot", "-in", fasta.name, "-out", "targets", cwd=directory)

    def _run(self, fasta: Path, directory: Path, work: Path) -> str:
        return run_program(
            "blastp", "-query", fasta, "-db", "targets", "-outfmt", "10 qseqid sseqid evalue bitscore",
            "-evalue", f"{self.evalue:g}", "-max_hsps", "1", "-num_alignments", str(max(self.n_hits, self.n_votes)),
            "-num_threads", str(n_threads(self.threads)), cwd=directory,
        )  # fmt: skip
