"""What the neighbours of a protein say of each label that they have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.types import DIGEST_BYTES, Digests
from heads.features.base import Float32, sortable_keys
from heads.tasks.targets import Codes

_CLOSEST = 0.9999
"""Cosines above it count as this one: the next step would be infinite."""

_SLICE = 256

_VOTE_ROOM = 1e-3
"""Votes are kept this far from 0 and 1 before their log-odds are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """Distinct keys and the labels of each; a key may stand in several rows, and a row may have several labels.

    Attributes
    ----------
    digests
        (U, 24) uint8, distinct, sorted.
    starts
        (U + 1,) int64: key u has the entries ``starts[u]:starts[u + 1]``.
    codes
        (E,) int64 label of each entry, distinct within a key.
    shares
        (E,) float64 share of the key's rows that have the label.
    rows
        (E,) int64 first row of the key that has the label.
    sizes
        (C,) int64 keys that have each label.
    """

    digests: Digests
    starts: NDArray[np.int64]
    codes: Codes
    shares: NDArray[np.float64]
    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def find(self, digests: Digests) -> NDArray[np.int64]:
        """Position of each key of (..., 24), (...); every key must be there."""
        return np.searchsorted(sortable_keys(self.digests), sortable_keys(digests))

    def entries(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Entries of keys at flat positions: which position each comes from (m,), and which entry it is (m,)."""
        counts = self.starts[positions + 1] - self.starts[positions]
        source = np.repeat(np.arange(len(positions)), counts)
        within = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
        return source, self.starts[positions][source] + within

    def having(self, labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which keys have any of the labels marked in (C,), (U,) bool."""
        marked = np.add.reduceat(labels[self.codes].astype(np.int64), self.starts[:-1])
        return np.asarray(marked > 0)

    def take(self, keys: NDArray[np.bool_]) -> LabelTable:
        """The table of some of the keys, under the same label codes."""
        counts = np.diff(self.starts)
        entries = np.repeat(keys, counts)
        codes = self.codes[entries]
        return LabelTable(
            digests=self.digests[keys],
            starts=np.append(0, np.cumsum(counts[keys])),
            codes=codes,
            shares=self.shares[entries],
            rows=self.rows[entries],
            sizes=np.bincount(codes, minlength=len(self.sizes)),
        )

    def of_rows(self, numbers: NDArray[np.int64]) -> LabelTable:
        """The table with `rows` counted among others: row i is ``numbers[i]``."""
        return replace(self, rows=numbers[self.rows])


def label_table(digests: Digests, sets: Sequence[Sequence[int]], n_labels: int) -> LabelTable:
    """Group rows by key.

    Parameters
    ----------
    digests
        (N, 24) uint8.
    sets
        Label codes of each row, distinct within a row.
    n_labels
        C.

    Examples
    --------
    >>> digests = np.zeros((3, 24), np.uint8)
    >>> digests[1] = 7
    >>> table = label_table(digests, [[0], [1, 2], [2]], 3)
    >>> table.starts.tolist(), table.codes.tolist(), table.shares.tolist(), table.rows.tolist()
    ([0, 2, 4], [0, 2, 1, 2], [0.5, 0.5, 1.0, 1.0], [0, 2, 1, 1])
    """
    distinct, key = np.unique(sortable_keys(digests), return_inverse=True)
    counts = np.fromiter(map(len, sets), np.int64, len(sets))
    row = np.repeat(np.arange(len(sets)), counts)
    code = np.fromiter((code for labels in sets for code in labels), np.int64, int(counts.sum()))
    order = np.lexsort((row, code, key[row]))
    pair = key[row][order] * n_labels + code[order]
    pairs, first, times = np.unique(pair, return_index=True, return_counts=True)
    owner, codes = np.divmod(pairs, n_labels)
    return LabelTable(
        digests=distinct.view(np.uint8).reshape(-1, DIGEST_BYTES),
        starts=np.searchsorted(owner, np.arange(len(distinct) + 1)).astype(np.int64),
        codes=codes,
        shares=times / np.bincount(key, minlength=len(distinct))[owner],
        rows=row[order][first],
        sizes=np.bincount(codes, minlength=n_labels),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelVotes:
    """The labels that the neighbours of each query have: one entry a query and label, by query and then by label.

    Attributes
    ----------
    query, label
        (m,) int64.
    vote
        (m,) float64 share of the neighbours' weight that has the label.
    score
        (m,) float32 similarity of the nearest neighbour with the label.
    rival
        (m,) float32 similarity of the nearest neighbour without it; of the last neighbour where all have it.
    agreement
        (m,) float64 share of the neighbours that have it, of as many as could.
    place
        (m,) int64 which neighbour is the nearest with it.
    row
        (m,) int64 row of the task that this neighbour has the label from.
    having
        (m, k) bool: which neighbours have the label.
    size
        (m,) int64 keys that have the label.
    """

    query: NDArray[np.int64]
    label: NDArray[np.int64]
    vote: NDArray[np.float64]
    score: Float32
    rival: Float32
    agreement: NDArray[np.float64]
    place: NDArray[np.int64]
    row: NDArray[np.int64]
    having: NDArray[np.bool_]
    size: NDArray[np.int64]

    def take(self, entries: NDArray[Any] | slice) -> LabelVotes:
        """Some of the entries, by number or mask."""
        return LabelVotes(**{name: getattr(self, name)[entries] for name in self.__slots__})

    def moved(self, by: int) -> LabelVotes:
        """The same ballots of queries with other numbers."""
        return replace(self, query=self.query + by)

    def winners(self) -> NDArray[np.int64]:
        """Entry with the most votes of each query, (n,); the nearer, and then the first label, among equals."""
        order = np.lexsort((self.label, self.place, -self.vote.round(12), self.query))
        return order[np.unique(self.query[order], return_index=True)[1]]

    def cohesion(self, vectors: Float32) -> Float32:
        """Similarity of the nearest neighbour with the label to the most similar other one with it, (m,) float32.

        NaN where there is no other. ``vectors`` are those of the neighbours of each query, (n, k, D) of norm 1.
        """
        found = np.full(len(self.query), np.nan, np.float32)
        for start in range(0, len(found), _SLICE):
            part = self.take(slice(start, start + _SLICE))
            rows = np.arange(len(part.query))
            near = vectors[part.query]
            # A sum and not a matrix product, whose bits would depend on the batch.
            likeness = np.einsum("mkd,md->mk", near, near[rows, part.place])
            others = part.having.copy()
            others[rows, part.place] = False
            best = np.where(others, likeness, -np.inf).max(axis=1)
            found[start : start + _SLICE] = np.where(others.any(axis=1), best, np.nan)
        return found

    def features(self, cohesion: Float32) -> NDArray[np.float64]:
        """What a probability is learned from, (m, 7): it grows with the first `N_RISING`.

        Fisher's z of the similarity; its lead over the best other; the log-odds of the vote; the agreement; the lead of
        the query over what members of the label are to each other; the logarithm of the label's size; and whether the
        neighbour is the only one with the label.
        """
        score, rival, lead = (_fisher(values) for values in (self.score, self.rival, cohesion))
        alone = np.isnan(cohesion)
        vote = np.clip(self.vote, _VOTE_ROOM, 1 - _VOTE_ROOM)
        return np.stack(
            [
                score,
                score - rival,
                np.log(vote / (1 - vote)),
                self.agreement,
                np.where(alone, 0.0, score - lead),
                np.log(np.maximum(self.size, 1)),
                alone,
            ],
            axis=1,
        )


N_RISING = 5
"""Of `Ballots.features`, those with which a probability must grow."""


def vote(scores: Float32, positions: NDArray[np.int64], table: LabelTable, *, sharpness: float) -> LabelVotes:
    """Let neighbours vote, each with weight ``exp(sharpness * (similarity - the best similarity))``.

    Parameters
    ----------
    scores
        (n, k) float32 cosine similarities, the nearest first; k of at least 1.
    positions
        (n, k) int64 of the neighbours in `table`.
    table
        Their labels.
    sharpness
        How fast weights fall; 0 lets all count the same.
    """
    k = scores.shape[1]
    weights = np.exp(sharpness * (scores.astype(np.float64) - scores[:, :1]))
    weights /= weights.sum(axis=1, keepdims=True)
    source, entry = table.entries(positions.ravel())
    query, place, code = source // k, source % k, table.codes[entry]
    n_labels = len(table.sizes)
    order = np.argsort(query * n_labels + code, kind="stable")
    pairs, first, count = np.unique((query * n_labels + code)[order], return_index=True, return_counts=True)
    owner, label = np.divmod(pairs, n_labels)
    nearest = order[first]
    has = np.zeros((len(pairs), k), np.bool_)
    has[np.repeat(np.arange(len(pairs)), count), place[order]] = True
    # The first neighbour without the label; where there is none, the last neighbour.
    other = np.where(has.all(axis=1), k - 1, np.argmin(has, axis=1))
    weight = weights.ravel()[source] * table.shares[entry]
    return LabelVotes(
        query=owner,
        label=label,
        vote=np.add.reduceat(weight[order], first) if len(pairs) else np.zeros(0),
        score=scores[owner, place[nearest]],
        rival=np.minimum(scores[owner, other], scores[owner, place[nearest]]),
        agreement=count / np.minimum(k, np.maximum(table.sizes[label], 1)),
        place=place[nearest],
        row=table.rows[entry[nearest]],
        having=has,
        size=table.sizes[label],
    )


def _fisher(similarity: Float32) -> NDArray[np.float64]:
    z: NDArray[np.float64] = np.arctanh(np.clip(similarity.astype(np.float64), -_CLOSEST, _CLOSEST))
    return z
