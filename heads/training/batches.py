"""Which rows go together: batches of similar length, in an order drawn anew each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from embedstore.sequences.batching import plan_batches
from heads.training.tokens import Tokens

Rows: TypeAlias = NDArray[np.int64]
Collate: TypeAlias = Callable[[Tokens, Rows], Any]
"""Makes what a network reads of some rows; it has a method ``to(device)``."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """Sequences side by side.

    Attributes
    ----------
    codes
        (n, T) int64, 0 beyond the end; the longest first.
    mask
        (n, T) bool: where tokens are.
    lengths
        (n,) int64, on the CPU.
    """

    codes: torch.Tensor
    mask: torch.Tensor
    lengths: torch.Tensor

    def to(self, device: torch.device) -> TokenBatch:
        """The same on a device."""
        return TokenBatch(self.codes.to(device), self.mask.to(device), self.lengths)


def collate_tokens(tokens: Tokens, rows: Rows) -> TokenBatch:
    """Some rows side by side."""
    codes, here = tokens.padded(rows)
    return TokenBatch(torch.from_numpy(codes), torch.from_numpy(here), torch.from_numpy(here.sum(1)))


def plan_epoch(lengths: Rows, *, batch_size: int, pool_batches: int, seed: Sequence[int]) -> list[Rows]:
    """Each row once, in batches of `batch_size` rows of similar length; the same for the same seed.

    Rows are shuffled, sorted by length within pools of `pool_batches` batches, and the batches shuffled again.

    >>> sorted(np.concatenate(plan_epoch(np.array([3, 9, 2, 3]), batch_size=2, pool_batches=2, seed=(0, 0))).tolist())
    [0, 1, 2, 3]
    """
    rng = np.random.default_rng(list(seed))
    order = rng.permutation(len(lengths))
    pool = pool_batches * batch_size
    batches = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        batches += [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    return [batches[number] for number in rng.permutation(len(batches))]


def within_budget(rows: Rows, lengths: Rows, *, budget: int) -> list[Rows]:
    """The rows in parts of at most `budget` residues, padding counted; the longest first."""
    return [rows[part] for part in plan_batches(lengths[rows], budget=budget)]
