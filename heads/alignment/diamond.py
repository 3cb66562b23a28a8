"""DIAMOND at its most sensitive."""

from __future__ import annotations

from pathlib import Path

from heads.alignment.base import n_threads
from heads.alignment.programs import ProgramHead
from heads.tasks.programs import run_program


class DiamondHead(ProgramHead):
    """The label of DIAMOND's best hit, ``--ultra-sensitive`` (Buchfink et al. 2021).

    One of its algorithms is asked for (``--algo 0``): DIAMOND else chooses by the number of queries, and a protein's
    hits would depend on what it is asked together with.

    Parameters
    ----------
    n_hits
        Hits kept of each query (``--max-target-seqs``).
    n_votes
        Hits that vote with their bits; 1: the best hit decides.
    evalue
        Hits up to this E-value count.
    threads
        None: as many as there are CPUs.
    target_type
        What is predicted.
    """

    programs = ("diamond",)
    version_arguments = ("version",)
    install = "`apt-get install diamond-aligner`, or `conda install -c bioconda diamond`"

    def __init__(
        self,
        *,
        n_hits: int = 25,
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
        """None: it searches the FASTA file. A database could not be made of proteins that may be DNA."""

    def _run(self, fasta: Path, directory: Path, work: Path) -> str:
        out = work / "hits.tsv"
        run_program(
            "diamond", "blastp", "--query", fasta, "--db", directory / "targets.fasta", "--out", out,
            "--outfmt", "6", "qseqid", "sseqid", "evalue", "bitscore", "--ultra-sensitive", "--algo", "0",
            "--evalue", f"{self.evalue:g}", "--max-target-seqs", str(max(self.n_hits, self.n_votes)),
            "--max-hsps", "1", "--threads", str(n_threads(self.threads)), "--tmpdir", work,
            "--ignore-warnings", "--quiet",
        )  # fmt: skip
        return out.read_text()
