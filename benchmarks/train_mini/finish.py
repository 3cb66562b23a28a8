"""The last step of `mini`: directions in which relatives differ are made small.

    python -m benchmarks.train_mini.finish DATA WORK RUN OUT [--n 60000]

The vectors of a run are followed by ``(W + s m I) ** -1/2``, W the covariance of training proteins about the mean of
their class, m its mean variance (within-class covariance normalisation: Hatch et al. 2006, Interspeech), folded into
the last projection. The shrinkage s, or no normalisation, is the one with the best mean accuracy of
`benchmarks.train_mini.judging.Judge`: validation data. OUT gets ``config.json``, ``model.safetensors`` and
``finish.json``, all that was tried.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from benchmarks.train_mini.judging import Judge, accuracies, perplexity, pooled_of, read_encoder
from benchmarks.train_mini.sampling import TrainingSet
from embedstore.indexes.base import unit_rows
from embedstore.models.mini_encoder import MiniEncoder

SHRINKAGES = (None, 30.0, 10.0, 3.0, 1.0, 0.3)
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


def normalisation(within: NDArray[np.float64], shrinkage: float | None) -> NDArray[np.float64]:
    """What vectors are multiplied with, from the left, (D, D)."""
    if shrinkage is None:
        return np.eye(len(within))
    values, axes = np.linalg.eigh(within)
    spread = (values + shrinkage * values.mean()) ** -0.5
    turned: NDArray[np.float64] = (axes * (spread / np.median(spread))) @ axes.T
    return turned


def export(encoder: MiniEncoder, matrix: NDArray[np.float64], out: Path) -> None:
    """``config.json`` and float16 weights of the encoder followed by ``matrix``."""
    out.mkdir(parents=True, exist_ok=True)
    state = encoder.state_dict()
    turn = torch.from_numpy(matrix)
    state["project.weight"] = turn @ state["project.weight"].double()
    state["project.bias"] = turn @ state["project.bias"].double()
    (out / "config.json").write_text(json.dumps({"model_type": "mini", **asdict(encoder.config)}, indent=1) + "\n")
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
    within = within_covariance(unit_rows(pooled_of(encoder, sample)).astype(np.float64), labels)
    judge = Judge(given.data)
    pooled = {
        name: (pooled_of(encoder, queries), truth, pooled_of(encoder, base), held)
        for name, (queries, truth, base, held) in judge.sets.items()
    }
    found_perplexity = round(perplexity(encoder, judge.batches), 3)
    judged: dict[float | None, dict[str, float]] = {}
    for shrinkage in SHRINKAGES:
        turn = normalisation(within, shrinkage).T.astype(np.float32)
        judged[shrinkage] = accuracies({
            name: (unit_rows(queries @ turn), truth, unit_rows(base @ turn), held)
            for name, (queries, truth, base, held) in pooled.items()
        })  # fmt: skip
        judged[shrinkage]["mean"] = round(float(np.mean(list(judged[shrinkage].values()))), 4)
        print(shrinkage, judged[shrinkage], flush=True)
    in_order = sorted(judged, key=lambda shrinkage: -judged[shrinkage]["mean"])
    export(encoder, normalisation(within, in_order[0]), given.out)
    report = [{"shrinkage": shrinkage, **judged[shrinkage], "perplexity": found_perplexity} for shrinkage in in_order]
    (given.out / "finish.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
