"""The compressed index type: reduced vectors in inverted lists, 4-bit product codes, FAISS's fast scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from embedstore.indexes.base import unit_rows
from embedstore.indexes.compressed import (
    TUNED_K,
    CompressedIndex,
    FaissTrained,
    SearchParams,
    TrainedIndex,
    known_rows,
    no_candidates,
)
from embedstore.indexes.inverted_list_file import BLOCK, mapped_lists, read_lists, write_lists
from embedstore.indexes.pca import PCA, USUAL_DIMENSIONS, Reduction
from embedstore.indexes.rerank import as_float32
from embedstore.types import Vectors

_SIZES, _LISTS = "sizes.npy", "lists.bin"

_BITS = 4
_ITERATIONS = 10
_A_LIST, _A_CODE = 64, 256
_ROWS = 8192
_QUERIES = 1024
_GRID = 2.0**24

_RESERVOIR = 13
"""FAISS's own name for the scan that does one query after the other: the same candidates in any batch."""

_TRIED, _ASKED, _NEAR = 1 << 14, 256, 40
"""Rows of the sample on which reductions are tried, those of them that ask, and what each is given."""

_CANDIDATES = (40, 60, 80, 120, 160, 200, 250, 300, 400, 500, 600, 800, 1000, 1200, 1600, 2400)
_RERANK_COST = 300
"""To score a candidate costs as much as to scan so many codes."""


class TrainedIvfPq(FaissTrained):
    """Axes, centres of lists and code books; see `FaissTrained`."""

    mapped: ClassVar[tuple[str, ...]] = (_LISTS,)
    row_bytes: ClassVar[int] = 220

    def __init__(self, reduction: Reduction, blob: NDArray[np.uint8]) -> None:
        import faiss

        super().__init__(reduction, blob)
        self._index = faiss.deserialize_index(blob)
        self.n_lists = int(self._index.nlist)
        self.code_bytes = int(self._index.code_size)
        centres = faiss.downcast_index(self._index.quantizer).reconstruct_n(0, self.n_lists)
        self._centres = np.rint(centres.T.astype(np.float64) * _GRID)
        self._square = np.square(self._centres).sum(axis=0) / _GRID**2

    @classmethod
    def train(cls, sample: Vectors, *, n_rows: int, seed: int) -> Self:
        """See `TrainedIndex.train`."""
        import faiss

        reduction = _chosen_reduction(sample, seed)
        reduced = _reduced(reduction, sample)
        n_lists = max(1, min(round(n_rows**0.5), len(sample) // 16))
        coarse = faiss.IndexFlatL2(reduction.n_dims)
        index = faiss.IndexIVFPQFastScan(
            coarse, reduction.n_dims, n_lists, _n_codes(reduction), _BITS, faiss.METRIC_L2, BLOCK
        )
        # Tables that are the same for each list: once a query, and comparable between segments.
        index.by_residual = False
        for clustering, most in ((index.cp, _A_LIST), (index.pq.cp, _A_CODE)):
            _configure_clustering(clustering, most, seed)
        index.train(reduced)
        return cls(reduction, faiss.serialize_index(index))

    def builder(self) -> IvfPqBuilder:
        """See `TrainedIndex.builder`."""
        return IvfPqBuilder(self)

    def open(self, folder: Path) -> IvfPqSegment:
        """See `TrainedIndex.open`."""
        return IvfPqSegment(self, folder)

    def parameters(self) -> dict[str, Any]:
        """See `TrainedIndex.parameters`."""
        return {"dims": self.reduction.n_dims, "lists": self.n_lists, "code_bytes": self.code_bytes}

    def efforts(self, n_rows: int) -> Sequence[SearchParams]:
        """See `TrainedIndex.efforts`."""
        powers = [2**power for power in range(3, self.n_lists.bit_length())]
        probes = [value for power in powers for value in (power, power * 3 // 2) if value < self.n_lists]
        choices = [
            SearchParams(probes=value, candidates=candidates)
            for value in [*probes, self.n_lists]
            for candidates in _CANDIDATES
        ]
        a_list = n_rows / self.n_lists
        return sorted(
            choices, key=lambda value: (value.probes * a_list + value.candidates * _RERANK_COST, value.probes)
        )

    def usual(self, n_rows: int) -> SearchParams:
        """See `TrainedIndex.usual`: half of all lists."""
        return SearchParams(probes=(self.n_lists + 1) // 2, candidates=400)

    def reconstruct(self, reduced: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `FaissTrained.kept_of`."""
        decoded: NDArray[np.float32] = self._index.pq.decode(self._index.pq.compute_codes(reduced))
        return decoded

    def encode(self, vectors: Vectors) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """List (n,) and code (n, m / 2) of each of the vectors (n, D)."""
        reduced = self.reduction(vectors)
        lists = self.nearest_lists(reduced, 1)[0][:, 0].astype(np.int32)
        return lists, self._index.pq.compute_codes(reduced)

    def nearest_lists(
        self, reduced: NDArray[np.float32], n_lists: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The lists nearest to reduced vectors (n, d), and squared distances less the vector's own, (n, n_lists).

        In whole numbers, as in `Reduction`: FAISS's way depends on the size of the batch.
        """
        lists = np.empty((len(reduced), n_lists), np.int64)
        distances = np.empty((len(reduced), n_lists), np.float32)
        for start in range(0, len(reduced), _QUERIES):
            whole = np.rint(reduced[start : start + _QUERIES].astype(np.float64) * _GRID)
            squared = self._square - whole @ self._centres * (2 / _GRID**2)
            if n_lists == 1:
                near = squared.argmin(axis=1)[:, None]
            elif n_lists < self.n_lists:
                near = np.argpartition(squared, n_lists - 1, axis=1)[:, :n_lists]
            else:
                near = np.broadcast_to(np.arange(self.n_lists), squared.shape)
            lists[start : start + _QUERIES] = near
            distances[start : start + _QUERIES] = np.take_along_axis(squared, near, axis=1)
        return lists, distances

    def searcher(self, lists: Any, n_rows: int) -> Any:
        """A FAISS index over inverted lists, which it owns from then on."""
        import faiss

        index = faiss.deserialize_index(self._blob)
        index.replace_invlists(lists, True)
        index.ntotal, index.implem = n_rows, _RESERVOIR
        return index


class IvfPqBuilder:
    """Takes rows; holds their codes, 68 bytes a row for D >= 256."""

    def __init__(self, trained: TrainedIvfPq) -> None:
        self._trained = trained
        self._lists: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        self._codes: list[NDArray[np.uint8]] = [np.empty((0, trained.code_bytes), np.uint8)]

    def add(self, vectors: Vectors) -> None:
        """See `SegmentBuilder.add`."""
        for start in range(0, len(vectors), _ROWS):
            lists, codes = self._trained.encode(vectors[start : start + _ROWS])
            self._lists.append(lists)
            self._codes.append(codes)

    def merge(self, folder: Path) -> None:
        """See `SegmentBuilder.merge`."""
        sizes = np.load(folder / _SIZES, allow_pickle=False)
        lists, codes = read_lists(folder / _LISTS, sizes, self._trained.code_bytes)
        self._lists.append(lists)
        self._codes.append(codes)

    def write(self, folder: Path) -> None:
        """See `SegmentBuilder.write`."""
        self._trained.write(folder)
        lists, codes = np.concatenate(self._lists), np.concatenate(self._codes)
        np.save(folder / _SIZES, write_lists(folder / _LISTS, lists, codes, self._trained.n_lists), allow_pickle=False)


class IvfPqSegment:
    """Mapped lists of codes; see `Segment`."""

    def __init__(self, trained: TrainedIvfPq, folder: Path) -> None:
        sizes = np.load(folder / _SIZES, allow_pickle=False).astype(np.int64)
        self.n_rows = int(sizes.sum())
        self._trained = trained
        if self.n_rows:
            self._index = trained.searcher(mapped_lists(folder / _LISTS, sizes, trained.code_bytes), self.n_rows)

    def candidates(
        self, reduced: NDArray[np.float32], effort: SearchParams, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """See `Segment.candidates`."""
        import faiss

        n_wanted = min(effort.candidates, self.n_rows)
        if not n_wanted or not len(reduced):
            return no_candidates(len(reduced), n_wanted)
        # FAISS reads the bits in place: they must live as long as the search.
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        selector = None if bits is None else faiss.IDSelectorBitmap(self.n_rows, faiss.swig_ptr(bits))
        n_probes = min(effort.probes, self._trained.n_lists)
        lists, squared = self._trained.nearest_lists(reduced, n_probes)
        options = faiss.SearchParametersIVF(nprobe=n_probes, sel=selector)
        distances = np.empty((len(reduced), n_wanted), np.float32)
        rows = np.empty((len(reduced), n_wanted), np.int64)
        # FAISS's own wrapper of this call takes no options.
        arrays = map(faiss.swig_ptr, (np.ascontiguousarray(reduced), lists, squared, distances, rows))
        vectors, near, nearness, into, numbers = arrays
        self._index.search_preassigned_c(len(reduced), vectors, n_wanted, near, nearness, into, numbers, False, options)
        return distances, known_rows(rows, self.n_rows)


class IvfPqIndex(CompressedIndex):
    """Inverted lists of 4-bit product codes of reduced vectors; see `CompressedIndex`."""

    trained: ClassVar[type[TrainedIndex]] = TrainedIvfPq


def _chosen_reduction(sample: Vectors, seed: int) -> Reduction:
    """Of the reductions to be tried, that whose codes find most of the sample's own nearest neighbours."""
    pca = PCA.of(sample)
    choices = [pca.reduction(n_dims, n_mixed) for n_dims, n_mixed in pca.shapes()]
    if len(choices) == 1:
        return choices[0]
    sampled = np.random.default_rng(seed).permutation(len(sample))[:_TRIED]
    queries, rows = unit_rows(as_float32(sample[sampled[:_ASKED]])), sample[sampled[_ASKED:]]
    truth = np.argpartition(queries @ unit_rows(as_float32(rows)).T, -TUNED_K, axis=1)[:, -TUNED_K:]
    return max(choices, key=lambda reduction: _n_true_found(reduction, queries, rows, truth, seed))


def _n_true_found(
    reduction: Reduction, queries: NDArray[np.float32], rows: Vectors, truth: NDArray[np.int64], seed: int
) -> int:
    """How many of the true neighbours (n, k) of unit queries (n, D) are among the nearest 40 by codes."""
    import faiss

    codes = faiss.IndexPQFastScan(reduction.n_dims, _n_codes(reduction), _BITS, faiss.METRIC_L2, BLOCK)
    _configure_clustering(codes.pq.cp, _A_CODE, seed)
    reduced = _reduced(reduction, rows)
    codes.train(reduced)
    codes.add(reduced)
    near = codes.search(reduction.of_unit(queries), _NEAR)[1]
    return int((near[:, :, None] == truth[:, None, :]).sum())


def _n_codes(reduction: Reduction) -> int:
    """Codes of a row: one for two dimensions, or for four of them where there are more than usual."""
    return min(reduction.n_dims, USUAL_DIMENSIONS) // 2


def _configure_clustering(clustering: Any, most: int, seed: int) -> None:
    clustering.seed, clustering.niter = seed, _ITERATIONS
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, most


def _reduced(reduction: Reduction, vectors: Vectors) -> NDArray[np.float32]:
    return np.concatenate([reduction(vectors[start : start + _ROWS]) for start in range(0, len(vectors), _ROWS)])
