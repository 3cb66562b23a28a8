"""Local alignment of a protein with its neighbour, by parasail."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from embedstore.errors import InputError, MissingPackageError

GAP_OPEN, GAP_EXTEND = 11, 1
"""As BLASTp has them with BLOSUM62."""

MAX_CELLS = 2 * 10**8
"""Of the traceback table, one byte each."""

_WIDTH = 60
_LETTERS = b"ARNDCQEGHILKMFPSTWYVBZX"
_TO_MATRIX = bytes(code if code in _LETTERS else ord("X") for code in range(256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The best local alignment (Smith-Waterman, BLOSUM62, a gap of n costs 10 + n).

    Attributes
    ----------
    identity
        Share of the alignment's columns, gaps among them, with the same residue on both sides, as BLAST counts.
    coverage
        Share of the query's residues that stand in a column with a residue of the neighbour.
    score
        In half bits.
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

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, for JSON."""
        return asdict(self)

    def text(self, width: int = _WIDTH) -> str:
        """Lines of the query, a line of matches (``|`` same residue, ``+`` similar) and the neighbour."""
        if not self.query:
            return "nothing aligns"
        marks = _marks(self.query, self.target)
        room = len(str(max(self.query_stop, self.target_stop)))
        lines, at_query, at_target = [], self.query_start, self.target_start
        for start in range(0, len(self.query), width):
            query, target = self.query[start : start + width], self.target[start : start + width]
            n_query, n_target = len(query) - query.count("-"), len(target) - target.count("-")
            lines += [
                f"query      {at_query:>{room}} {query} {at_query + n_query - 1}",
                f"           {'':>{room}} {marks[start : start + width]}".rstrip(),
                f"neighbour  {at_target:>{room}} {target} {at_target + n_target - 1}",
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
    >>> found = align(b"AAMKVLATGWW", b"MKVLSTG")
    >>> round(found.identity, 3), round(found.coverage, 3), found.query_start, found.query_stop
    (0.857, 0.636, 3, 9)
    """
    parasail = _parasail()
    if len(query) * len(target) > MAX_CELLS:
        raise InputError(
            f"Proteins of {len(query):,} and {len(target):,} residues are too long to align (the product may be "
            f"{MAX_CELLS:,}). Leave alignments out (align=, --align), or ask about parts (window=, --window)."
        )
    asked, found = (text.translate(_TO_MATRIX).decode() for text in (query, target))
    result = parasail.sw_trace_striped_sat(asked, found, GAP_OPEN, GAP_EXTEND, parasail.blosum62)
    rows = result.traceback
    if result.score <= 0 or not rows.query:
        return Alignment(
            identity=0.0, coverage=0.0, score=0, query_start=0, query_stop=0, target_start=0, target_stop=0,
            query="", target="",
        )  # fmt: skip
    columns = list(zip(rows.query, rows.ref, strict=True))
    # parasail's ends are the last residues; the beginnings follow from the number of residues.
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


def require_parasail() -> None:
    """Refuse early where alignments are asked for and cannot be made."""
    _parasail()


def _parasail() -> Any:
    try:
        import parasail
    except ImportError as error:
        raise MissingPackageError(
            "Alignments need the package parasail, which is not installed: `pip install 'embedstore[align]'`, or leave "
            "them out (align=, --align)."
        ) from error
    return parasail


def _marks(query: str, target: str) -> str:
    matrix = _parasail().blosum62
    place = {letter: number for number, letter in enumerate(_LETTERS.decode())}

    def mark(a: str, b: str) -> str:
        if "-" in (a, b):
            return " "
        if a == b:
            return "|"
        return "+" if matrix.matrix[place[a], place[b]] > 0 else " "

    return "".join(mark(a, b) for a, b in zip(query, target, strict=True))
