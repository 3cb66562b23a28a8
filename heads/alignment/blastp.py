"""BLASTp of NCBI BLAST+."""

from __future__ import annotations

from pathlib import Path

from heads.alignment.base import n_threads
from heads.alignment.programs import ProgramHead
from heads.tasks.programs import run_program


class BlastpHead(ProgramHead):
    """The label of BLASTp's best hit, with the settings of the published comparison (Bileschi et al. 2022).

    ``makeblastdb -dbtype prot``; ``blastp -outfmt 10 -max_hsps 1 -num_alignments 1`` at E = 10. More than the published
    one hit (`n_hits`) improves the probabilities. The parameters are those of `heads.alignment.base.NearestHead`.
    """

    programs = ("blastp", "makeblastdb")
    version_arguments = ("-version",)
    install = "`apt-get install ncbi-blast+`, or `conda install -c bioconda blast`"
    default_hits = 1

    def _make_database(self, fasta: Path, directory: Path) -> None:
        # Names without their directory, which may contain blanks.
        run_program("makeblastdb", "-dbtype", "prot", "-in", fasta.name, "-out", "targets", cwd=directory)

    def _run(self, fasta: Path, directory: Path, work: Path) -> str:
        return run_program(
            "blastp", "-query", fasta, "-db", "targets", "-outfmt", "10 qseqid sseqid evalue bitscore",
            "-evalue", f"{self.evalue:g}", "-max_hsps", "1", "-num_alignments", str(self.max_hits),
            "-num_threads", str(n_threads(self.threads)), cwd=directory,
        )  # fmt: skip
