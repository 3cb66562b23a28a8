"""The votes of a query's neighbours for the labels that they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.numerics import log_odds
from embedstore.types import DIGEST_BYTES, Digests
from heads.features.base import Float32
from heads.tasks.keys import sortable_keys
from heads.vectors.fit_knn import weights_of
from heads.vectors.neighbour_targets import KeyTargets

N_MONOTONE = 5
"""The first so many of `LabelVotes.features` must not lower the probability."""

_MAX_COSINE = 0.9999
"""Cosines are clipped to it before Fisher's z is taken, which is infinite at 1."""

_SLICE = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelTable(KeyTargets):
    """Distinct keys and their labels: the targets of `knn`, with the row and the size of each label.

    Attributes
    ----------
    rows
        (E,) int64 first row of the key that has the label.
    sizes
        (C,) int64 number of keys that have each label.
    """

    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def has_label(self, labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which keys have any of the labels marked in (C,), (U,) bool."""
        marked = np.add.reduceat(labels[self.columns].astype(np.int64), self.starts[:-1])
        return np.asarray(marked > 0)

    def subset(self, keys: NDArray[np.bool_]) -> LabelTable:
        """The table of the keys marked in (U,), with the same label codes."""
        counts = np.diff(self.starts)
        entries = np.repeat(keys, counts)
        return LabelTable(
            digests=self.digests[keys],
            starts=np.append(0, np.cumsum(counts[keys])),
            columns=self.columns[entries],
            amounts=self.amounts[entries],
            centre=self.centre,
            rows=self.rows[entries],
            sizes=np.bincount(self.columns[entries], minlength=len(self.sizes)),
        )


def label_table(
    digests: Digests, label_sets: Sequence[Sequence[int]], n_labels: int, rows: NDArray[np.int64] | None = None
) -> LabelTable:
    """Group examples by key.

    Parameters
    ----------
    digests
        (N, 24) uint8 keys.
    label_sets
        Label codes of each example, distinct within an example.
    n_labels
        C.
    rows
        (N,) row of each example, for `LabelTable.rows`; None for 0 to N - 1.

    Examples
    --------
    >>> digests = np.zeros((3, 24), np.uint8)
    >>> digests[1] = 7
    >>> table = label_table(digests, [[0], [1, 2], [2]], 3)
    >>> table.starts.tolist(), table.columns.tolist(), table.amounts.tolist(), table.rows.tolist()
    ([0, 2, 4], [0, 2, 1, 2], [0.5, 0.5, 1.0, 1.0], [0, 2, 1, 1])
    """
    distinct, key, n_examples = np.unique(sortable_keys(digests), return_inverse=True, return_counts=True)
    counts = np.fromiter(map(len, label_sets), np.int64, len(label_sets))
    example = np.repeat(np.arange(len(label_sets)), counts)
    label = np.fromiter((code for labels in label_sets for code in labels), np.int64, int(counts.sum()))
    order = np.lexsort((example, label, key[example]))
    pair = key[example][order] * n_labels + label[order]
    pairs, first, times = np.unique(pair, return_index=True, return_counts=True)
    owner, columns = np.divmod(pairs, n_labels)
    sizes = np.bincount(columns, minlength=n_labels)
    return LabelTable(
        digests=distinct.view(np.uint8).reshape(-1, DIGEST_BYTES),
        starts=np.searchsorted(owner, np.arange(len(distinct) + 1)).astype(np.int64),
        columns=columns,
        amounts=times / n_examples[owner],
        centre=sizes / max(1, len(distinct)),
        rows=(example if rows is None else rows[example])[order][first],
        sizes=sizes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelVotes:
    """One entry for each query and each label that its neighbours have, sorted by query and then by label.

    Attributes
    ----------
    query, label
        (m,) int64.
    vote
        (m,) float64 share of the neighbours' weight that has the label.
    score
        (m,) float32 similarity of the nearest neighbour with the label.
    runner_up_score
        (m,) float32 similarity of the nearest neighbour without it; of the last neighbour where all have it.
    agreement
        (m,) float64 number of neighbours with the label, as a share of how many could have it.
    nearest
        (m,) int64 index, among the query's neighbours, of the nearest with the label.
    row
        (m,) int64 row of the task that this neighbour has the label from.
    has_label
        (m, k) bool: which neighbours have the label.
    size
        (m,) int64 number of keys that have the label.
    """

    query: NDArray[np.int64]
    label: NDArray[np.int64]
    vote: NDArray[np.float64]
    score: Float32
    runner_up_score: Float32
    agreement: NDArray[np.float64]
    nearest: NDArray[np.int64]
    row: NDArray[np.int64]
    has_label: NDArray[np.bool_]
    size: NDArray[np.int64]

    def subset(self, entries: NDArray[Any] | slice) -> LabelVotes:
        """Some of the entries, by index or mask."""
        return LabelVotes(**{name: getattr(self, name)[entries] for name in self.__slots__})

    def top_label(self) -> NDArray[np.int64]:
        """Entry with the highest vote of each query, (n,); ties go to the nearer, then to the first label."""
        order = np.lexsort((self.label, self.nearest, -self.vote.round(12), self.query))
        return order[np.unique(self.query[order], return_index=True)[1]]

    def within_label_similarity(self, vectors: Float32) -> Float32:
        """Similarity of the nearest neighbour with the label to the most similar other one with it, (m,) float32.

        NaN where there is no other. ``vectors`` are those of the neighbours of each query, (n, k, D) of norm 1.
        """
        out = np.full(len(self.query), np.nan, np.float32)
        for start in range(0, len(out), _SLICE):
            part = self.subset(slice(start, start + _SLICE))
            entries = np.arange(len(part.query))
            near = vectors[part.query]
            # A sum instead of a matrix product, whose bits would depend on the batch.
            similarity = np.einsum("mkd,md->mk", near, near[entries, part.nearest])
            others = part.has_label.copy()
            others[entries, part.nearest] = False
            best = np.where(others, similarity, -np.inf).max(axis=1)
            out[start : start + _SLICE] = np.where(others.any(axis=1), best, np.nan)
        return out

    def features(self, within_label_similarity: Float32) -> NDArray[np.float64]:
        """Features of the calibration, (m, 7).

        Fisher's z of the similarity; its lead over the runner-up; the log-odds of the vote; the agreement; the lead
        over the similarity within the label; the logarithm of the label's size; whether the neighbour is the only one
        with the label.
        """
        values = (self.score, self.runner_up_score, within_label_similarity)
        score, runner_up, within = (
            np.arctanh(np.clip(value.astype(np.float64), -_MAX_COSINE, _MAX_COSINE)) for value in values
        )
        is_single = np.isnan(within_label_similarity)
        return np.stack(
            [
                score,
                score - runner_up,
                log_odds(self.vote, smallest=1e-3),
                self.agreement,
                np.where(is_single, 0.0, score - within),
                np.log(np.maximum(self.size, 1)),
                is_single,
            ],
            axis=1,
        )


def vote(scores: Float32, positions: NDArray[np.int64], table: LabelTable, *, sharpness: float) -> LabelVotes:
    """The votes of neighbours, each with the weight ``exp(sharpness * (similarity - the best similarity))``.

    Parameters
    ----------
    scores
        (n, k) float32 cosine similarities, the nearest first; k of at least 1.
    positions
        (n, k) int64 of the neighbours in `table`.
    table
        Their labels.
    sharpness
        How fast weights fall with distance; 0: all are equal.
    """
    k = scores.shape[1]
    weights = weights_of(scores, sharpness)
    weights /= weights.sum(axis=1, keepdims=True)
    source, entry = table.entries(positions.ravel())
    query, place, code = source // k, source % k, table.columns[entry]
    n_labels = len(table.sizes)
    order = np.argsort(query * n_labels + code, kind="stable")
    pairs, first, count = np.unique((query * n_labels + code)[order], return_index=True, return_counts=True)
    owner, label = np.divmod(pairs, n_labels)
    nearest = order[first]
    has_label = np.zeros((len(pairs), k), np.bool_)
    has_label[np.repeat(np.arange(len(pairs)), count), place[order]] = True
    runner_up = np.where(has_label.all(axis=1), k - 1, np.argmin(has_label, axis=1))
    weight = weights.ravel()[source] * table.amounts[entry]
    score = scores[owner, place[nearest]]
    return LabelVotes(
        query=owner,
        label=label,
        vote=np.add.reduceat(weight[order], first) if len(pairs) else np.zeros(0),
        score=score,
        runner_up_score=np.minimum(scores[owner, runner_up], score),
        agreement=count / np.minimum(k, np.maximum(table.sizes[label], 1)),
        nearest=place[nearest],
        row=table.rows[entry[nearest]],
        has_label=has_label,
        size=table.sizes[label],
    )
