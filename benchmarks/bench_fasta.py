"""Reading FASTA: id and sequence of every record, ours against the readers on PyPI, in MB/s.

Run from the root of the repository: ``python -m benchmarks.bench_fasta [FASTA]``. Without a file, one of simulated
proteins is written to a temporary folder: as many records, of as many residues, as a proteome database has on average,
in lines of 60.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness import interleave, medians, write_result
from embedstore.sequences import digest, read_records

N_RECORDS = 200_000
MEAN_RESIDUES = 350
LINE = 60
PEERS = ("needletail", "pyfastx", "dnaio")


def write_fasta(path: Path, *, n_records: int = N_RECORDS, seed: int = 0) -> None:
    """Write random proteins whose lengths are gamma-distributed, with headers in the manner of UniProt."""
    rng = np.random.default_rng(seed)
    lengths = np.maximum(30, rng.gamma(2.0, MEAN_RESIDUES / 2, n_records)).astype(int)
    alphabet = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", dtype=np.uint8)
    with path.open("wb") as file:
        for number, length in enumerate(lengths):
            residues = rng.choice(alphabet, length).tobytes()
            lines = [residues[start : start + LINE] for start in range(0, length, LINE)]
            file.write(b">sp|P%06d|PROT%d_SIMUL Simulated protein OS=Nothing\n" % (number, number))
            file.write(b"\n".join(lines) + b"\n")


def ours(path: Path) -> int:
    """Sum the lengths of ids and residues through read_records, as users call it."""
    return sum(len(record.id) + len(record.residues) for record in read_records(path))


def ours_with_digest(path: Path) -> int:
    """Do the same, and digest every sequence."""
    return sum(len(record.id) + len(record.residues) for record in read_records(path) if digest(record.residues))


def needletail(path: Path) -> int:
    """Read with needletail (Rust)."""
    from needletail import parse_fastx_file

    return sum(len(record.id.split(None, 1)[0]) + len(record.seq) for record in parse_fastx_file(str(path)))


def pyfastx(path: Path) -> int:
    """Read with pyfastx's parser without an index (C)."""
    from pyfastx import Fastx

    return sum(len(name) + len(sequence) for name, sequence in Fastx(str(path)))


def dnaio(path: Path) -> int:
    """Read with dnaio (Cython)."""
    import dnaio

    with dnaio.open(path) as records:
        return sum(len(record.name.split(None, 1)[0]) + len(record.sequence) for record in records)


def main() -> None:
    """Measure, print a table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fasta", nargs="?", type=Path, help="a FASTA file; default: simulated")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.fasta or Path(folder) / "simulated.fasta"
        if arguments.fasta is None:
            write_fasta(path)
        measure(path, repeats=arguments.repeats, source="given" if arguments.fasta else "simulated")


def measure(path: Path, *, repeats: int, source: str) -> None:
    """Time every reader on one file; all must find the same number of characters."""
    readers: dict[str, Callable[[Path], int]] = {"ours": ours, "ours_with_digest": ours_with_digest}
    known = {"needletail": needletail, "pyfastx": pyfastx, "dnaio": dnaio}
    readers |= {name: reader for name, reader in known.items() if importlib.util.find_spec(name)}
    sums = {name: reader(path) for name, reader in readers.items()}
    if len(set(sums.values())) != 1:
        raise SystemExit(f"The readers do not agree on what the file holds: {sums}.")

    seconds = interleave({name: (lambda read=reader: read(path)) for name, reader in readers.items()}, repeats=repeats)
    megabytes = path.stat().st_size / 1e6
    rates = {name: megabytes / value for name, value in medians(seconds).items()}
    payload = {
        "task": "id and sequence of every record of a plain FASTA file; only ours checks the alphabet as well",
        "source": source,
        "megabytes": round(megabytes, 1),
        "n_records": read_count(path),
        "repeats": repeats,
        "megabytes_per_s": {name: round(rate, 1) for name, rate in rates.items()},
        "ours_relative_to": {name: round(rates["ours"] / rates[name], 3) for name in PEERS if name in rates},
        "seconds": {name: [round(run, 4) for run in runs] for name, runs in seconds.items()},
    }
    written = write_result("fasta", payload, packages=("numpy", *PEERS))
    for name, rate in rates.items():
        print(f"{name:18} {rate:8.0f} MB/s   ours is {rates['ours'] / rate:.2f} times as fast")
    print(f"written: {written}")


def read_count(path: Path) -> int:
    """Count the records."""
    return sum(len(block) for block in read_records(path).blocks())


if __name__ == "__main__":
    main()
