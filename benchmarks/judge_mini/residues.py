"""Measures on single residues: secondary structure with a linear head, and perplexity of hidden residues."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from benchmarks.judge_mini.intervals import interval
from benchmarks.judge_mini.measures import MINI, Measure, shares
from benchmarks.judge_mini.models import Embeds
from benchmarks.judge_mini.sets import Data, Proteins
from benchmarks.train_mini.sampling import TrainingBatch, fixed_batches
from embedstore.models.mini_encoder import MiniEncoder
from embedstore.models.mini_tokens import MASK_ID, N_TOKENS, PAD_ID, TOKEN_OF, X_ID
from embedstore.sequences.batching import batched

TRAIN_RESIDUES = 120_000
WINDOW = 15
"""Residues that the floor sees."""

_AT_ONCE = 200
_N_RESIDUES = N_TOKENS - X_ID - 1
ResidueFeatures = Callable[[Sequence[bytes]], list[NDArray[np.float32]]]


def secondary_structure(data: Data, models: dict[str, Embeds]) -> list[Measure]:
    """Q3 on resolved residues: softmax regression on residue vectors, fitted on a fixed sample of training residues.

    The floor is the same regression on the one-hot letters of 15 residues. Nothing is tuned.
    """
    train = data.split("flip_secondary_structure", "train")
    test = data.split("flip_secondary_structure", "test", asked=True)
    features: dict[str, ResidueFeatures] = {
        name: model.residues for name, model in models.items() if model.has_residues
    }
    features[f"one-hot x{WINDOW}"] = one_hot_windows
    resolved = [_resolved(test, row) for row in range(len(test))]
    of = np.array([len(places) for places in resolved])
    right: dict[str, NDArray[np.int64]] = {}
    for name, residues in features.items():
        x, y = _sample(train, residues)
        scaler = StandardScaler().fit(x)
        fitted = LogisticRegression(max_iter=300, tol=1e-3).fit(scaler.transform(x), y)
        counts: list[int] = []
        for rows in batched(range(len(test)), _AT_ONCE):
            for row, states in zip(rows, residues([test.sequences[row] for row in rows]), strict=True):
                found = fitted.predict(scaler.transform(states[resolved[row]])) if len(resolved[row]) else []
                counts.append(int((found == _states(test, row)[resolved[row]]).sum()) if len(resolved[row]) else 0)
        right[name] = np.array(counts)
    return [shares("flip_secondary_structure/test: Q3 by linear head", right, of=of)]


def _sample(train: Proteins, residues: ResidueFeatures) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Vectors and states of resolved residues, as many of each protein as its length allows it."""
    rng = np.random.default_rng(0)
    resolved = [_resolved(train, row) for row in range(len(train))]
    share = min(1.0, TRAIN_RESIDUES / sum(map(len, resolved)))
    chosen = [places[rng.random(len(places)) < share] for places in resolved]
    x: list[NDArray[np.float32]] = []
    for rows in batched(range(len(train)), _AT_ONCE):
        states = residues([train.sequences[row] for row in rows])
        x += [matrix[chosen[row]] for row, matrix in zip(rows, states, strict=True)]
    return np.concatenate(x), np.concatenate([_states(train, row)[chosen[row]] for row in range(len(train))])


def _resolved(proteins: Proteins, row: int) -> NDArray[np.int64]:
    return np.flatnonzero(np.array(list(str(proteins.columns["mask"][row]))) == "1")


def _states(proteins: Proteins, row: int) -> NDArray[np.str_]:
    return np.array(list(str(proteins.labels[row])))


def one_hot_windows(sequences: Sequence[bytes]) -> list[NDArray[np.float32]]:
    """(L, 15 x 23) of each protein: the letters around each residue, padding beyond the ends."""
    found: list[NDArray[np.float32]] = []
    for sequence in sequences:
        tokens = np.pad(TOKEN_OF[np.frombuffer(sequence, np.uint8)], WINDOW // 2, constant_values=PAD_ID)
        windows = np.lib.stride_tricks.sliding_window_view(tokens, WINDOW)
        found.append(np.eye(N_TOKENS, dtype=np.float32)[windows].reshape(len(sequence), -1))
    return found


def perplexity(data: Data, encoders: dict[str, MiniEncoder]) -> list[Measure]:
    """Of hidden residues (15%, seed 0) in three whole proteomes.

    Floors know how often residues stand in ``proteins/train``: alone, or between their two neighbours.
    """
    test = data.split("proteins", "test", asked=True)
    batches = fixed_batches(test.sequences, masked=0.15, seed=0)
    counts = _triplets(data.split("proteins", "train").sequences)
    floors = {"unigram": _unigram(counts), "neighbours": _between(counts)}
    costs = {name: _costs(batches, _by_encoder(encoder)) for name, encoder in encoders.items()}
    costs |= {name: _costs(batches, _by_table(table)) for name, table in floors.items()}
    found = Measure("proteins/test: perplexity of hidden residues", len(test))
    for name, held in costs.items():
        found.figures[name] = interval(held, _perplexity)
        if name != MINI and MINI in costs:
            found.minus[name] = interval(np.concatenate([costs[MINI], held], axis=1), _perplexity_less)
    return [found]


Scores = Callable[[TrainingBatch], torch.Tensor]
"""Natural logarithms of the probability of each hidden residue of a batch, in the order of its mask."""


def _by_encoder(encoder: MiniEncoder) -> Scores:
    def scores(batch: TrainingBatch) -> torch.Tensor:
        hidden = batch.targets >= 0
        letters = encoder.letters(encoder(batch.tokens, batch.mask)[-1][hidden])
        return -functional.cross_entropy(letters, batch.targets[hidden], reduction="none")

    return scores


def _by_table(table: NDArray[np.float64]) -> Scores:
    """From (left, residue, right) log-probabilities; a neighbour may be hidden itself, or missing."""

    def scores(batch: TrainingBatch) -> torch.Tensor:
        padded = functional.pad(batch.tokens, (1, 1), value=PAD_ID)
        hidden = batch.targets >= 0
        left, right = padded[:, :-2][hidden], padded[:, 2:][hidden]
        return torch.from_numpy(table[left.numpy(), batch.targets[hidden].numpy(), right.numpy()])

    return scores


def _costs(batches: list[TrainingBatch], scores: Scores) -> NDArray[np.float64]:
    """(proteins, 2): summed cross-entropy in nats and number of hidden residues of each protein."""
    found: list[NDArray[np.float64]] = []
    with torch.inference_mode():
        for batch in batches:
            hidden = batch.targets >= 0
            row = torch.nonzero(hidden)[:, 0].numpy()
            n_rows = len(batch.tokens)
            sums = np.bincount(row, weights=-scores(batch).numpy().astype(np.float64), minlength=n_rows)
            found.append(np.stack([sums, np.bincount(row, minlength=n_rows)], axis=1))
    return np.concatenate(found)


def _perplexity(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(sums[:, 0] / sums[:, 1])


def _perplexity_less(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return _perplexity(sums[:, :2]) - _perplexity(sums[:, 2:])


def _triplets(sequences: Sequence[bytes]) -> NDArray[np.float64]:
    """(23, 23, 23) counts of left neighbour, residue, right neighbour; a hidden neighbour stands for any."""
    counts = np.zeros(N_TOKENS**3)
    for some in batched(sequences, 10_000):
        text = np.concatenate([np.append(TOKEN_OF[np.frombuffer(s, np.uint8)], PAD_ID) for s in some])
        text = np.concatenate([[PAD_ID], text])
        numbers = (text[:-2] * N_TOKENS + text[1:-1]) * N_TOKENS + text[2:]
        counts += np.bincount(numbers, minlength=N_TOKENS**3)
    held = counts.reshape((N_TOKENS,) * 3)
    held[:, : X_ID + 1] = 0
    held[MASK_ID] = held.sum(axis=0)
    held[:, :, MASK_ID] = held.sum(axis=2)
    return held


def _between(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-probability of each of the twenty residues given its neighbours, one added to each count."""
    table = np.log(counts + 1)
    return np.asarray(table - np.log(counts.sum(axis=1, keepdims=True) + _N_RESIDUES), np.float64)


def _unigram(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same table where the neighbours say nothing."""
    alone = counts[MASK_ID, :, MASK_ID]
    share = np.log(np.maximum(alone, 1) / alone.sum())
    return np.broadcast_to(share[None, :, None], counts.shape).copy()
