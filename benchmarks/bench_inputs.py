"""Residues and pairs as heads take them, against the usual ways: padded convolutions, and a loader of single pairs.

    python -m benchmarks.bench_inputs [--proteins 256] [--dim 1024] [--pairs 20000] [--no-result]

One epoch of training steps (forward and backward) of ProtTrans's two convolutions: over packed proteins, and as its
authors write it, ``Conv2d`` over batches of 32 proteins padded to the longest. And one shuffled epoch of pairs in
batches of 256: gathered per batch from a store, and from vectors in memory by a PyTorch ``DataLoader`` whose data set
gives one pair at a time. Both sides run in turns in one process; lengths are log-normal with a median of 200 residues.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import embedstore
from benchmarks.bench_memory import write_random
from benchmarks.harness import interleave, medians, write_result
from heads.features.vectors import PairFeatures
from heads.vectors.cnn import ConvolutionHead
from heads.vectors.packed_conv import convolve, only_residues, pack

BATCH_PROTEINS = 32
BATCH_PAIRS = 256
CLASSES = 3


class Padded(torch.nn.Module):
    """The published head, for (B, D, L, 1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(dim, 32, kernel_size=(7, 1), padding=(3, 0))
        self.second = torch.nn.Conv2d(32, CLASSES, kernel_size=(7, 1), padding=(3, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.nn.functional.dropout(torch.relu(self.first(x)), 0.25))[..., 0]


def residues(n_proteins: int, dim: int, repeats: int) -> dict[str, Any]:
    """Seconds of an epoch over packed and over padded proteins."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(200), 0.6, n_proteins), 20, 2000).astype(int)
    proteins = [rng.normal(size=(length, dim)).astype(np.float32) for length in lengths]
    labels = [torch.from_numpy(rng.integers(0, CLASSES, length)) for length in lengths]
    padded = Padded(dim)
    weights = [one.detach() for one in (padded.first.weight[..., 0], padded.second.weight[..., 0])]
    first, second = (one.permute(2, 1, 0).contiguous().requires_grad_() for one in weights)
    biases = [one.bias.detach().clone().requires_grad_() for one in (padded.first, padded.second)]
    budget = ConvolutionHead().batch_residues

    def run_padded() -> None:
        for start in range(0, n_proteins, BATCH_PROTEINS):
            chosen = range(start, min(start + BATCH_PROTEINS, n_proteins))
            longest = max(lengths[chosen.start : chosen.stop])
            x = torch.zeros(len(chosen), longest, dim)
            y = torch.full((len(chosen), longest), -100)
            for row, protein in enumerate(chosen):
                x[row, : lengths[protein]] = torch.from_numpy(proteins[protein])
                y[row, : lengths[protein]] = labels[protein]
            torch.nn.functional.cross_entropy(padded(x.permute(0, 2, 1)[..., None]), y).backward()

    def run_packed() -> None:
        start = 0
        while start < n_proteins:
            stop = start + max(1, int(np.searchsorted(np.cumsum(lengths[start:]), budget)))
            block = np.concatenate(proteins[start:stop])
            starts = np.cumsum([0, *lengths[start : stop - 1]])
            packed = pack(block, starts, 3)
            hidden = torch.nn.functional.dropout(torch.relu(convolve(packed.values, first, biases[0])), 0.25)
            logits = convolve(only_residues(hidden, packed.places), second, biases[1])[packed.places]
            torch.nn.functional.cross_entropy(logits, torch.cat(labels[start:stop])).backward()
            start = stop

    seconds = medians(interleave({"packed": run_packed, "padded": run_padded}, repeats=repeats))
    n_residues = int(lengths.sum())
    return {
        "n_proteins": n_proteins,
        "n_residues": n_residues,
        "dim": dim,
        "residues_per_s": {name: round(n_residues / one) for name, one in seconds.items()},
        "ratio": round(seconds["padded"] / seconds["packed"], 2),
    }


class SinglePairs(Dataset):  # type: ignore[type-arg]
    """One pair at a time, from vectors in memory."""

    def __init__(self, vectors: torch.Tensor, pairs: np.ndarray) -> None:
        self.vectors, self.pairs = vectors, pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, row: int) -> torch.Tensor:
        a, b = self.vectors[self.pairs[row, 0]], self.vectors[self.pairs[row, 1]]
        return torch.cat([a + b, a * b, (a - b).abs()])


def pairs(n_pairs: int, repeats: int) -> dict[str, Any]:
    """Seconds of a shuffled epoch of pairs."""
    with tempfile.TemporaryDirectory() as folder:
        store = embedstore.open(Path(folder, "s.zarr"), mode="a")
        store.add("random", write_random(Path(folder, "random.fasta"), max(100, n_pairs // 10)))
        embedstore.build(store, embedstore.load_model("kmer"))
        store.refresh()
        space, keys = store.space(), store.dataset("random").digests
        chosen = np.random.default_rng(0).integers(0, len(keys), (n_pairs, 2))
        ours = PairFeatures(space, keys[chosen[:, 0]], keys[chosen[:, 1]], ("sum", "product", "difference"))
        loader = DataLoader(
            SinglePairs(torch.from_numpy(space.take(keys).astype(np.float32)), chosen), BATCH_PAIRS, shuffle=True
        )
        work = {
            "gathered": lambda: [block.sum() for _, block in ours.batches(BATCH_PAIRS, seed=0)],
            "loader": lambda: [block.sum() for block in loader],
        }
        seconds = medians(interleave(work, repeats=repeats))
    return {
        "n_pairs": n_pairs,
        "dim": space.dim,
        "pairs_per_s": {name: round(n_pairs / one) for name, one in seconds.items()},
        "ratio": round(seconds["loader"] / seconds["gathered"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proteins", type=int, default=256)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-result", action="store_true", help="Print only; write no JSON.")
    options = parser.parse_args()
    torch.manual_seed(0)
    payload = {
        "threads": torch.get_num_threads(),
        "residues": residues(options.proteins, options.dim, options.repeats),
        "pairs": pairs(options.pairs, options.repeats),
    }
    print(payload)
    if not options.no_result:
        print(write_result("inputs", payload, packages=["torch", "numpy"]))


if __name__ == "__main__":
    main()
