"""Every kind of index keeps the contract; exact search does so whatever blocks the vectors come in."""

from __future__ import annotations

import numpy as np
import pytest

from embedstore.index import INDEXES, FlatIndex, Index
from embedstore.testing.index_contract import IndexContract, random_rows
from embedstore.types import Digests, Vectors


@pytest.mark.parametrize("kind", INDEXES, scope="class")
class TestEveryKind(IndexContract):
    """Whatever is in the catalog, without anyone listing it again."""

    @pytest.fixture(autouse=True)
    def _kind(self, kind: str) -> None:
        self.kind = kind

    def make_index(self, digests: Digests, vectors: Vectors) -> Index:
        made: Index = INDEXES.load(self.kind)(lambda: [(digests, vectors)], n_rows=len(vectors), dim=vectors.shape[1])
        return made


@pytest.mark.parametrize("rows", [1, 3, 100, 999])
def test_the_size_of_a_block_changes_no_bit(rows: int) -> None:
    digests, vectors = random_rows(1000, 24)
    queries = random_rows(40, 24, seed=5)[1]
    cut = [slice(start, start + rows) for start in range(0, 1000, rows)]
    blocked = FlatIndex(lambda: ((digests[part], vectors[part]) for part in cut), n_rows=1000, dim=24)
    one, other = blocked.search(queries, 12), FlatIndex.from_arrays(digests, vectors).search(queries, 12)
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.digests, other.digests)
