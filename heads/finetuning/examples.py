"""Proteins to learn from: too long ones seen to, batches of alike lengths, an order that a seed decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.sequences.batching import plan_batches
from heads.features.base import Rows, SequenceFeatures
from heads.features.sequences import PairSequences, input_of
from heads.tasks.targets import Targets

_POOLED_BATCHES = 64
"""So many batches are sorted by length together: their proteins are alike in length, and their order still random."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Units to put into batches: proteins, proteins whose residues are rows, or pairs.

    Attributes
    ----------
    input
        ``"protein"``, ``"residue"`` or ``"pair"``.
    proteins
        Sequences; each distinct one once, but for residues, where each unit has its own.
    first, second
        (U,) int64: the protein of each unit, and its partner; ``second`` is None but for pairs.
    starts, n_rows
        (U,) int64: the first row of each unit among the targets, and how many it has.
    lengths
        (U,) int64: tokens that a unit costs, for batches.
    n_cropped, n_skipped
        Units with a protein over the limit.
    """

    input: str
    proteins: list[bytes]
    first: Rows
    second: Rows | None
    starts: Rows
    n_rows: Rows
    lengths: Rows
    n_cropped: int
    n_skipped: int

    def __len__(self) -> int:
        return len(self.first)

    def rows(self, units: Rows) -> Rows:
        """Rows of some units, in their order."""
        if self.input != "residue":
            return self.starts[units]
        return np.concatenate(
            [np.arange(start, start + n) for start, n in zip(self.starts[units], self.n_rows[units], strict=True)]
        )

    def gathered(self, units: Rows) -> tuple[Rows, Rows | None, Rows | None]:
        """Which proteins some units need, and where each unit's stand among them (None: as they are)."""
        if self.input == "residue":
            return self.first[units], None, None
        if self.second is None:
            needed, place = np.unique(self.first[units], return_inverse=True)
            return needed, place, None
        both = np.concatenate([self.first[units], self.second[units]])
        needed, place = np.unique(both, return_inverse=True)
        return needed, place[: len(units)], place[len(units) :]

    def passes(self, units: Rows, budget: int) -> list[Rows]:
        """Some units in batches of similar length under a budget of padded residues."""
        return [units[batch] for batch in plan_batches(self.lengths[units], budget=budget)]


def read_examples(X: SequenceFeatures, *, longest: int | None, long: str, what: str = "protein") -> Examples:
    """The units of a stream of sequences.

    Parameters
    ----------
    X
        Proteins, residues of proteins, or pairs.
    longest
        The limit in residues, or None.
    long
        One of `heads.finetuning.settings.LONG`.
    what
        What a unit is called in messages.

    Raises
    ------
    InputError
        If a protein is over the limit and ``long`` is ``"error"``, or none is left.
    """
    input_ = input_of(X)
    texts = [X.residues, X.partners] if isinstance(X, PairSequences) else [X.residues]
    sides = [[text.upper().encode("ascii") for text in side] for side in texts]
    whole = np.array([[len(residues) for residues in side] for side in sides], np.int64)
    over: NDArray[np.bool_] = np.zeros(whole.shape[1], np.bool_)
    if longest is not None:
        over |= (whole > longest).any(axis=0)
    if over.any() and long == "error":
        worst = int(whole.max())
        raise InputError(
            f"{int(over.sum()):,} of {len(over):,} {what}s are longer than {longest:,} residues (the longest has "
            f"{worst:,}). Leave them out (long='skip', --long skip), take their first residues (crop), or raise the "
            "limit (max_residues=, --max-residues)."
        )
    units = np.flatnonzero(~over) if long == "skip" else np.arange(len(over))
    if not len(units):
        raise InputError(f"No {what} is left under the limit of {longest} residues. Raise it (max_residues=).")
    if input_ == "residue":
        proteins, places = [sides[0][unit][:longest] for unit in units.tolist()], [np.arange(len(units))]
    else:
        numbers: dict[bytes, int] = {}
        cut = [[side[unit][:longest] for unit in units.tolist()] for side in sides]
        places = [np.array([numbers.setdefault(residues, len(numbers)) for residues in side], np.int64) for side in cut]
        proteins = list(numbers)
    sizes = np.array([len(residues) for residues in proteins], np.int64)
    starts = np.cumsum(np.concatenate([[0], whole[0][:-1]]))[units] if input_ == "residue" else units
    cost = sizes[places[0]] if len(places) == 1 else 2 * np.maximum(sizes[places[0]], sizes[places[1]])
    return Examples(
        input=input_,
        proteins=proteins,
        first=places[0],
        second=places[1] if len(places) == 2 else None,
        starts=starts.astype(np.int64),
        n_rows=sizes[places[0]] if input_ == "residue" else np.ones(len(units), np.int64),
        lengths=cost,
        n_cropped=int(over.sum()) if long == "crop" else 0,
        n_skipped=int(over.sum()) if long == "skip" else 0,
    )


def balance(examples: Examples, targets: Targets) -> NDArray[np.float64]:
    """Share with which each unit is drawn so that every class is drawn as often, (U,) float64, sum 1.

    Raises
    ------
    InputError
        For what has not one class a row.
    """
    if targets.codes is None or examples.input == "residue":
        target_type = "residues" if examples.input == "residue" else f"targets of kind {targets.target_type!r}"
        raise InputError(f"balanced draws rows by their class, and {target_type} have not one each. Leave it out.")
    codes = targets.codes[examples.starts]
    counts = np.bincount(codes[codes >= 0], minlength=len(targets.classes))
    shares: NDArray[np.float64] = np.where(codes >= 0, 1.0 / np.maximum(counts[codes], 1), 0.0)
    shares /= shares.sum()
    return shares


def epoch_batches(
    lengths: Rows, *, batch_size: int, seed: int, epoch: int, shares: NDArray[np.float64] | None = None
) -> list[Rows]:
    """The batches of an epoch: a function of its arguments alone, so that a run can go on in the middle of it.

    Parameters
    ----------
    lengths
        (U,) int64.
    batch_size
        Units a batch; the last one may have less.
    seed, epoch
        Of the order.
    shares
        (U,) shares to draw with, with replacement; None: each unit once.

    Examples
    --------
    >>> found = epoch_batches(np.array([3, 9, 4, 8, 5]), batch_size=2, seed=0, epoch=0)
    >>> sorted(map(len, found)), sorted(int(unit) for batch in found for unit in batch)
    ([1, 2, 2], [0, 1, 2, 3, 4])
    """
    rng = np.random.default_rng([seed, epoch])
    n = len(lengths)
    order = rng.permutation(n) if shares is None else rng.choice(n, size=n, p=shares)
    batches = []
    for start in range(0, n, _POOLED_BATCHES * batch_size):
        pool = order[start : start + _POOLED_BATCHES * batch_size]
        alike = pool[np.argsort(-lengths[pool], kind="stable")]
        batches += [alike[first : first + batch_size] for first in range(0, len(alike), batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]
