"""Boosted trees on position means, BLOSUM62 and residues, for variants of one protein."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import Head, LabelledExamples
from heads.features.base import Features, Float32, sequences_of
from heads.sequence_baselines.boosted_trees import BoostedTrees
from heads.sequence_baselines.variants import aligned_codes, blosum62, consensus

_PRIOR_ROWS = 1.0
"""Weight of the overall mean in a position's mean, in variants."""

_NEIGHBOURS = (-4, -3, -2, -1, 1, 2, 3, 4)


class PositionMeansHead(Head):
    """Boosted trees on position means, BLOSUM62 and residues, for variants of one protein, all of one length.

    The wild type is the most frequent residue of each position. A position's mean is over all training variants that
    differ there, without the variant itself. Features of several mutations are combined by sum, minimum and mean.

    Parameters
    ----------
    n_trees, depth, learning_rate, min_leaf
        Of the trees.
    seed
        Of the 90% of rows that each tree is fitted on.
    target_type
        What is predicted.

    Attributes
    ----------
    wild_type_
        (L,) uint8 codes.
    sums_, counts_
        (L,) float64 sum of the centred values, and number, of the training variants that differ at a position.
    trees_
        The trees.
    """

    target_types = ("regression",)

    wild_type_: NDArray[np.uint8]
    sums_: NDArray[np.float64]
    counts_: NDArray[np.float64]
    trees_: BoostedTrees

    def __init__(
        self,
        *,
        n_trees: int = 300,
        depth: int = 5,
        learning_rate: float = 0.05,
        min_leaf: int = 5,
        seed: int = 0,
        target_type: str = "regression",
    ) -> None:
        self.n_trees = n_trees
        self.depth = depth
        self.learning_rate = learning_rate
        self.min_leaf = min_leaf
        self.seed = seed
        self.target_type = target_type

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        if min(self.n_trees, self.depth, self.min_leaf) < 1 or not self.learning_rate > 0:
            raise InputError(
                f"n_trees, depth, learning_rate and min_leaf are {self.n_trees}, {self.depth}, {self.learning_rate} "
                f"and {self.min_leaf}; expected at least 1, and a rate of more than 0."
            )
        codes = aligned_codes(sequences_of(train.features).residues)
        values = train.targets.require_values()
        # Standardised, because trees on large numbers lose precision.
        self._centre, self._scale = float(values.mean()), float(values.std()) or 1.0
        scaled = (values - self._centre) / self._scale
        self.wild_type_ = consensus(codes)
        differs = codes != self.wild_type_
        self.sums_, self.counts_ = scaled @ differs, differs.sum(axis=0).astype(np.float64)
        self.trees_ = BoostedTrees.fit(
            self._features(codes, scaled),
            scaled,
            seed=self.seed,
            n_estimators=self.n_trees,
            max_depth=self.depth,
            learning_rate=self.learning_rate,
            min_samples_leaf=self.min_leaf,
            subsample=0.9,
            max_features=0.5,
        )

    def _features(self, codes: NDArray[np.uint8], own: NDArray[np.float64] | None = None) -> Float32:
        """(N, F) float32; `own` are the values of training variants, which are left out of their own means."""
        length = len(self.wild_type_)
        near = np.zeros(length)
        means = self.sums_ / (self.counts_ + _PRIOR_ROWS)
        for step in _NEIGHBOURS:
            near += np.where(
                (np.arange(length) + step >= 0) & (np.arange(length) + step < length), np.roll(means, -step), 0
            ) / len(_NEIGHBOURS)
        blosum = blosum62()
        out = np.zeros((len(codes), 1 + 4 * 3 + 42), np.float32)
        for row, variant in enumerate(codes):
            positions = np.flatnonzero(variant != self.wild_type_)
            if not len(positions):
                continue
            value, n_own = (0.0, 0) if own is None else (own[row], 1)
            mean = (self.sums_[positions] - value) / (self.counts_[positions] - n_own + _PRIOR_ROWS)
            score = blosum[self.wild_type_[positions], variant[positions]]
            # Neighbouring means may hold the variant's own value, if it differs there too; the effect is small.
            features = np.stack([mean, near[positions], score, positions])
            out[row, 0] = len(positions)
            out[row, 1:13] = np.concatenate([features.sum(axis=1), features.min(axis=1), features.mean(axis=1)])
            out[row, 13:34] = np.bincount(self.wild_type_[positions], minlength=21)
            out[row, 34:] = np.bincount(variant[positions], minlength=21)
        return out

    def _outputs(self, X: Features) -> Iterator[Float32]:
        features = sequences_of(X)
        for rows, _ in features.blocks():
            codes = aligned_codes(features.residues[rows], len(self.wild_type_), first_row=rows.start)
            values = self._centre + self._scale * self.trees_.predict(self._features(codes))
            yield values.astype(np.float32)[:, None]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        means: dict[str, NDArray[Any]] = {"wild_type": self.wild_type_, "sums": self.sums_, "counts": self.counts_}
        return means | {name: getattr(self.trees_, name) for name in BoostedTrees._fields}

    def settings(self) -> dict[str, Any]:
        """Mean and standard deviation of the training values."""
        return {"centre": self._centre, "scale": self._scale}

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.n_features_in_ = 0
        self.wild_type_, self.sums_, self.counts_ = arrays["wild_type"], arrays["sums"], arrays["counts"]
        self._centre, self._scale = settings["centre"], settings["scale"]
        self.trees_ = BoostedTrees.restore(arrays)
