"""Cosines of float16 rows, multiplied as they lie: FAISS's scan reads two bytes a number and keeps no float32 copy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class HalfScan:
    """Scores stretches of float16 rows, each against a query, to float32's precision.

    To convert the rows first takes longer than to score them so. One thread at a time; to be closed.

    Parameters
    ----------
    dim
        D.
    longest
        Rows of a stretch, at most.
    """

    def __init__(self, dim: int, longest: int) -> None:
        import faiss

        self._swig_ptr = faiss.swig_ptr
        self._zero = np.zeros(dim, np.float32)
        self._numbers = np.arange(longest)
        self._row_numbers = np.empty(longest, np.int64)
        self._values = np.empty(longest, np.float32)
        self._in_order = np.empty(longest + 1, np.float32)
        # What the scanners refer to.
        self._indexes: list[Any] = []
        coarse = faiss.IndexFlatL2(dim)
        self._products = self._scanner(coarse, faiss.METRIC_INNER_PRODUCT)
        self._squares = self._scanner(coarse, faiss.METRIC_L2)

    def close(self) -> None:
        """Free the scanners, which FAISS leaves to its caller; nothing can be scored any more."""
        import faiss

        for scanner in (self._products, self._squares):
            # The proxy's own way, `thisown = True`, corrupts reference counts (SWIG, seen with faiss-cpu 1.15.1).
            faiss.InvertedListScanner.__swig_destroy__(scanner)

    def cosines(
        self, queries: NDArray[np.float32], rows: NDArray[np.float16], bounds: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Cosines (m,) of rows (m, D) with unit queries (n, D); rows ``bounds[i]`` to ``bounds[i + 1]`` are query i's.

        A row of zeros has cosine 0, one that is not finite -inf.
        """
        rows, queries = np.ascontiguousarray(rows), np.ascontiguousarray(queries, np.float32)
        products, squares = np.empty(len(rows), np.float32), np.empty(len(rows), np.float32)
        ends = bounds.tolist()
        for query, start, stop in zip(queries, ends[:-1], ends[1:], strict=True):
            if start < stop:
                self._scan(self._products, query, rows[start:stop], -np.inf, products[start:stop])
                self._scan(self._squares, self._zero, rows[start:stop], np.inf, squares[start:stop])
        lengths = np.sqrt(squares)
        products[lengths == np.inf] = -np.inf
        lengths[(lengths == 0) | (lengths == np.inf)] = 1
        products /= lengths
        return products

    def _scanner(self, coarse: Any, metric: int) -> Any:
        import faiss

        index = faiss.IndexIVFScalarQuantizer(coarse, coarse.d, 1, faiss.ScalarQuantizer.QT_fp16, metric, False)
        self._indexes.append(index)
        return index.get_InvertedListScanner(True, None, None)

    def _scan(
        self,
        scanner: Any,
        query: NDArray[np.float32],
        rows: NDArray[np.float16],
        worst: float,
        out: NDArray[np.float32],
    ) -> None:
        """What a scanner makes of every row, in the order of the rows."""
        n, pointer = len(rows), self._swig_ptr
        row_numbers, values = self._row_numbers[:n], self._values[:n]
        # A heap with room for all: what comes in replaces the worst there is. What is not finite stays outside.
        row_numbers[:], values[:] = n, worst
        scanner.set_query(pointer(query))
        scanner.set_list(0, 0.0)
        arrays = map(pointer, (rows.view(np.uint8), self._numbers[:n], values, row_numbers))
        scanner.scan_codes(n, *arrays, n)
        self._in_order[:n] = worst
        self._in_order[row_numbers] = values
        out[:] = self._in_order[:n]
