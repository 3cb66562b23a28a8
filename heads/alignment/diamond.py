"""DIAMOND in its most sensitive mode."""

from __future__ import annotations

from pathlib import Path

from heads.alignment.base import n_threads
from heads.alignment.programs import ProgramHead
from heads.tasks.programs import run_program


class DiamondHead(ProgramHead):
    """The label of DIAMOND's best hit, ``--ultra-sensitive`` (Buchfink et al. 2021).

    The algorithm is fixed (``--algo 0``), because DIAMOND's own choice depends on the number of queries, so that a
    protein's hits would depend on the others. The parameters are those of `heads.alignment.base.NearestHead`.
    """

    programs = ("diamond",)
    version_arguments = ("version",)
    install = "`apt-get install diamond-aligner`, or `conda install -c bioconda diamond`"
    default_hits = 25

    def _make_database(self, fasta: Path, directory: Path) -> None:
        """None: the FASTA file is searched, because no database can be made of proteins that look like DNA."""

    def _run(self, fasta: Path, directory: Path, work: Path) -> str:
        out = work / "hits.tsv"
        run_program(
            "diamond", "blastp", "--query", fasta, "--db", directory / "targets.fasta", "--out", out,
            "--outfmt", "6", "qseqid", "sseqid", "evalue", "bitscore", "--ultra-sensitive", "--algo", "0",
            "--evalue", f"{self.evalue:g}", "--max-target-seqs", str(self.max_hits), "--max-hsps", "1",
            "--threads", str(n_threads(self.threads)), "--tmpdir", work, "--ignore-warnings", "--quiet",
        )  # fmt: skip
        return out.read_text()
