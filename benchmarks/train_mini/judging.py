"""What a run is chosen by: validation data alone, never a test split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional

from benchmarks.train_mini.data import left_out_families, order, rows
from benchmarks.train_mini.sampling import TrainingBatch, fixed_batches
from embedstore.models.mini_encoder import MiniConfig, MiniEncoder
from embedstore.models.mini_tokens import mini_tokens
from embedstore.sequences.batching import plan_batches

BUDGET = 4_096
N_NEAREST = 100


def read_encoder(directory: Path) -> MiniEncoder:
    """The encoder of a finished run."""
    config = MiniConfig.from_dict(json.loads((directory / "config.json").read_text()))
    encoder = MiniEncoder(config)
    encoder.load_state_dict({name: w.float() for name, w in load_file(directory / "model.safetensors").items()})
    return encoder.eval()


def pooled_of(encoder: MiniEncoder, sequences: Sequence[bytes]) -> NDArray[np.float32]:
    """The mean of each protein's residue vectors: (n, output_size)."""
    table = mini_tokens()
    found = np.empty((len(sequences), encoder.config.output_size), np.float32)
    lengths = np.array([len(sequence) for sequence in sequences])
    with torch.inference_mode():
        for batch in plan_batches(lengths, budget=BUDGET):
            tokens, mask = map(torch.from_numpy, table.batch([sequences[row] for row in batch]))
            found[batch] = encoder.proteins(tokens, mask, encoder(tokens, mask)[-1]).numpy()
    return found


def vectors_of(encoder: MiniEncoder, sequences: Sequence[bytes]) -> NDArray[np.float32]:
    """The same of norm 1."""
    pooled = pooled_of(encoder, sequences)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    return pooled


class Judge:
    """Accuracy of the nearest neighbour on sets that training has not seen, and perplexity.

    ``scop2``: superfamily of validation domains among the training domains. ``kog``: eukaryotic groups, never trained
    on. ``pfam_left_out``: families left out, four examples each; ``pfam_one_shot``: one of these. ``scop2_recall``: a
    domain of the superfamily is among the hundred nearest. ``perplexity``: of validation proteins.
    """

    def __init__(self, data: Path, n_perplexity: int = 150) -> None:
        self.sets: dict[str, tuple[list[bytes], list[str], list[bytes], list[str]]] = {}
        train, valid = (list(rows(data / f"scop2/{split}.csv.gz")) for split in ("train", "valid"))
        self.sets["scop2"] = (*_split(valid), *_split(train))
        groups, queries = (list(rows(data / f"kog_cegma/{split}.csv.gz")) for split in ("train", "valid"))
        self.sets["kog"] = (*_split(queries), *_split(groups))
        left_out = left_out_families(data)
        held = [row for row in rows(data / "pfam/train.csv.gz") if row["label"] in left_out]
        held.sort(key=lambda row: order(row["id"]))
        seen: dict[str, int] = {}
        examples, others = list[dict[str, str]](), list[dict[str, str]]()
        for row in held:
            seen[row["label"]] = seen.get(row["label"], 0) + 1
            (examples if seen[row["label"]] <= 4 else others).append(row)
        self.sets["pfam_left_out"] = (*_split(others[:1500]), *_split(examples))
        proteins = sorted(rows(data / "proteins/valid.csv.gz"), key=lambda row: order(row["id"]))[:n_perplexity]
        self.batches = fixed_batches([row["sequence"].encode() for row in proteins], masked=0.15, seed=0)

    def __call__(self, encoder: MiniEncoder) -> dict[str, float]:
        found = accuracies({
            name: (vectors_of(encoder, queries), truth, vectors_of(encoder, base), labels)
            for name, (queries, truth, base, labels) in self.sets.items()
        })  # fmt: skip
        found["perplexity"] = round(perplexity(encoder, self.batches), 3)
        return found


def accuracies(
    sets: dict[str, tuple[NDArray[np.float32], list[str], NDArray[np.float32], list[str]]],
) -> dict[str, float]:
    """Of each set, from vectors of norm 1 of queries and base and their labels."""
    found: dict[str, float] = {}
    for name, (queries, truth, base, labels) in sets.items():
        scores, wanted, held = queries @ base.T, np.array(truth), np.array(labels)
        right = held[scores.argmax(axis=1)] == wanted
        found[name] = float(right.mean())
        if name == "scop2":
            nearest = np.argpartition(-scores, N_NEAREST, axis=1)[:, :N_NEAREST]
            found["scop2_recall"] = float((held[nearest] == wanted[:, None]).any(axis=1).mean())
        if name == "pfam_left_out":
            first = np.unique(held, return_index=True)[1]
            found["pfam_one_shot"] = float((held[first][scores[:, first].argmax(axis=1)] == wanted).mean())
    return {name: round(value, 4) for name, value in found.items()}


def perplexity(encoder: MiniEncoder, batches: list[TrainingBatch]) -> float:
    """exp of the mean cross-entropy of hidden residues, in nats; 20 is chance."""
    total, n = 0.0, 0
    with torch.inference_mode():
        for batch in batches:
            hidden = batch.targets >= 0
            scores = encoder.letters(encoder(batch.tokens, batch.mask)[-1][hidden])
            total += float(functional.cross_entropy(scores, batch.targets[hidden], reduction="sum"))
            n += int(hidden.sum())
    return float(np.exp(total / n))


def _split(held: list[dict[str, str]]) -> tuple[list[bytes], list[str]]:
    return [row["sequence"].upper().rstrip("*").encode() for row in held], [row["label"] for row in held]
