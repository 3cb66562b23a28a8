"""Training data of `mini`: what may be learned from, labels, and proof that nothing it is judged on is in it.

    python -m benchmarks.train_mini.data DATA WORK

Reads the training splits under DATA, drops what is too near to a sequence that `mini` is judged on (MMseqs2), clusters
whole proteins into families, and writes ``WORK/train.npz``, ``WORK/classes.json`` and ``WORK/counts.json``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import zstandard

JUDGED = {
    "pfam": ("valid", "test", "hard_valid"),
    "scop2": ("valid", "test", "rare"),
    "scope": ("valid", "test", "rare"),
    "tape_remote_homology": ("valid",),
    "ec_clean": ("valid", "test"),
    "scl": ("valid", "test"),
    "deeploc2": ("valid", "test"),
    "flip_secondary_structure": ("valid", "test"),
    "kog_cegma": ("train", "valid", "test"),
    "proteins": ("valid", "test"),
    "signalp_binary": ("valid", "test"),
    "peer_binary_localization": ("valid", "test"),
    "peer_solubility": ("valid", "test"),
    "thermophile": ("valid", "test"),
}
"""Splits that `mini` is measured on somewhere in this project: no sequence of them is trained on."""

NEAR = {
    "pfam": ("hard_valid",),
    "scop2": ("valid", "test"),
    "scope": ("valid", "test"),
    "flip_secondary_structure": ("valid", "test"),
}
"""Splits from which training sequences keep a distance: under 40% identity over half of the judged sequence."""

LEFT_OUT_SHARE = 10
"""One Pfam family in so many is left out of training, for the measurement on unknown families."""

DOMAIN_LABELS = ("scop2_superfamily", "scope_superfamily", "scop2_fold", "scope_fold")
"""Labels of SCOP domains that regions aligned to them are given too."""

POOL_PER_FAMILY = 800
"""At most so many members of a Pfam family: training sees no more of them, and 142 families are few."""


@dataclass(slots=True)
class Collected:
    """Sequences to train on, each once, with every label that it has in some label set."""

    labels: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    sources: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, sequence: str, source: str, **labels: str) -> None:
        sequence = sequence.upper().rstrip("*")
        self.sources[sequence].add(source)
        for kind, label in labels.items():
            if label:
                self.labels[sequence][kind] = label


def rows(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(sys.maxsize)
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)


def pool(path: Path) -> Iterator[tuple[str, str]]:
    """Accession and sequence of the pool's domains."""
    with path.open("rb") as raw:
        text = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), "ascii")
        accession, parts = "", list[str]()
        for line in text:
            if line.startswith(">"):
                if parts:
                    yield accession, "".join(parts)
                accession, parts = line.split()[1], []
            else:
                parts.append(line.strip())
        yield accession, "".join(parts)


def order(text: str) -> bytes:
    """A fixed, arbitrary order."""
    return hashlib.sha256(text.encode()).digest()


def left_out_families(data: Path) -> set[str]:
    families = sorted({row["label"] for row in rows(data / "pfam/train.csv.gz")}, key=order)
    return set(families[::LEFT_OUT_SHARE])


def collect(data: Path, left_out: set[str], counts: dict[str, int]) -> Collected:
    """Training splits, without what is judged and without the families left out."""
    judged = {
        row["sequence"].upper().rstrip("*")
        for name, splits in JUDGED.items()
        for split in splits
        for row in rows(data / name / f"{split}.csv.gz")
    }
    found = Collected()
    for split in ("train", "hard_train"):
        for row in rows(data / f"pfam/{split}.csv.gz"):
            found.add(row["sequence"], "pfam", pfam=row["label"])
    by_family: dict[str, list[str]] = defaultdict(list)
    for accession, sequence in pool(data / "pfam/pool.fasta.zst"):
        by_family[accession].append(sequence)
    counts["pool"] = sum(map(len, by_family.values()))
    for accession, members in by_family.items():
        for sequence in sorted(members, key=order)[:POOL_PER_FAMILY]:
            found.add(sequence, "pool", pfam=accession)
    for name in ("scop2", "scope"):
        for row in rows(data / name / "train.csv.gz"):
            labels = {f"{name}_superfamily": row["label"], f"{name}_fold": row["fold"], f"{name}_family": row["family"]}
            found.add(row["sequence"], name, **labels)
    for row in rows(data / "ec_clean/train.csv.gz"):
        found.add(row["sequence"], "ec_clean", ec=row["ec3"].split("|")[0])
    for row in rows(data / "flip_secondary_structure/train.csv.gz"):
        states = "".join(s if m == "1" else "." for s, m in zip(row["label"], row["mask"], strict=True))
        found.add(row["sequence"], "secondary", secondary=states)
    for row in rows(data / "proteins/train.csv.gz"):
        found.add(row["sequence"], "proteins")
    counts["collected"] = len(found.sources)
    for sequence in [s for s in found.sources if s in judged]:
        counts["dropped_because_judged"] = counts.get("dropped_because_judged", 0) + 1
        del found.sources[sequence]
    for sequence in [s for s in found.sources if found.labels[s].get("pfam") in left_out]:
        counts["dropped_family_left_out"] = counts.get("dropped_family_left_out", 0) + 1
        del found.sources[sequence]
    for sequence in [s for s in found.sources if len(s) < 20]:
        counts["dropped_under_20_residues"] = counts.get("dropped_under_20_residues", 0) + 1
        del found.sources[sequence]
    return found


def write_fasta(path: Path, sequences: list[str]) -> Path:
    path.write_text("".join(f">{number}\n{sequence}\n" for number, sequence in enumerate(sequences)))
    return path


def mmseqs(*arguments: str | Path | float) -> None:
    subprocess.run(["mmseqs", *map(str, arguments), "-v", "1"], check=True)


def hits(queries: Path, targets: Path, work: Path, *options: str | float) -> set[int]:
    """Numbers of the queries that find something among the targets."""
    table = work / "hits.tsv"
    mmseqs("easy-search", queries, targets, table, work / "tmp", *options, "--format-output", "query,target")
    found = {int(line.split("\t")[0]) for line in table.read_text().splitlines()}
    table.unlink()
    shutil.rmtree(work / "tmp", ignore_errors=True)
    return found


def near_judged(sequences: list[str], data: Path, left_out: set[str], work: Path, counts: dict[str, int]) -> set[int]:
    """Numbers of the sequences that stand too near to something that `mini` is judged on."""
    queries = write_fasta(work / "collected.fasta", sequences)
    near = [
        row["sequence"] for name, splits in NEAR.items() for split in splits
        for row in rows(data / name / f"{split}.csv.gz")
    ]  # fmt: skip
    at_40 = hits(
        queries, write_fasta(work / "near.fasta", near), work,
        "--min-seq-id", 0.4, "-c", 0.5, "--cov-mode", 1, "-s", 4, "--max-seqs", 50,
    )  # fmt: skip
    unknown = [row["sequence"] for name in ("scop2", "scope") for row in rows(data / name / "rare.csv.gz")]
    members: dict[str, list[str]] = defaultdict(list)
    for row in rows(data / "pfam/train.csv.gz"):
        if row["label"] in left_out:
            members[row["label"]].append(row["sequence"])
    for family in members.values():
        unknown += sorted(family, key=order)[:100]
    related = hits(
        queries, write_fasta(work / "unknown.fasta", unknown), work, "-e", 1e-3, "-s", 5.7, "--max-seqs", 20
    )  # fmt: skip
    counts["dropped_within_40_percent"] = len(at_40)
    counts["dropped_related_to_left_out"] = len(related - at_40)
    return at_40 | related


def clusters(sequences: list[str], numbers: list[int], work: Path) -> dict[int, int]:
    """Cluster of each whole protein that has relatives: by MMseqs2, at any identity, over 70% of both."""
    path = work / "proteins.fasta"
    path.write_text("".join(f">{number}\n{sequences[number]}\n" for number in numbers))
    mmseqs(
        "easy-cluster", path, work / "cluster", work / "tmp", "-s", 6, "-c", 0.7, "-e", 1e-4, "--cluster-reassign", 1
    )  # fmt: skip
    of: dict[int, int] = {}
    for line in (work / "cluster_cluster.tsv").read_text().splitlines():
        representative, member = line.split("\t")
        of[int(member)] = int(representative)
    shutil.rmtree(work / "tmp", ignore_errors=True)
    sizes = Counter(of.values())
    return {member: representative for member, representative in of.items() if sizes[representative] > 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    data, work = arguments.data, arguments.work
    work.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    left_out = left_out_families(data)
    found = collect(data, left_out, counts)
    sequences = sorted(found.sources, key=order)
    dropped = near_judged(sequences, data, left_out, work, counts)
    sequences = [sequence for number, sequence in enumerate(sequences) if number not in dropped]
    whole = [n for n, s in enumerate(sequences) if found.sources[s] & {"proteins", "ec_clean"} and len(s) >= 50]
    cluster_of = clusters(sequences, whole, work)
    for number, cluster in cluster_of.items():
        found.labels[sequences[number]]["cluster"] = str(cluster)
    write(sequences, found, work, counts, left_out)
    print(json.dumps(counts, indent=1))


def write(sequences: list[str], found: Collected, work: Path, counts: dict[str, int], left_out: set[str]) -> None:
    kinds = sorted({kind for labels in found.labels.values() for kind in labels} - {"secondary"})
    arrays: dict[str, np.ndarray] = {
        "residues": np.frombuffer("".join(sequences).encode(), np.uint8),
        "offsets": np.cumsum([0, *map(len, sequences)]),
    }
    names: dict[str, list[str]] = {}
    for kind in kinds:
        held = [found.labels[s].get(kind) for s in sequences]
        names[kind] = sorted({label for label in held if label is not None})
        number = {label: n for n, label in enumerate(names[kind])}
        arrays[f"label_{kind}"] = np.array([number[h] if h is not None else -1 for h in held], np.int32)
        counts[f"classes_{kind}"] = len(names[kind])
        counts[f"labelled_{kind}"] = int((arrays[f"label_{kind}"] >= 0).sum())
    states = {"H": 1, "E": 2, "C": 3}
    secondary = [found.labels[s].get("secondary", "") for s in sequences]
    lengths = [len(s) for s in sequences]
    arrays["secondary"] = np.concatenate([
        np.array([states.get(letter, 0) for letter in states_of.ljust(length, ".")], np.uint8)
        for states_of, length in zip(secondary, lengths, strict=True)
    ])  # fmt: skip
    arrays["has_secondary"] = np.array([bool(s) for s in secondary])
    for source in sorted({source for held in found.sources.values() for source in held}):
        counts[f"source_{source}"] = sum(source in found.sources[s] for s in sequences)
    counts["sequences"], counts["residues"] = len(sequences), sum(lengths)
    np.savez(work / "train.npz", **arrays)
    (work / "classes.json").write_text(json.dumps({"left_out": sorted(left_out), **names}))
    (work / "counts.json").write_text(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
