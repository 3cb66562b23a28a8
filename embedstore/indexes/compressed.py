"""Compressed index types: trained on a sample once, filled in segments, candidates rescored with the true vectors."""

from __future__ import annotations

import math
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from embedstore.indexes.base import Neighbours, check_queries, unit_rows
from embedstore.indexes.flat import Blocks, FlatIndex
from embedstore.indexes.pca import Reduction
from embedstore.indexes.rerank import NO_ROW, Take, as_float32, rerank
from embedstore.types import Digests, Vectors

FEWEST_ROWS = 1024
"""Nothing is trained for fewer rows: exact search takes a millisecond."""

_TRAINED = "trained.faiss"

_FEWEST_TRAINED, _MOST_TRAINED = 1 << 14, 1 << 17
_TRAINED_A_ROOT = 64

TUNED_K = 10
"""Neighbours for which the effort is chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchParams:
    """How hard a search looks for ten neighbours.

    ``probes`` is the number of lists looked into, or the width of the search in a graph; ``candidates`` the number of
    rows that are scored with their true vectors.
    """

    probes: int
    candidates: int

    def to_dict(self) -> dict[str, int]:
        """The effort as JSON takes it."""
        return asdict(self)

    def for_k(self, k: int) -> SearchParams:
        """The effort for k neighbours: candidates grow as k beyond ten, probes as its square root."""
        factor = max(1.0, k / TUNED_K)
        return SearchParams(probes=round(self.probes * factor**0.5), candidates=round(self.candidates * factor))


class Segment(Protocol):
    """Rows of an index that lie in files of their own; numbered from 0."""

    n_rows: int

    def candidates(
        self, reduced: NDArray[np.float32], effort: SearchParams, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Approximate distances (n, c) and row numbers (n, c) near to reduced queries (n, d); `NO_ROW` fills up."""
        ...


class SegmentBuilder(Protocol):
    """Takes rows in order; holds codes and no vectors."""

    def add(self, vectors: Vectors) -> None:
        """Take the next vectors, (n, D)."""
        ...

    def merge(self, folder: Path) -> None:
        """Take the rows of another segment of the same training, in their order."""
        ...

    def write(self, folder: Path) -> None:
        """Write the files of the segment."""
        ...


class TrainedIndex(Protocol):
    """An index type trained on a sample: all segments share it.

    Attributes
    ----------
    mapped
        Names of the files of a segment that are mapped, of any size, and in which a flipped bit does no harm but to
        candidates: they are not read whole before a search.
    row_bytes
        Memory that a builder needs for a row, at most.
    """

    mapped: ClassVar[tuple[str, ...]]
    row_bytes: ClassVar[int]
    reduction: Reduction

    @classmethod
    def train(cls, sample: Vectors, *, n_rows: int, seed: int) -> Self:
        """Learn from a sample (n, D) for an index of about ``n_rows`` rows."""
        ...

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write` wrote."""
        ...

    def write(self, folder: Path) -> None:
        """Write it into a folder, byte for byte the same for the same training."""
        ...

    def builder(self) -> SegmentBuilder:
        """Start a segment."""
        ...

    def open(self, folder: Path) -> Segment:
        """Open a segment."""
        ...

    def efforts(self, n_rows: int) -> Sequence[SearchParams]:
        """Search efforts to choose from, the cheapest first."""
        ...

    def usual(self, n_rows: int) -> SearchParams:
        """The effort that is used where none was chosen."""
        ...

    def parameters(self) -> dict[str, Any]:
        """Parameters for people, as JSON takes them."""
        ...

    def distortion(self, sample: Vectors) -> float:
        """Mean squared distance of unit vectors from what the index keeps of them."""
        ...


def search_segments(
    queries: NDArray[np.float32],
    segments: Sequence[tuple[TrainedIndex, Segment, NDArray[np.bool_] | None, NDArray[np.int64] | None]],
    effort: SearchParams,
) -> NDArray[np.int64]:
    """Candidates of each query in several segments of one training, the nearest as the codes tell.

    Parameters
    ----------
    queries
        (n, D) float32, of unit length.
    segments
        Each with what it was trained with, which of its rows count, (rows,) bool or None for all, and the numbers that
        its rows are to have, (rows,) int64 or None for their own.
    effort
        How hard to look; all segments together give so many candidates.

    Returns
    -------
    (n, c) int64 numbers of rows; `NO_ROW` where there is none.
    """
    reduced = segments[0][0].reduction.of_unit(queries)
    distances, rows = [], []
    for _, segment, allowed, numbers in segments:
        near, near_rows = segment.candidates(reduced, effort, allowed)
        distances.append(np.where(near_rows == NO_ROW, np.inf, near))
        rows.append(near_rows if numbers is None else np.where(near_rows == NO_ROW, NO_ROW, numbers[near_rows]))
    if len(segments) == 1:
        return rows[0]
    near, near_rows = np.concatenate(distances, axis=1), np.concatenate(rows, axis=1)
    best = np.argsort(near, axis=1, kind="stable")[:, : effort.candidates]
    return np.take_along_axis(near_rows, best, axis=1)


def sample_size(n_rows: int) -> int:
    """Rows to learn from: 64 for each of the about sqrt(N) lists; at least 16,384 and at most 131,072."""
    return min(n_rows, _MOST_TRAINED, max(_FEWEST_TRAINED, round(_TRAINED_A_ROOT * math.sqrt(n_rows))))


def sample_rows(n_rows: int, n_wanted: int, seed: int) -> NDArray[np.int64]:
    """Numbers of distinct rows, ascending, (min(n_rows, n_wanted),) int64."""
    if n_wanted >= n_rows:
        return np.arange(n_rows)
    # Distinct draws from a range without a permutation of all of it.
    sample = np.random.default_rng(seed).choice(n_rows, n_wanted, replace=False, shuffle=False)
    return np.sort(sample)


def no_candidates(n_queries: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distances and rows where there is nothing to be found, (n, width) each."""
    return np.empty((n_queries, width), np.float32), np.full((n_queries, width), NO_ROW)


def known_rows(rows: NDArray[np.int64], n_rows: int) -> NDArray[np.int64]:
    """Row numbers as FAISS gives them, with `NO_ROW` for what no intact index can hold."""
    return np.where((rows >= 0) & (rows < n_rows), rows, NO_ROW)


def read_sample(blocks: Iterable[tuple[Digests, Vectors]], rows: NDArray[np.int64]) -> Vectors:
    """The vectors of ascending row numbers, read from a stream of all."""
    blocks_of_rows, start = [], 0
    for _, vectors in blocks:
        first, last = np.searchsorted(rows, (start, start + len(vectors)))
        blocks_of_rows.append(np.asarray(vectors[rows[first:last] - start]))
        start += len(vectors)
    return np.concatenate(blocks_of_rows)


class FaissTrained(ABC):
    """The training of a FAISS index: a reduction, and the empty FAISS index.

    Parameters
    ----------
    reduction
        To fewer dimensions.
    blob
        The empty FAISS index, serialised.
    """

    def __init__(self, reduction: Reduction, blob: NDArray[np.uint8]) -> None:
        self.reduction = reduction
        self._blob = blob

    @classmethod
    def read(cls, folder: Path) -> Self:
        """See `TrainedIndex.read`."""
        return cls(Reduction.read(folder), np.fromfile(folder / _TRAINED, np.uint8))

    def write(self, folder: Path) -> None:
        """See `TrainedIndex.write`."""
        self.reduction.write(folder)
        self._blob.tofile(folder / _TRAINED)

    @abstractmethod
    def reconstruct(self, reduced: NDArray[np.float32]) -> NDArray[np.float32]:
        """What compressing leaves of reduced vectors, (n, d)."""

    def distortion(self, sample: Vectors) -> float:
        """See `TrainedIndex.distortion`."""
        unit = unit_rows(as_float32(sample))
        reduced = self.reduction.of_unit(unit)
        left_out = np.square(unit - self.reduction.mean, dtype=np.float64).sum() - np.square(reduced).sum()
        return float(left_out + np.square(reduced - self.reconstruct(reduced), dtype=np.float64).sum()) / len(sample)


class CompressedIndex:
    """A compressed index in memory over a stream, made and searched as every index is; see `FlatIndex`.

    The vectors are not kept: candidates are read again to be scored. `embedstore.indexes.manage` builds stored indexes
    from the same parts.

    Parameters
    ----------
    blocks
        Opens a stream of keys and vectors; read twice at once, and for each batch of queries without ``take``.
    n_rows
        Rows in the stream.
    dim
        D.
    take
        Vectors of rows by number, where that is quicker than reading the stream.
    effort
        How hard to look; by default enough for a recall of 0.99 on vectors that fall into clusters.
    seed
        Of the training sample and the training.
    """

    trained: ClassVar[type[TrainedIndex]]

    def __init__(
        self,
        blocks: Blocks,
        *,
        n_rows: int,
        dim: int,
        take: Take | None = None,
        effort: SearchParams | None = None,
        seed: int = 0,
    ) -> None:
        self._blocks = blocks
        self.n_rows = n_rows
        self.dim = dim
        self._take = take or self._read_again
        self._flat = FlatIndex(blocks, n_rows=n_rows, dim=dim) if n_rows < FEWEST_ROWS else None
        if self._flat is not None:
            return
        sample = read_sample(blocks(), sample_rows(n_rows, sample_size(n_rows), seed))
        self._trained = self.trained.train(sample, n_rows=n_rows, seed=seed)
        self._effort = effort or self._trained.usual(n_rows)
        builder = self._trained.builder()
        digests = []
        for keys, vectors in blocks():
            digests.append(np.array(keys))
            builder.add(vectors)
        self._digests: Digests = np.concatenate(digests)
        with tempfile.TemporaryDirectory(prefix="embedstore-") as folder:
            builder.write(Path(folder))
            # What is mapped stays readable when its name is gone.
            self._segment = self._trained.open(Path(folder))

    def search(self, queries: Vectors, k: int) -> Neighbours:
        """Up to ``min(k, n_rows)`` near rows of each of the (n, D) queries, with their true scores.

        Raises
        ------
        InputError
            If the queries do not fit, or ``k`` < 1.
        """
        if self._flat is not None:
            return self._flat.search(queries, k)
        check_queries(queries, k, self.dim)
        k = min(k, self.n_rows)
        effort = self._effort.for_k(k)
        if effort.candidates * 4 >= self.n_rows:
            return FlatIndex(self._blocks, n_rows=self.n_rows, dim=self.dim, memory_bytes=0).search(queries, k)
        unit_queries = unit_rows(queries)
        candidates = search_segments(unit_queries, [(self._trained, self._segment, None, None)], effort)
        neighbours = rerank(unit_queries, candidates, self._take, self._keys, k)
        return self._fill_missing(unit_queries, neighbours, k)

    def _fill_missing(self, unit_queries: NDArray[np.float32], neighbours: Neighbours, k: int) -> Neighbours:
        """The neighbours, with an exact search for queries that have too few."""
        missing = np.flatnonzero(neighbours.scores[:, -1] == -np.inf) if k else np.zeros(0, np.int64)
        if len(missing):
            flat = FlatIndex(self._blocks, n_rows=self.n_rows, dim=self.dim, memory_bytes=0)
            exact = flat.search(unit_queries[missing], k)
            neighbours.scores[missing], neighbours.digests[missing] = exact.scores, exact.digests
        return neighbours

    def _keys(self, rows: NDArray[np.int64]) -> Digests:
        return self._digests[rows]

    def _read_again(self, rows: NDArray[np.int64]) -> Vectors:
        distinct, place = np.unique(rows, return_inverse=True)
        return read_sample(self._blocks(), distinct)[place]
