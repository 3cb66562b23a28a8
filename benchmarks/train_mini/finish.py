"""The last step of `mini`: learned part and spectrum are weighed, directions in which relatives differ made small.

    python -m benchmarks.train_mini.finish DATA WORK RUN OUT [--n 60000]

What was learned knows families of many kinds and remote relatives; the spectrum of residue pairs and of residues along
the chain, which `kmer` has too, knows near ones of families that nobody has seen. Training makes the learned part
longer than is good for families that it does not see, so both are weighed anew. They are then followed by
``(W + s m I) ** -1/2``, W the covariance of training proteins about the mean of their class, m its mean variance
(within-class covariance normalisation: Hatch et al. 2006, Interspeech). The weights and the shrinkage s are those with
the best mean accuracy of `benchmarks.train_mini.judging.Judge`: validation data. OUT gets ``config.json``,
``model.safetensors`` and ``finish.json``, all that was tried.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from benchmarks.train_mini.judging import Judge, accuracies, perplexity, pooled_of, read_encoder
from benchmarks.train_mini.sampling import TrainingSet
from embedstore.indexes.base import unit_rows
from embedstore.models.mini_encoder import MiniEncoder

SPECTRA = ((0.25, 0.5), (0.5, 0.5), (0.5, 1.0), (0.5, 1.5), (1.0, 1.0))
"""Norms of pairs and profile that are tried, in mean norms of the learned part."""

SHRINKAGES = (10.0, 3.0, 1.0, 0.3)
KINDS = ("scop2_superfamily", "scope_superfamily", "pfam", "cluster")


def training_sample(data: TrainingSet, n: int) -> tuple[list[bytes], dict[str, NDArray[np.int32]]]:
    """At most ``n`` labelled training sequences, their first residues, and their labels."""
    labels = {kind: data.labels[kind][: data.n_sequences] for kind in KINDS}
    labelled = np.flatnonzero(np.any([held >= 0 for held in labels.values()], axis=0))
    chosen = np.sort(np.random.default_rng(0).permutation(labelled)[:n])
    return [data.sequence(row) for row in chosen], {kind: held[chosen] for kind, held in labels.items()}


def within_covariance(vectors: NDArray[np.float64], labels: dict[str, NDArray[np.int32]]) -> NDArray[np.float64]:
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


class Weighing(NamedTuple):
    """What is tried: norms of the two spectra, and the shrinkage; None: the covariance is left as it is."""

    pairs: float
    profile: float
    shrinkage: float | None


class Candidates:
    """Projections, judged on pooled states that were made once.

    Vectors of a candidate are ``matrix @ (states - mean)``. The learned part of the states is turned so that inner
    products are those of the run's own projection.
    """

    def __init__(
        self, encoder: MiniEncoder, data: Path, sample: list[bytes], labels: dict[str, NDArray[np.int32]]
    ) -> None:
        self.labels = labels
        wide, spectrum = encoder.config.wide_size, encoder.config.spectrum_size
        learned = encoder.project.weight.detach()[:, :wide].double()
        _, values, axes = torch.linalg.svd(learned, full_matrices=False)
        self.turn = np.eye(wide + spectrum, dtype=np.float64)
        self.turn[:wide, :wide] = (values[:, None] * axes).numpy()
        size = wide + spectrum
        plain = MiniEncoder(replace(encoder.config, output_size=size))
        unprojected = {"project.weight": torch.eye(size), "project.bias": torch.zeros(size)}
        plain.load_state_dict({**encoder.state_dict(), **unprojected})
        plain.eval()
        states = pooled_of(plain, sample)
        self.mean = states.mean(axis=0)
        self.sample = self._turned(states)
        judge = Judge(data)
        self.sets = {
            name: (self._turned(pooled_of(plain, queries)), truth, self._turned(pooled_of(plain, base)), held)
            for name, (queries, truth, base, held) in judge.sets.items()
        }
        self.perplexity = round(perplexity(encoder, judge.batches), 3)
        self.sizes = (wide, encoder.config.pair_size, spectrum - encoder.config.pair_size)
        parts = np.split(self.sample, np.cumsum(self.sizes)[:2], axis=1)
        norms = [float(np.linalg.norm(part, axis=1).mean()) for part in parts]
        self.units = [norms[0] / norm for norm in norms]

    def _turned(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = (states - self.mean) @ self.turn.T.astype(np.float32)
        return found

    def weights(self, weighing: Weighing) -> NDArray[np.float64]:
        """(D, D): what turned states are multiplied with, from the left."""
        of_parts = np.array([1.0, weighing.pairs, weighing.profile]) * self.units
        scales = np.repeat(of_parts, self.sizes)
        if weighing.shrinkage is None:
            return np.diag(scales)
        within = within_covariance(unit_rows(self.sample * scales).astype(np.float64), self.labels)
        values, axes = np.linalg.eigh(within)
        spread = (values + weighing.shrinkage * values.mean()) ** -0.5
        found: NDArray[np.float64] = (axes * (spread / np.median(spread))) @ axes.T * scales
        return found

    def judged(self, weighing: Weighing) -> dict[str, float]:
        """Validation accuracies."""
        matrix = self.weights(weighing).T.astype(np.float32)
        found = accuracies({
            name: (unit_rows(queries @ matrix), truth, unit_rows(base @ matrix), held)
            for name, (queries, truth, base, held) in self.sets.items()
        })  # fmt: skip
        found["mean"] = round(float(np.mean(list(found.values()))), 4)
        return found


def export(encoder: MiniEncoder, matrix: NDArray[np.float64], mean: NDArray[np.float32], out: Path) -> None:
    """``config.json`` and float16 weights: states less their mean, multiplied with ``matrix``."""
    out.mkdir(parents=True, exist_ok=True)
    state = encoder.state_dict()
    state["project.weight"] = torch.from_numpy(matrix)
    state["project.bias"] = torch.from_numpy(-matrix @ mean)
    config = replace(encoder.config, output_size=len(matrix))
    (out / "config.json").write_text(json.dumps({"model_type": "mini", **asdict(config)}, indent=1) + "\n")
    save_file({name: value.to(torch.float16).contiguous() for name, value in state.items()}, out / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "work", "run", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--n", type=int, default=60_000)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    encoder = read_encoder(given.run)
    sample, labels = training_sample(TrainingSet.read(given.work), given.n)
    candidates = Candidates(encoder, given.data, sample, labels)
    tried: dict[Weighing, dict[str, float]] = {}

    def judge(weighing: Weighing) -> None:
        tried[weighing] = candidates.judged(weighing)
        print(weighing, tried[weighing], flush=True)

    for pairs, profile in SPECTRA:
        judge(Weighing(pairs, profile, None))
    # The shrinkage is tried at the three best weights: each costs an eigendecomposition.
    for found in sorted(tried, key=lambda weighing: -tried[weighing]["mean"])[:3]:
        for shrinkage in SHRINKAGES:
            judge(found._replace(shrinkage=shrinkage))
    in_order = sorted(tried, key=lambda weighing: -tried[weighing]["mean"])
    export(encoder, candidates.weights(in_order[0]) @ candidates.turn, candidates.mean, given.out)
    report = [{**weighing._asdict(), **tried[weighing], "perplexity": candidates.perplexity} for weighing in in_order]
    (given.out / "finish.json").write_text(json.dumps(report, indent=1) + "\n")
    print("best:", report[0])


if __name__ == "__main__":
    main()
