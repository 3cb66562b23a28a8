"""Which column of a table is the id and which the sequence: by exact name, never by a guess."""

from __future__ import annotations

from collections.abc import Sequence

from embedstore.errors import FileFormatError

ID_COLUMNS = ("id", "sequence_name", "name", "accession", "protein_id", "entry")
SEQUENCE_COLUMNS = ("sequence", "seq", "protein", "primary")

NUMBERED = "#"
"""In place of the name of a column of ids: records are numbered from 0, and called by the file's name and that."""

_MOST_NAMES = 30
_LONGEST_NAME = 40


def find_column(names: Sequence[str], wanted: str | None, known: Sequence[str], *, role: str, file: str) -> str:
    """Find the column that plays a role.

    Parameters
    ----------
    names
        The table's columns.
    wanted
        The name that the caller gave, to be matched exactly; None to look for a known one, in any case.
    known
        Lower-case names of which exactly one column must have one.
    role
        ``"id"`` or ``"sequence"``: names the option in messages.
    file
        The file's name in messages.

    Raises
    ------
    FileFormatError
        If no column, or more than one, fits.

    Examples
    --------
    >>> find_column(["Entry", "Entry name", "Sequence"], None, ID_COLUMNS, role="id", file="uniprot.tsv")
    'Entry'
    """
    option = f"{role}_column= (--{role}-column)"
    listed = listed_names(names)
    if wanted is not None:
        if wanted not in names:
            raise FileFormatError(f"{file} has no column {wanted!r}; it has {listed}. Name one of them with {option}.")
        return wanted
    matches = [name for name in names if name.lower() in known]
    if len(matches) != 1:
        numbered = f" {NUMBERED!r} in its place numbers the rows." if role == "id" else ""
        what = f"several columns that may be the {role}: {', '.join(matches)}" if matches else f"no {role} column"
        raise FileFormatError(
            f"{file} has {what}; its columns are {listed}; expected one of {', '.join(known)}. "
            f"Name it with {option}.{numbered}"
        )
    return matches[0]


def listed_names(names: Sequence[str]) -> str:
    r"""List the names of columns for a message: not without end, and without what would steer a terminal.

    Examples
    --------
    >>> print(listed_names(["id", "sequence", "\x1b[2J"]))
    id, sequence, '\x1b[2J'
    """
    shown = [name[:_LONGEST_NAME] for name in names[:_MOST_NAMES]]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(name if name.isprintable() else repr(name) for name in shown) + more


def is_semicolon_separated(file: str) -> FileFormatError:
    """Make the error for a table as spreadsheets write it where the comma stands in decimal numbers."""
    return FileFormatError(f"{file}: columns are separated by ';'; export with commas or tabs.")
