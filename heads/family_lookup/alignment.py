"""Local alignment of a query with its nearest neighbour, by parasail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embedstore.catalog import require_package
from embedstore.errors import InputError

GAP_OPEN, GAP_EXTEND = 11, 1
"""BLASTp's defaults for BLOSUM62."""

MAX_CELLS = 2 * 10**8
"""Cells of the traceback table, one byte each."""

_WIDTH = 60
_LETTERS = b"ARNDCQEGHILKMFPSTWYVBZX"
_TO_MATRIX = bytes(code if code in _LETTERS else ord("X") for code in range(256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The best local alignment (Smith-Waterman, BLOSUM62, a gap of n residues costs 10 + n).

    Attributes
    ----------
    identity
        Share of the alignment's columns, gaps included, with the same residue on both sides, as in BLAST.
    coverage
        Share of the query's residues that are aligned with a residue of the neighbour.
    score
        Score in half bits.
    query_start, query_stop, target_start, target_stop
        First and last residue, from 1; 0 where nothing aligns.
    query, target
        The aligned residues with ``-`` for gaps, of equal length.
    """

    identity: float
    coverage: float
    score: int
    query_start: int
    query_stop: int
    target_start: int
    target_stop: int
    query: str
    target: str

    def text(self, width: int = _WIDTH) -> str:
        """Lines of the query, a line of matches (``|`` same residue, ``+`` similar) and the neighbour."""
        if not self.query:
            return "nothing aligns"
        marks = _marks(self.query, self.target)
        width_of_numbers = len(str(max(self.query_stop, self.target_stop)))
        lines, at_query, at_target = [], self.query_start, self.target_start
        for start in range(0, len(self.query), width):
            query, target = self.query[start : start + width], self.target[start : start + width]
            n_query, n_target = len(query) - query.count("-"), len(target) - target.count("-")
            lines += [
                f"query      {at_query:>{width_of_numbers}} {query} {at_query + n_query - 1}",
                f"           {'':>{width_of_numbers}} {marks[start : start + width]}".rstrip(),
                f"neighbour  {at_target:>{width_of_numbers}} {target} {at_target + n_target - 1}",
                "",
            ]
            at_query, at_target = at_query + n_query, at_target + n_target
        return "\n".join(lines[:-1])


def align(query: bytes, target: bytes) -> Alignment:
    """Align two proteins, upper-case residues; letters that BLOSUM62 lacks count as X.

    Raises
    ------
    MissingPackageError
        If parasail is not installed.
    InputError
        If the two are too long to be aligned in memory.

    Examples
    --------
    >>> alignment = align(b"AAMKVLATGWW", b"MKVLSTG")
    >>> round(alignment.identity, 3), round(alignment.coverage, 3), alignment.query_start, alignment.query_stop
    (0.857, 0.636, 3, 9)
    """
    parasail = require_parasail()
    if len(query) * len(target) > MAX_CELLS:
        raise InputError(
            f"Proteins of {len(query):,} and {len(target):,} residues are too long to align (the product may be "
            f"{MAX_CELLS:,}). Leave alignments out (align=, --align), or search windows (window=, --window)."
        )
    sequences = (sequence.translate(_TO_MATRIX).decode() for sequence in (query, target))
    result = parasail.sw_trace_striped_sat(*sequences, GAP_OPEN, GAP_EXTEND, parasail.blosum62)
    rows = result.traceback
    if result.score <= 0 or not rows.query:
        return Alignment(
            identity=0.0, coverage=0.0, score=0, query_start=0, query_stop=0, target_start=0, target_stop=0,
            query="", target="",
        )  # fmt: skip
    columns = list(zip(rows.query, rows.ref, strict=True))
    # parasail gives the last residues only.
    query_stop, target_stop = result.end_query + 1, result.end_ref + 1
    return Alignment(
        identity=sum(a == b for a, b in columns) / len(columns),
        coverage=sum("-" not in column for column in columns) / len(query),
        score=int(result.score),
        query_start=query_stop - len(rows.query.replace("-", "")) + 1,
        query_stop=query_stop,
        target_start=target_stop - len(rows.ref.replace("-", "")) + 1,
        target_stop=target_stop,
        query=rows.query,
        target=rows.ref,
    )


def require_parasail() -> Any:
    """The package that aligns; an error says how to get it, or to do without alignments."""
    alternative = "Or leave alignments out (align=, --align)."
    return require_package("parasail", purpose="alignments", extra="align", alternative=alternative)


def _marks(query: str, target: str) -> str:
    matrix = require_parasail().blosum62
    index = {letter: number for number, letter in enumerate(_LETTERS.decode())}

    def mark(a: str, b: str) -> str:
        if "-" in (a, b):
            return " "
        if a == b:
            return "|"
        return "+" if matrix.matrix[index[a], index[b]] > 0 else " "

    return "".join(mark(a, b) for a, b in zip(query, target, strict=True))
