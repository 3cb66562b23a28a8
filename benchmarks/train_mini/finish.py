"""The last step of `mini`: the spectrum beside what was learned, and directions in which relatives differ made small.

    python -m benchmarks.train_mini.finish DATA WORK RUN OUT [--n 60000]

What was learned knows families of many kinds and remote relatives; the spectrum of residue pairs and of residues along
the chain, which `kmer` has too, knows near ones of families that nobody has seen. Both are means over residues, so they
stand beside each other in front of one linear projection. That is then followed by ``(W + s m I) ** -1/2``, W the
covariance of training proteins about the mean of their class, m its mean variance (within-class covariance
normalisation: Hatch et al. 2006, Interspeech). The weights of the two spectra and the shrinkage s are those with the
best mean accuracy of `benchmarks.train_mini.judging.Judge`: validation data. OUT gets ``config.json``,
``model.safetensors`` and ``finish.json``, all that was tried.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from benchmarks.train_mini.judging import Judge, nearest_label, pooled_of, read_encoder
from benchmarks.train_mini.sampling import TrainingSet
from embedstore.indexes.base import unit_rows
from embedstore.models.base import STANDARD_RESIDUES
from embedstore.models.kmer import FREQUENCY
from embedstore.models.mini_encoder import MiniEncoder
from embedstore.models.mini_tokens import N_STANDARD, N_TOKENS, X_ID
from embedstore.numerics import splitmix64

PAIR_SIZE = 312
N_PROFILE_WAVES = 10
SPECTRA = tuple(itertools.product((0.0, 0.5, 1.0, 1.5), (0.0, 0.5, 1.0, 1.5)))
"""Norms of pairs and profile that are tried, in mean norms of the learned part."""

SHRINKAGES = (3.0, 1.0, 0.3, 0.1)
KINDS = ("scop2_superfamily", "scope_superfamily", "pfam", "cluster")
LONGEST = 400
"""Training proteins are cut to so many residues here."""


class Weighing(NamedTuple):
    """What is tried: norms of the two spectra, and the shrinkage; None: the covariance is left as it is."""

    pairs: float
    profile: float
    shrinkage: float | None


def with_spectrum(encoder: MiniEncoder) -> MiniEncoder:
    """The encoder with the spectrum's tables, and a projection that changes nothing of it."""
    config = replace(encoder.config, pair_size=PAIR_SIZE, n_profile_waves=N_PROFILE_WAVES)
    size = config.output_size + config.spectrum_size
    config = replace(config, output_size=size)
    joint = MiniEncoder(config)
    state = joint.state_dict()
    held = encoder.state_dict()
    state.update({name: value for name, value in held.items() if not name.startswith("project.")})
    shares = FREQUENCY / FREQUENCY.sum()
    profile = np.zeros((N_TOKENS, N_STANDARD))
    profile[X_ID + 1 :] = (np.eye(N_STANDARD) - shares) / np.sqrt(shares)
    state["profile.weight"] = torch.from_numpy(profile).float()
    for number in range(len(config.gaps)):
        words = splitmix64(np.arange(N_STANDARD**2 * 5, dtype=np.uint64) + np.uint64(number << 32))
        bits = (words.reshape(-1, 5)[:, :, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
        signs = 1.0 - 2.0 * bits.reshape(N_STANDARD**2, -1)[:, :PAIR_SIZE]
        weights = np.outer(shares, shares).reshape(-1)
        rows = signs / np.sqrt(weights)[:, None]
        rows -= weights @ rows
        table = np.zeros((N_TOKENS, N_TOKENS, PAIR_SIZE))
        table[X_ID + 1 :, X_ID + 1 :] = rows.reshape(N_STANDARD, N_STANDARD, PAIR_SIZE)
        state[f"pairs.{number}.weight"] = torch.from_numpy(table.reshape(-1, PAIR_SIZE)).float()
    n = config.wide_size
    project = torch.zeros(size, n + config.spectrum_size)
    project[:n, :n] = held["project.weight"]
    project[n:, n:] = torch.eye(config.spectrum_size)
    state["project.weight"] = project
    state["project.bias"] = torch.cat((held["project.bias"], torch.zeros(config.spectrum_size)))
    joint.load_state_dict(state)
    return joint.eval()


def training_sample(data: TrainingSet, n: int) -> tuple[list[bytes], dict[str, NDArray[np.int32]]]:
    """At most ``n`` labelled training sequences, and their labels."""
    letters = np.frombuffer(b"X" * (X_ID + 1) + STANDARD_RESIDUES, np.uint8)
    labelled = np.flatnonzero(np.any([data.labels[kind] >= 0 for kind in KINDS], axis=0))
    chosen = np.sort(np.random.default_rng(0).permutation(labelled)[:n])
    sequences = []
    for row in chosen:
        start, end = data.offsets[row], min(data.offsets[row + 1], data.offsets[row] + LONGEST)
        sequences.append(letters[data.tokens[start:end]].tobytes())
    return sequences, {kind: data.labels[kind][chosen] for kind in KINDS}


def within_covariance(vectors: NDArray[np.float32], labels: dict[str, NDArray[np.int32]]) -> NDArray[np.float64]:
    """Mean over the label sets of the covariance about class means, (D, D)."""
    total = np.zeros((vectors.shape[1],) * 2)
    for held in labels.values():
        rows = np.flatnonzero(held >= 0)
        _, places = np.unique(held[rows], return_inverse=True)
        order = np.argsort(places, kind="stable")
        counts = np.bincount(places)
        sums = np.add.reduceat(vectors[rows[order]], np.cumsum(counts) - counts)
        differing = vectors[rows] - (sums / counts[:, None])[places]
        # A class counts by the square root of its size, as in training.
        weights = (counts[places] ** -0.5) * (counts[places] > 1)
        total += (differing * weights[:, None]).T @ differing / weights.sum()
    return total / len(labels)


class Candidates:
    """Projections, judged on vectors that were made once."""

    def __init__(
        self, joint: MiniEncoder, data: Path, sample: list[bytes], labels: dict[str, NDArray[np.int32]]
    ) -> None:
        self.size = joint.config.wide_size
        self.n_pairs = joint.config.pair_size
        self.labels = labels
        self.sample = pooled_of(joint, sample).astype(np.float64)
        self.judge = Judge(data)
        self.sets = {
            name: (pooled_of(joint, queries), truth, pooled_of(joint, base), held)
            for name, (queries, truth, base, held) in self.judge.sets.items()
        }
        learned, pairs, profile = (np.linalg.norm(part, axis=1).mean() for part in self._parts(self.sample))
        self.units = (1.0, learned / pairs, learned / profile)

    def _parts(self, vectors: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return np.split(vectors, [self.size, self.size + self.n_pairs], axis=1)

    def matrix(self, weighing: Weighing) -> NDArray[np.float64]:
        """(D, D): what the joint vectors are multiplied with, from the left."""
        pairs, profile, shrinkage = weighing
        scales = np.concatenate([
            np.full(part.shape[1], weight * unit_of)
            for part, weight, unit_of in zip(self._parts(self.sample), (1.0, pairs, profile), self.units, strict=True)
        ])  # fmt: skip
        if shrinkage is None:
            return np.diag(scales)
        values, axes = np.linalg.eigh(within_covariance(unit_rows(self.sample * scales), self.labels))
        spread = (values + shrinkage * values.mean()) ** -0.5
        turned: NDArray[np.float64] = (axes * (spread / np.median(spread))) @ axes.T * scales
        return turned

    def judged(self, matrix: NDArray[np.float64]) -> dict[str, float]:
        found = {}
        for name, (queries, truth, base, held) in self.sets.items():
            nearest = nearest_label(unit_rows(queries @ matrix.T), unit_rows(base @ matrix.T), held)
            found[name] = round(float(np.mean([a == b for a, b in zip(nearest, truth, strict=True)])), 4)
        found["mean"] = round(float(np.mean(list(found.values()))), 4)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "work", "run", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--n", type=int, default=60_000)
    given = parser.parse_args()
    joint = with_spectrum(read_encoder(given.run))
    sample, labels = training_sample(TrainingSet.read(given.work / "train.npz"), given.n)
    candidates = Candidates(joint, given.data, sample, labels)
    tried: dict[Weighing, dict[str, float]] = {}

    def judge(weighing: Weighing) -> None:
        tried[weighing] = candidates.judged(candidates.matrix(weighing))
        print(weighing, tried[weighing], flush=True)

    for pairs, profile in SPECTRA:
        judge(Weighing(pairs, profile, None))
    # The shrinkage is tried at the three best weights: each costs an eigendecomposition.
    for found in sorted(tried, key=lambda weighing: -tried[weighing]["mean"])[:3]:
        for shrinkage in SHRINKAGES:
            judge(found._replace(shrinkage=shrinkage))
    best = max(tried, key=lambda weighing: tried[weighing]["mean"])
    export(joint, candidates.matrix(best), given.out)
    report = [{**weighing._asdict(), **accuracies} for weighing, accuracies in tried.items()]
    report.sort(key=lambda row: -row["mean"])
    (given.out / "finish.json").write_text(json.dumps(report, indent=1) + "\n")
    print("best:", report[0])


def export(joint: MiniEncoder, matrix: NDArray[np.float64], out: Path) -> None:
    """``config.json`` and float16 weights of the encoder followed by ``matrix``."""
    out.mkdir(parents=True, exist_ok=True)
    state = joint.state_dict()
    turn = torch.from_numpy(matrix)
    state["project.weight"] = turn @ state["project.weight"].double()
    state["project.bias"] = turn @ state["project.bias"].double()
    (out / "config.json").write_text(json.dumps({"model_type": "mini", **asdict(joint.config)}, indent=1) + "\n")
    save_file({name: value.to(torch.float16).contiguous() for name, value in state.items()}, out / "model.safetensors")


if __name__ == "__main__":
    main()
