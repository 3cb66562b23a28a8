"""Batches for training `mini`: crops of proteins, drawn by class, with their labels and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedstore.models.mini_tokens import MASK_ID, PAD_ID, TOKEN_OF, X_ID

CURATED = {
    "scop2_superfamily": 1.0,
    "scope_superfamily": 1.0,
    "pfam": 1.0,
    "scop2_fold": 0.3,
    "scope_fold": 0.3,
    "scop2_family": 0.3,
    "scope_family": 0.3,
    "ec": 0.3,
}
"""Label sets with a vector for each class, and the weight of their losses."""

STREAMS = {
    "cluster": 0.45,
    "scop2_superfamily": 0.15,
    "scope_superfamily": 0.15,
    "pfam": 0.1,
    "secondary": 0.1,
    "ec": 0.05,
}
"""Share of each batch that is drawn from the classes of one label set."""

LENGTHS = {128: 0.6, 224: 0.4}
"""Longest crop of a batch, and how often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """The arrays of ``train.npz``."""

    tokens: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    labels: dict[str, NDArray[np.int32]]
    secondary: NDArray[np.uint8]

    @classmethod
    def read(cls, path: Path) -> TrainingSet:
        arrays = np.load(path)
        labels = {name.removeprefix("label_"): arrays[name] for name in arrays.files if name.startswith("label_")}
        labels["secondary"] = np.where(arrays["has_secondary"], 0, -1).astype(np.int32)
        return cls(
            tokens=TOKEN_OF[arrays["residues"]].astype(np.uint8),
            offsets=arrays["offsets"],
            labels=labels,
            secondary=arrays["secondary"],
        )

    def n_classes(self, kind: str) -> int:
        return int(self.labels[kind].max()) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBatch:
    """``tokens`` as the encoder sees them, ``targets`` the true ones where masked (-100 elsewhere), (n, T) each."""

    tokens: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor
    secondary: torch.Tensor
    labels: dict[str, torch.Tensor]


class Members:
    """The members of each class of one label set, to be drawn from."""

    def __init__(self, labels: NDArray[np.int32], power: float) -> None:
        held = np.flatnonzero(labels >= 0)
        self.order = held[np.argsort(labels[held], kind="stable")]
        sizes = np.bincount(labels[held])
        self.starts = np.cumsum(sizes) - sizes
        self.sizes = sizes
        weights = sizes.astype(np.float64) ** power
        self.cumulative = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator, n: int, each: int) -> NDArray[np.int64]:
        """Rows of ``n`` classes, ``each`` different members of each where it has so many: (n * each,)."""
        classes = np.searchsorted(self.cumulative, rng.random(n), side="right").clip(max=len(self.sizes) - 1)
        first = rng.integers(0, self.sizes[classes])
        rows = [self.order[self.starts[classes] + first]]
        for _ in range(each - 1):
            step = 1 + rng.integers(0, np.maximum(self.sizes[classes] - 1, 1))
            rows.append(self.order[self.starts[classes] + (first + step) % self.sizes[classes]])
        return np.stack(rows, axis=1).reshape(-1)


class Sampler:
    """Draws batch ``step`` of a run: the same for the same seed, whatever was drawn before."""

    def __init__(self, data: TrainingSet, *, residues: int, seed: int, masked: float, half_plain: bool) -> None:
        self.data, self.residues, self.seed = data, residues, seed
        self.masked, self.half_plain = masked, half_plain
        self.members = {kind: Members(data.labels[kind], 0.5) for kind in STREAMS}

    def batch(self, step: int) -> TrainingBatch:
        rng = np.random.default_rng((self.seed, step))
        longest = int(rng.choice(list(LENGTHS), p=list(LENGTHS.values())))
        n = self.residues // longest
        rows, places = [], []
        for kind, share in STREAMS.items():
            pairs = max(1, round(n * share / 2))
            rows.append(self.members[kind].draw(rng, pairs, 2))
            places.append(np.repeat(rng.random(pairs), 2) if kind == "cluster" else rng.random(2 * pairs))
        return self._crops(np.concatenate(rows), np.concatenate(places), longest, rng)

    def _crops(
        self, rows: NDArray[np.int64], places: NDArray[np.float64], longest: int, rng: np.random.Generator
    ) -> TrainingBatch:
        """Pieces of at most ``longest`` residues; the two of a pair from the same relative place."""
        starts = self.data.offsets[rows]
        lengths = self.data.offsets[rows + 1] - starts
        begins = np.floor(places * np.maximum(lengths - longest + 1, 1)).astype(np.int64)
        tokens = np.full((len(rows), longest), PAD_ID, np.int64)
        secondary = np.zeros((len(rows), longest), np.int64)
        for row, (start, begin, length) in enumerate(zip(starts, begins, lengths, strict=True)):
            taken = min(length, longest)
            piece = slice(start + begin, start + begin + taken)
            tokens[row, :taken] = self.data.tokens[piece]
            secondary[row, :taken] = self.data.secondary[piece]
        targets = np.full_like(tokens, -100)
        if self.masked > 0:
            hidden = (rng.random(tokens.shape) < self.masked) & (tokens > X_ID)
            if self.half_plain:
                hidden &= (rng.random(len(rows)) < 0.5)[:, None]
            targets[hidden] = tokens[hidden]
            tokens = np.where(hidden, MASK_ID, tokens)
        return TrainingBatch(
            tokens=torch.from_numpy(tokens),
            mask=torch.from_numpy((tokens != PAD_ID).astype(np.int64)),
            targets=torch.from_numpy(targets),
            secondary=torch.from_numpy(secondary),
            labels={kind: torch.from_numpy(self.data.labels[kind][rows].astype(np.int64)) for kind in self.data.labels},
        )


def fixed_batches(
    sequences: Sequence[bytes], *, masked: float, seed: int, residues: int = 16_384, longest: int = 1_022
) -> list[TrainingBatch]:
    """Whole proteins with fixed masks, sorted by length: for perplexity on data held out."""
    rng = np.random.default_rng(seed)
    found: list[TrainingBatch] = []
    pending: list[NDArray[np.int64]] = []
    for sequence in sorted((s[:longest] for s in sequences), key=len):
        tokens = TOKEN_OF[np.frombuffer(sequence, np.uint8)].astype(np.int64)
        if pending and len(tokens) * (len(pending) + 1) > residues:
            found.append(_padded(pending, masked, rng))
            pending = []
        pending.append(tokens)
    if pending:
        found.append(_padded(pending, masked, rng))
    return found


def _padded(rows: list[NDArray[np.int64]], masked: float, rng: np.random.Generator) -> TrainingBatch:
    tokens = np.full((len(rows), max(map(len, rows))), PAD_ID, np.int64)
    for row, held in enumerate(rows):
        tokens[row, : len(held)] = held
    hidden = (rng.random(tokens.shape) < masked) & (tokens > X_ID)
    return TrainingBatch(
        tokens=torch.from_numpy(np.where(hidden, MASK_ID, tokens)),
        mask=torch.from_numpy((tokens != PAD_ID).astype(np.int64)),
        targets=torch.from_numpy(np.where(hidden, tokens, -100)),
        secondary=torch.zeros(tokens.shape, dtype=torch.int64),
        labels={},
    )
