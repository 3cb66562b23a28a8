"""External programs: run them, ask for their version, write FASTA files for them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from embedstore.errors import WorkerDiedError


def run_program(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program in the directory `cwd`, without a shell; returns what it writes to standard output.

    Raises
    ------
    WorkerDiedError
        If it fails; with the last line of its output.
    """
    arguments = [str(argument) for argument in command]
    # The arguments are ours and names of temporary files.
    done = subprocess.run(arguments, capture_output=True, text=True, errors="replace", check=False, cwd=cwd)  # noqa: S603
    if done.returncode:
        last_line = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise WorkerDiedError(
            f"{Path(arguments[0]).name} ended with code {done.returncode} and said: {last_line} "
            "Check its installation, and the space in the temporary directory."
        )
    return done.stdout


@cache
def program_version(program: str, *arguments: str) -> str:
    """The first line of what a program says of its version, asked once."""
    return run_program(program, *arguments).strip().splitlines()[0]


def write_fasta(path: Path, sequences: Sequence[str | bytes], names: Sequence[str] | None = None) -> Path:
    """Write sequences as FASTA, named by their index where there are no names; empty sequences are left out."""
    with path.open("wb") as file:
        for index, sequence in enumerate(sequences):
            residues = sequence.encode("ascii") if isinstance(sequence, str) else sequence
            if residues:
                file.write(b">%b\n%b\n" % ((names[index] if names else str(index)).encode(), residues))
    return path
