"""Alignments of the training sequences: homologous regions, and the residue distribution of each alignment column.

    python -m benchmarks.train_mini.alignments WORK

Reads ``WORK/train.npz`` (`benchmarks.train_mini.data`) and writes ``WORK/alignments.npz``. Three kinds of alignments:

- Pfam families and clusters of whole proteins, by FAMSA.
- Homologs of SCOP domains: each SCOP2 and SCOPe domain (reference) is searched among all training sequences with
  MMseqs2; regions that cover it become examples of its superfamily and fold, aligned to the reference.

Only training sequences take part, so what `data` filtered stays filtered.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import parasail
import pyfamsa
from numpy.typing import NDArray

from benchmarks.train_mini.data import DOMAIN_LABELS, mmseqs, write_fasta
from embedstore.models.base import STANDARD_RESIDUES
from embedstore.models.kmer import FREQUENCY

LARGEST_FAMILY = 500
LARGEST_CLUSTER = 60
HOMOLOGS_PER_DOMAIN = 40
LONGEST = 1_000
"""Whole proteins longer than this are not aligned in clusters."""

MIN_OCCUPANCY = 0.5
"""Columns with residues in a smaller share of the members have no number."""

PSEUDOCOUNTS = 5.0
"""Weight of the BLOSUM62 pseudocounts, in observations (Altschul et al. 1997, Nucleic Acids Res 25:3389)."""

CODE_OF = np.full(256, 20, np.uint8)
CODE_OF[np.frombuffer(STANDARD_RESIDUES, np.uint8)] = np.arange(20)
GAP = ord("-")
KNOWN = bytes(letter if letter in STANDARD_RESIDUES else ord("X") for letter in range(256))
"""Translates letters that FAMSA does not know."""


def substitution_probabilities() -> NDArray[np.float64]:
    """Probability of each residue in place of another, (20, 20) by row, from BLOSUM62 scores in half bits."""
    shares = FREQUENCY / FREQUENCY.sum()
    letters = STANDARD_RESIDUES.decode()
    places = [parasail.blosum62.mapper[ord(letter)] for letter in letters]
    scores = np.asarray(parasail.blosum62.matrix)[np.ix_(places, places)]
    joint = np.outer(shares, shares) * np.exp(0.3176 * scores)
    found: NDArray[np.float64] = joint / joint.sum(axis=1, keepdims=True)
    return found


SUBSTITUTIONS = substitution_probabilities()
BACKGROUND = 0.01 * FREQUENCY / FREQUENCY.sum()


def column_profiles(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Residue distribution of each column, (columns, 20), of an alignment (members, columns) of codes, 20 for others.

    Members have position-based weights (Henikoff & Henikoff 1994, J Mol Biol 243:574); the pseudocounts weigh less the
    more kinds of residues a column has, as in PSI-BLAST.
    """
    counts = np.stack([(codes == code).sum(axis=0) for code in range(20)], axis=1)
    n_kinds = (counts > 0).sum(axis=1).clip(min=1)
    per_residue = 1.0 / (n_kinds[:, None] * counts.clip(min=1))
    per_residue = np.concatenate([per_residue, np.zeros((len(counts), 1))], axis=1)
    weights = per_residue[np.arange(codes.shape[1]), codes].sum(axis=1) + 1e-9
    observed = np.stack([weights @ (codes == code) for code in range(20)], axis=1)
    observed /= observed.sum(axis=1, keepdims=True).clip(min=1e-9)
    n_observations = max(float(n_kinds.mean()) - 1.0, 0.3)
    # The background is all that a column of unknown residues has.
    found: NDArray[np.float64] = n_observations * observed + PSEUDOCOUNTS * (observed @ SUBSTITUTIONS) + BACKGROUND
    found /= found.sum(axis=1, keepdims=True)
    return found


class Region(NamedTuple):
    """Residues ``start`` to ``start + len(columns)`` of a training sequence; column of each, -1 for none."""

    row: int
    start: int
    columns: NDArray[np.int32]


@dataclass(slots=True)
class Alignments:
    """What is written: columns of whole sequences and of regions, profiles of the columns."""

    profiles: list[NDArray[np.uint8]] = field(default_factory=list)
    whole: list[Region] = field(default_factory=list)
    homologs: list[Region] = field(default_factory=list)
    reference: list[int] = field(default_factory=list)
    n_columns: int = 0

    def add_columns(self, codes: NDArray[np.uint8]) -> int:
        """Number of the first of these columns."""
        first = self.n_columns
        self.profiles.append(np.rint(column_profiles(codes) * 255).astype(np.uint8))
        self.n_columns += codes.shape[1]
        return first

    def write(self, path: Path, counts: dict[str, int]) -> None:
        regions = self.whole + self.homologs
        lengths = [len(region.columns) for region in regions]
        counts |= {"columns": self.n_columns, "aligned_whole": len(self.whole), "homologs": len(self.homologs)}
        np.savez(
            path,
            profiles=np.concatenate(self.profiles),
            n_whole=len(self.whole),
            rows=np.array([region.row for region in regions], np.int64),
            starts=np.array([region.start for region in regions], np.int64),
            columns=np.concatenate([region.columns for region in regions]),
            offsets=np.cumsum([0, *lengths]),
            reference=np.array(self.reference, np.int32),
        )


def add_family(found: Alignments, rows: list[int], sequences: list[bytes], aligner: pyfamsa.Aligner) -> None:
    """Align the members of a family or cluster."""
    members = [pyfamsa.Sequence(str(row).encode(), sequences[row].translate(KNOWN)) for row in rows]
    aligned = {int(one.id): np.frombuffer(one.sequence, np.uint8) for one in aligner.align(members)}
    letters = np.stack([aligned[row] for row in rows])
    dense = np.flatnonzero((letters != GAP).mean(axis=0) >= MIN_OCCUPANCY)
    if not len(dense):
        return
    first = found.add_columns(CODE_OF[letters[:, dense]])
    number = np.full(letters.shape[1], -1, np.int32)
    number[dense] = first + np.arange(len(dense), dtype=np.int32)
    found.whole += [Region(row, 0, number[line != GAP]) for row, line in zip(rows, letters, strict=True)]


def add_families(
    found: Alignments, labels: NDArray[np.int32], sequences: list[bytes], largest: int, done: set[int]
) -> None:
    """Align every class of a label set; a sequence in ``done`` has an alignment and is left out."""
    members: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(labels >= 0).tolist():
        if row not in done and 20 <= len(sequences[row]) <= LONGEST and len(members[labels[row]]) < largest:
            members[labels[row]].append(row)
    aligner = pyfamsa.Aligner(threads=1, guide_tree="upgma")
    for rows in members.values():
        if len(rows) > 1:
            add_family(found, rows, sequences, aligner)
            done |= set(rows)


_STEP = re.compile(r"(\d+)([MDI])")


def aligned_columns(cigar: str, query_start: int, first: int) -> NDArray[np.int32]:
    """Column of each residue of the target region, -1 where it is an insertion; column 0 is the query's first."""
    place = first + query_start
    parts = []
    for number, kind in _STEP.findall(cigar):
        n = int(number)
        if kind == "M":
            parts.append(np.arange(place, place + n, dtype=np.int32))
            place += n
        elif kind == "I":  # residues of the query alone
            place += n
        else:  # residues of the target alone
            parts.append(np.full(n, -1, np.int32))
    return np.concatenate(parts)


def add_homologs(
    found: Alignments,
    labels: dict[str, NDArray[np.int32]],
    sequences: list[bytes],
    work: Path,
    threads: int,
    counts: dict[str, int],
) -> None:
    """Search each SCOP domain among all sequences; align what covers it to it."""
    domains = np.flatnonzero((labels["scop2_superfamily"] >= 0) | (labels["scope_superfamily"] >= 0))
    table = work / "homologs.tsv"
    if not table.exists():
        queries = work / "domains.fasta"
        queries.write_text("".join(f">{row}\n{sequences[row].decode()}\n" for row in domains.tolist()))
        targets = write_fasta(work / "train.fasta", [sequence.decode() for sequence in sequences])
        mmseqs(
            "easy-search", queries, targets, work / "homologs.new", work / "tmp", "-s", 5.7, "-e", 1e-4, "-a",
            "--max-seqs", 400, "--cov-mode", 2, "-c", 0.6, "--threads", threads,
            "--format-output", "query,target,qstart,tstart,fident,cigar",
        )  # fmt: skip
        (work / "homologs.new").rename(table)
    hits: dict[int, list[tuple[int, int, int, str]]] = defaultdict(list)
    for line in table.read_text().splitlines():
        query, target, query_start, target_start, identity, cigar = line.split("\t")
        if query == target or float(identity) > 0.9:
            continue
        if any(0 <= labels[kind][int(target)] != labels[kind][int(query)] >= 0 for kind in DOMAIN_LABELS[:2]):
            counts["homologs_of_another_superfamily"] = counts.get("homologs_of_another_superfamily", 0) + 1
            continue
        hits[int(query)].append((int(target), int(query_start) - 1, int(target_start) - 1, cigar))
    rng = np.random.default_rng(0)
    for domain in domains.tolist():
        held = hits.get(domain, [])
        if len(held) > HOMOLOGS_PER_DOMAIN:
            held = [held[place] for place in rng.permutation(len(held))[:HOMOLOGS_PER_DOMAIN]]
        add_star(found, domain, held, sequences)


def add_star(found: Alignments, domain: int, hits: list[tuple[int, int, int, str]], sequences: list[bytes]) -> None:
    """Align hits to the reference; without hits, its profile is made of BLOSUM62 alone."""
    own = np.frombuffer(sequences[domain], np.uint8)
    codes = np.full((1 + len(hits), len(own)), 20, np.uint8)
    codes[0] = CODE_OF[own]
    regions = [Region(domain, 0, np.arange(len(own), dtype=np.int32))]
    for number, (target, query_start, target_start, cigar) in enumerate(hits):
        columns = aligned_columns(cigar, query_start, 0)
        letters = np.frombuffer(sequences[target], np.uint8)[target_start : target_start + len(columns)]
        codes[1 + number, columns[columns >= 0]] = CODE_OF[letters[columns >= 0]]
        regions.append(Region(target, target_start, columns))
    first = found.add_columns(codes)
    for region in regions:
        found.homologs.append(region._replace(columns=np.where(region.columns >= 0, region.columns + first, -1)))
        found.reference.append(domain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    arrays = np.load(given.work / "train.npz")
    text, offsets = arrays["residues"].tobytes(), arrays["offsets"].tolist()
    sequences = [text[start:end] for start, end in itertools.pairwise(offsets)]
    labels = {name.removeprefix("label_"): arrays[name] for name in arrays.files if name.startswith("label_")}
    counts: Counter[str] = Counter()
    found = Alignments()
    add_homologs(found, labels, sequences, given.work, given.threads, counts)
    print(json.dumps(counts), flush=True)
    done: set[int] = set()
    add_families(found, labels["pfam"], sequences, LARGEST_FAMILY, done)
    print("families aligned", len(done), flush=True)
    add_families(found, labels["cluster"], sequences, LARGEST_CLUSTER, done)
    found.write(given.work / "alignments.npz", counts)
    (given.work / "alignment_counts.json").write_text(json.dumps(counts, indent=1))
    print(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
