"""Batches for training `mini`: crops of proteins, drawn by class, with their labels and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.train_mini.data import DOMAIN_LABELS
from embedstore.models.base import STANDARD_RESIDUES
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
    "cluster": 0.3,
    "homologs": 0.25,
    "scop2_superfamily": 0.13,
    "scope_superfamily": 0.13,
    "pfam": 0.1,
    "secondary": 0.06,
    "ec": 0.03,
}
"""Share of each batch that is drawn from the classes of one label set; ``homologs``: regions aligned to one domain."""

ALIGNED_PER_PAIR = 12
"""At most so many pairs of residues in one column are taken from a pair of proteins."""

LETTERS = np.frombuffer(b"X" * (X_ID + 1) + STANDARD_RESIDUES, np.uint8)
"""(N_TOKENS,): the letter of each token."""

LENGTHS = {128: 0.6, 224: 0.4}
"""Longest crop of a batch, and how often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """Sequences and, after them, homologous regions of these: the arrays of ``train.npz`` and ``alignments.npz``.

    Attributes
    ----------
    tokens, secondary
        Of all residues, (R,).
    starts, lengths
        First residue and number of residues of each example, (N,).
    n_sequences
        So many examples are whole sequences; the rest are regions of them.
    labels
        Class of each example in each label set, -1 for none, (N,) each.
    columns
        Alignment column of residues, -1 for none; an example's begin at ``column_starts``, which is -1 without any.
    profiles
        Residue distribution of each column, (n_columns, 20), in 255ths.
    """

    tokens: NDArray[np.uint8]
    secondary: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    n_sequences: int
    labels: dict[str, NDArray[np.int32]]
    columns: NDArray[np.int32]
    column_starts: NDArray[np.int64]
    profiles: NDArray[np.uint8]

    @classmethod
    def read(cls, work: Path) -> TrainingSet:
        arrays, aligned = np.load(work / "train.npz"), np.load(work / "alignments.npz")
        offsets, n = arrays["offsets"], len(arrays["offsets"]) - 1
        n_whole, rows = int(aligned["n_whole"]), aligned["rows"]
        regions = rows[n_whole:]
        starts = np.concatenate([offsets[:-1], offsets[regions] + aligned["starts"][n_whole:]])
        lengths = np.concatenate([np.diff(offsets), np.diff(aligned["offsets"])[n_whole:]])
        labels: dict[str, NDArray[np.int32]] = {}
        for name in (name for name in arrays.files if name.startswith("label_")):
            kind, held = name.removeprefix("label_"), arrays[name]
            taken = held[aligned["reference"]] if kind in DOMAIN_LABELS else np.full(len(regions), -1, np.int32)
            labels[kind] = np.concatenate([held, taken])
        none = np.full(len(starts), -1, np.int32)
        labels["secondary"], labels["homologs"] = none.copy(), none
        labels["secondary"][:n][arrays["has_secondary"]] = 0
        labels["homologs"][n:] = np.unique(aligned["reference"], return_inverse=True)[1]
        column_starts = np.full(len(starts), -1, np.int64)
        column_starts[rows[:n_whole]] = aligned["offsets"][:n_whole]
        column_starts[n:] = aligned["offsets"][n_whole:-1]
        return cls(
            tokens=TOKEN_OF[arrays["residues"]].astype(np.uint8),
            secondary=arrays["secondary"],
            starts=starts,
            lengths=lengths,
            n_sequences=n,
            labels=labels,
            columns=aligned["columns"],
            column_starts=column_starts,
            profiles=aligned["profiles"],
        )

    def n_classes(self, kind: str) -> int:
        return int(self.labels[kind].max()) + 1

    def sequence(self, example: int, longest: int = 400) -> bytes:
        """The first residues of an example as letters."""
        start = self.starts[example]
        return LETTERS[self.tokens[start : start + min(longest, self.lengths[example])]].tobytes()

    def columns_of(self, example: int) -> NDArray[np.int32]:
        """Alignment columns of an example, (length,); (0,) without any."""
        start = self.column_starts[example]
        return self.columns[start : start + self.lengths[example]] if start >= 0 else self.columns[:0]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBatch:
    """``tokens`` as the encoder sees them, ``targets`` the true ones where masked (-100 elsewhere), (n, T) each.

    ``columns`` are those of the residues, (n, T), -1 for none; ``aligned`` are pairs of residues that share one, places
    in the flattened tokens, (k, 2).
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor
    secondary: torch.Tensor
    columns: torch.Tensor
    aligned: torch.Tensor
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
        found: NDArray[np.int64] = np.stack(rows, axis=1).reshape(-1)
        return found


class Sampler:
    """Draws batch ``step`` of a run: the same for the same seed, whatever was drawn before."""

    def __init__(self, data: TrainingSet, *, residues: int, seed: int, masked: float, half_plain: bool) -> None:
        self.data, self.residues, self.seed = data, residues, seed
        self.masked, self.half_plain = masked, half_plain
        whole = np.arange(len(data.starts)) < data.n_sequences
        self.members = {
            kind: Members(np.where(whole | (kind == "homologs"), data.labels[kind], -1), 0.5) for kind in STREAMS
        }

    def batch(self, step: int) -> TrainingBatch:
        rng = np.random.default_rng((self.seed, step))
        longest = int(rng.choice(list(LENGTHS), p=list(LENGTHS.values())))
        n = self.residues // longest
        examples = np.concatenate([
            self.members[kind].draw(rng, max(1, round(n * share / 2)), 2) for kind, share in STREAMS.items()
        ])  # fmt: skip
        return self._crops(examples, self._begins(examples, longest, rng), longest, rng)

    def _begins(self, examples: NDArray[np.int64], longest: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """First residue of each crop; in a pair of aligned examples, one column stands at the same place of both."""
        room = np.maximum(self.data.lengths[examples] - longest, 0)
        begins = np.floor(rng.random(len(examples)) * (room + 1)).astype(np.int64)
        for first in np.flatnonzero(room[::2] | room[1::2]) * 2:
            pair = slice(first, first + 2)
            shared = self._shared(*(self.data.columns_of(example) for example in examples[pair]))
            if len(shared):
                begins[pair] = np.clip(rng.choice(shared) - rng.integers(longest), 0, room[pair])
        return begins

    @staticmethod
    def _shared(one: NDArray[np.int32], other: NDArray[np.int32]) -> NDArray[np.int64]:
        """Places of the residues that are in one column, (k, 2)."""
        columns, places, others = np.intersect1d(one, other, return_indices=True)
        found: NDArray[np.int64] = np.stack([places, others], axis=1)[columns >= 0]
        return found

    def _crops(
        self, examples: NDArray[np.int64], begins: NDArray[np.int64], longest: int, rng: np.random.Generator
    ) -> TrainingBatch:
        """Pieces of at most ``longest`` residues."""
        data = self.data
        tokens = np.full((len(examples), longest), PAD_ID, np.int64)
        secondary = np.zeros((len(examples), longest), np.int64)
        columns = np.full((len(examples), longest), -1, np.int64)
        for row, (example, begin) in enumerate(zip(examples.tolist(), begins.tolist(), strict=True)):
            taken = min(int(data.lengths[example]), longest)
            piece = slice(data.starts[example] + begin, data.starts[example] + begin + taken)
            tokens[row, :taken] = data.tokens[piece]
            secondary[row, :taken] = data.secondary[piece]
            own = data.columns_of(example)[begin : begin + taken]
            columns[row, : len(own)] = own
        targets = np.full_like(tokens, -100)
        hidden_tokens = tokens
        if self.masked > 0:
            hidden = (rng.random(tokens.shape) < self.masked) & (tokens > X_ID)
            if self.half_plain:
                hidden &= (rng.random(len(examples)) < 0.5)[:, None]
            targets[hidden] = tokens[hidden]
            hidden_tokens = np.where(hidden, MASK_ID, tokens)
        return TrainingBatch(
            tokens=torch.from_numpy(hidden_tokens),
            mask=torch.from_numpy((tokens != PAD_ID).astype(np.int64)),
            targets=torch.from_numpy(targets),
            secondary=torch.from_numpy(secondary),
            columns=torch.from_numpy(columns),
            aligned=torch.from_numpy(self._aligned(columns, rng)),
            labels={kind: torch.from_numpy(held[examples].astype(np.int64)) for kind, held in data.labels.items()},
        )

    def _aligned(self, columns: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Some pairs of residues in one column, of each pair of examples, (k, 2)."""
        found = [np.empty((0, 2), np.int64)]
        for first in range(0, len(columns), 2):
            shared = self._shared(columns[first], columns[first + 1])
            chosen = shared[rng.permutation(len(shared))[:ALIGNED_PER_PAIR]]
            found.append(chosen + np.array([first, first + 1]) * columns.shape[1])
        return np.concatenate(found)


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
        columns=torch.full(tokens.shape, -1),
        aligned=torch.empty(0, 2, dtype=torch.int64),
        labels={},
    )
