"""The index type for low latency: a graph (Malkov and Yashunin 2018) over reduced vectors of 8 bits a dimension."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from embedstore.indexes.compressed import (
    CompressedIndex,
    FaissTrained,
    SearchParams,
    TrainedIndex,
    known_rows,
    no_candidates,
)
from embedstore.indexes.pca import PCA
from embedstore.types import Vectors

_GRAPH = "graph.faiss"

_LINKS = 32
_CONSTRUCTION = 80
_ROWS = 8192
_WIDTHS = (32, 64, 128, 256, 512, 1024)
_CANDIDATES = (20, 40, 80, 160, 320, 640)
_RERANK_COST = 4
"""To score a candidate costs as much as so many steps of width."""


class TrainedHnsw(FaissTrained):
    """Axes, and the range of each of them that 8 bits span; see `FaissTrained`."""

    mapped: ClassVar[tuple[str, ...]] = ()
    row_bytes: ClassVar[int] = 800

    @classmethod
    def train(cls, sample: Vectors, *, n_rows: int, seed: int) -> Self:
        """See `TrainedIndex.train`."""
        import faiss

        pca = PCA.of(sample)
        reduction = pca.reduction(pca.shapes()[0][0], 1)
        reduced = np.concatenate([reduction(sample[start : start + _ROWS]) for start in range(0, len(sample), _ROWS)])
        index = faiss.IndexHNSWSQ(reduction.n_dims, faiss.ScalarQuantizer.QT_8bit, _LINKS, faiss.METRIC_L2)
        index.hnsw.efConstruction = _CONSTRUCTION
        index.train(reduced)
        return cls(reduction, faiss.serialize_index(index))

    def empty(self) -> Any:
        """A FAISS index without rows."""
        import faiss

        return faiss.deserialize_index(self._blob)

    def builder(self) -> HnswBuilder:
        """See `TrainedIndex.builder`."""
        return HnswBuilder(self)

    def open(self, folder: Path) -> HnswSegment:
        """See `TrainedIndex.open`."""
        return HnswSegment(folder)

    def parameters(self) -> dict[str, Any]:
        """See `TrainedIndex.parameters`."""
        return {"dims": self.reduction.n_dims, "links": _LINKS, "construction": _CONSTRUCTION}

    def efforts(self, n_rows: int) -> Sequence[SearchParams]:
        """See `TrainedIndex.efforts`."""
        choices = [
            SearchParams(probes=width, candidates=params)
            for width in _WIDTHS
            for params in _CANDIDATES
            if params <= width
        ]
        return sorted(choices, key=lambda params: (params.probes + params.candidates * _RERANK_COST, params.probes))

    def usual(self, n_rows: int) -> SearchParams:
        """See `TrainedIndex.usual`."""
        return SearchParams(probes=512, candidates=160)

    def reconstruct(self, reduced: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `FaissTrained.kept_of`."""
        import faiss

        index = self.empty()
        quantiser = faiss.downcast_index(index.storage)
        decoded: NDArray[np.float32] = quantiser.sa_decode(quantiser.sa_encode(reduced))
        return decoded


class HnswBuilder:
    """Takes rows into a graph in memory."""

    def __init__(self, trained: TrainedHnsw) -> None:
        self._trained = trained
        self._index = trained.empty()

    def add(self, vectors: Vectors) -> None:
        """See `SegmentBuilder.add`."""
        for start in range(0, len(vectors), _ROWS):
            self._index.add(self._trained.reduction(vectors[start : start + _ROWS]))

    def merge(self, folder: Path) -> None:
        """See `SegmentBuilder.merge`."""
        import faiss

        other = faiss.read_index(str(folder / _GRAPH))
        for start in range(0, other.ntotal, _ROWS):
            # A number of 8 bits stands for the middle of its range and becomes the same number again.
            self._index.add(other.storage.reconstruct_n(start, min(_ROWS, other.ntotal - start)))

    def write(self, folder: Path) -> None:
        """See `SegmentBuilder.write`."""
        import faiss

        self._trained.write(folder)
        faiss.write_index(self._index, str(folder / _GRAPH))


class HnswSegment:
    """A mapped graph; see `Segment`."""

    def __init__(self, folder: Path) -> None:
        import faiss

        self._index = faiss.read_index(str(folder / _GRAPH), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
        self.n_rows = int(self._index.ntotal)

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
        options = faiss.SearchParametersHNSW(efSearch=max(min(effort.probes, self.n_rows), n_wanted), sel=selector)
        distances, rows = self._index.search(reduced, n_wanted, params=options)
        return distances, known_rows(rows, self.n_rows)


class HnswIndex(CompressedIndex):
    """A graph over reduced vectors of 8 bits a dimension; see `CompressedIndex`."""

    trained: ClassVar[type[TrainedIndex]] = TrainedHnsw
