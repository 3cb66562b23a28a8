"""The one gate between a file and its records: normalises, counts, and names what it turns away."""

from __future__ import annotations

from dataclasses import dataclass, field

from embedstore.errors import SequenceError
from embedstore.sequences.alphabet import describe_illegal, illegal_offset, is_normal, looks_like_nucleotides, normalise
from embedstore.types import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A record that was left out: its id as far as known, the file and line (or row), and the reason."""

    id: str
    where: str
    reason: str


@dataclass(slots=True, kw_only=True)
class ReadReport:
    """What reading saw. It grows while records are read, ahead of them by at most one block.

    Attributes
    ----------
    n_records, n_residues
        Records handed out and their residues.
    n_gaps, n_stops, n_white_space, n_lower_case
        Characters removed or folded in them (line breaks of FASTA are not counted).
    n_other_splits
        Rows passed over because another split was asked for.
    rejected
        Records left out, each with its reason.
    warnings
        Sentences for the user.
    """

    n_records: int = 0
    n_residues: int = 0
    n_gaps: int = 0
    n_stops: int = 0
    n_white_space: int = 0
    n_lower_case: int = 0
    n_other_splits: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class RecordValidator:
    """Turns what the readers of formats find in one file into records, and keeps the report.

    Parameters
    ----------
    report
        Where to count.
    file
        The file's name in messages.
    skip_invalid
        Whether a record that cannot be used is rejected and named, instead of ending the reading.
    """

    def __init__(self, report: ReadReport, *, file: str, skip_invalid: bool) -> None:
        self.report = report
        self.file = file
        self.skip_invalid = skip_invalid
        self.only_nucleotides = True

    def accept(self, record_id: str, raw: bytes, columns: dict[str, str], where: str) -> Record | None:
        """Normalise one record; None where it is rejected."""
        if fault := _fault_of_id(record_id):
            self.refuse(record_id, where, fault)
            return None
        report = self.report
        residues = raw
        if not is_normal(raw):
            offset = illegal_offset(raw)
            if offset >= 0:
                self.refuse(record_id, where, describe_illegal(raw, offset))
                return None
            normal = normalise(raw)
            residues = normal.residues
            if not residues:
                self._reject(record_id, where, "it has no residues")
                return None
            report.n_gaps += normal.n_gaps
            report.n_stops += normal.n_stops
            report.n_white_space += normal.n_white_space
            report.n_lower_case += normal.n_lower_case
        report.n_records += 1
        report.n_residues += len(residues)
        if self.only_nucleotides:
            self.only_nucleotides = looks_like_nucleotides(residues)
        return Record(id=record_id, residues=residues, columns=columns)

    def refuse(self, record_id: str, where: str, reason: str) -> None:
        """Reject a record that cannot be used, or end the reading with an error.

        Raises
        ------
        SequenceError
            Unless ``skip_invalid``.
        """
        if not self.skip_invalid:
            raise SequenceError(
                f"{self.file}, {where}, record {record_id!r}: {reason}. "
                "Correct it, or pass skip_invalid=True (--skip-invalid) to leave such records out and have them named."
            )
        self._reject(record_id, where, reason)

    def _reject(self, record_id: str, where: str, reason: str) -> None:
        self.report.rejected.append(Rejected(id=record_id, where=f"{self.file}, {where}", reason=reason))


def _fault_of_id(record_id: str) -> str:
    if not record_id:
        return "it has no id"
    return "its id holds a line break" if "\n" in record_id or "\r" in record_id else ""
