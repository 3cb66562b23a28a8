"""What every index must keep: subclass `IndexContract` and give it a way to build one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from embedstore.errors import InputError
from embedstore.indexes import Index
from embedstore.types import Digests, Vectors


def random_rows(n_rows: int, dim: int, seed: int = 0) -> tuple[Digests, NDArray[np.float16]]:
    """Random keys (N, 24) and vectors (N, D), the vectors in float16 and not of unit length."""
    rng = np.random.default_rng(seed)
    digests = rng.integers(0, 256, (n_rows, 24), dtype=np.uint8)
    return digests, (rng.normal(size=(n_rows, dim)) * rng.uniform(0.1, 10, (n_rows, 1))).astype(np.float16)


def brute_force(vectors: Vectors, queries: Vectors) -> NDArray[np.float64]:
    """Cosine similarity of every query with every row, in float64, by the definition."""
    rows, unit_queries = vectors.astype(np.float64), queries.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    unit_queries /= np.linalg.norm(unit_queries, axis=1, keepdims=True)
    cosines: NDArray[np.float64] = unit_queries @ rows.T
    return cosines


def clustered_rows(n_rows: int, dim: int, seed: int = 0) -> tuple[Digests, NDArray[np.float16]]:
    """Keys and vectors around centres, 30 rows each, with variances that decay along the axes, as families have."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, dim + 1) ** -0.5
    centres = rng.normal(size=(max(1, n_rows // 30), dim)) * scale
    rows = centres[rng.integers(0, len(centres), n_rows)] + 0.7 * rng.normal(size=(n_rows, dim)) * scale
    return rng.integers(0, 256, (n_rows, 24), dtype=np.uint8), rows.astype(np.float16)


class IndexContract:
    """A battery for one kind of index; ``make_index`` is all that a subclass gives."""

    recall = 1.0
    """Least share of the true ten nearest that must be found."""

    def make_index(self, digests: Digests, vectors: Vectors) -> Index:
        """An index over keys (N, 24) and vectors (N, D)."""
        raise NotImplementedError

    def test_nearest_are_those_of_the_definition(self) -> None:
        digests, vectors = random_rows(3000, 48)
        queries = random_rows(64, 48, seed=1)[1]
        neighbours = self.make_index(digests, vectors).search(queries, 10)
        cosines = brute_force(vectors, queries)
        truth = np.argsort(-cosines, axis=1)[:, :10]
        same = [
            len({key.tobytes() for key in neighbours.digests[row]} & {digests[i].tobytes() for i in truth[row]})
            for row in range(len(queries))
        ]
        assert sum(same) >= self.recall * 10 * len(queries)

    def test_scores_are_cosines_in_descending_order(self) -> None:
        digests, vectors = random_rows(500, 16)
        queries = random_rows(20, 16, seed=2)[1]
        neighbours = self.make_index(digests, vectors).search(queries, 5)
        assert (np.diff(neighbours.scores, axis=1) <= 0).all()
        row_of = {digests[row].tobytes(): row for row in range(len(digests))}
        cosines = brute_force(vectors, queries)
        for query in range(len(queries)):
            expected = [cosines[query, row_of[key.tobytes()]] for key in neighbours.digests[query]]
            np.testing.assert_allclose(neighbours.scores[query], expected, atol=1e-6)

    def test_relatives_in_clusters_are_found_and_scored_truly(self) -> None:
        digests, vectors = clustered_rows(4000, 48)
        queries = clustered_rows(60, 48)[1]
        neighbours = self.make_index(digests, vectors).search(queries, 10)
        cosines = brute_force(vectors, queries)
        tenth = np.sort(cosines, axis=1)[:, -10]
        assert (neighbours.scores >= tenth[:, None] - 1e-6).mean() >= min(self.recall, 0.98)
        row_of = {key.tobytes(): row for row, key in enumerate(digests)}
        expected = [
            [cosines[row, row_of[key.tobytes()]] for key in keys] for row, keys in enumerate(neighbours.digests)
        ]
        np.testing.assert_allclose(neighbours.scores, expected, atol=1e-6)

    def test_no_row_comes_twice(self) -> None:
        digests, vectors = clustered_rows(2000, 16)
        neighbours = self.make_index(digests, vectors).search(vectors[:20], 30)
        assert all(len({key.tobytes() for key in keys}) == 30 for keys in neighbours.digests)

    def test_a_zero_row_is_near_to_nothing(self) -> None:
        digests, vectors = random_rows(30, 8)
        vectors[3] = 0
        neighbours = self.make_index(digests, vectors).search(vectors[:1], 30)
        place = next(i for i, key in enumerate(neighbours.digests[0]) if key.tobytes() == digests[3].tobytes())
        assert neighbours.scores[0, place] == 0

    def test_the_number_of_threads_changes_no_bit(self) -> None:
        digests, vectors = clustered_rows(2000, 32)
        queries = random_rows(20, 32, seed=4)[1]
        index = self.make_index(digests, vectors)
        results = []
        for n_threads in (1, 2):
            with threadpool_limits(n_threads):
                results.append(index.search(queries, 7))
        np.testing.assert_array_equal(results[0].scores, results[1].scores)
        np.testing.assert_array_equal(results[0].digests, results[1].digests)

    def test_k_larger_than_the_index_gives_each_row_once(self) -> None:
        digests, vectors = random_rows(7, 8)
        neighbours = self.make_index(digests, vectors).search(vectors[:2], 50)
        assert neighbours.k == 7
        assert {key.tobytes() for key in neighbours.digests[0]} == {key.tobytes() for key in digests}

    def test_an_empty_index_has_no_neighbours(self) -> None:
        index = self.make_index(np.empty((0, 24), np.uint8), np.empty((0, 8), np.float16))
        assert index.search(np.ones((3, 8), np.float32), 5).scores.shape == (3, 0)

    def test_no_query_gives_no_answer(self) -> None:
        digests, vectors = random_rows(7, 8)
        assert self.make_index(digests, vectors).search(np.empty((0, 8), np.float32), 3).scores.shape == (0, 3)

    def test_equal_scores_are_ordered_by_key(self) -> None:
        digests = random_rows(40, 8)[0]
        vectors = np.repeat(random_rows(4, 8)[1], 10, axis=0)
        neighbours = self.make_index(digests, vectors).search(vectors[:1], 10)
        keys = [key.tobytes() for key in neighbours.digests[0]]
        assert keys == sorted(key.tobytes() for key in digests[:10])

    def test_a_row_finds_itself_first(self) -> None:
        digests, vectors = random_rows(300, 32)
        neighbours = self.make_index(digests, vectors).search(vectors, 1)
        np.testing.assert_array_equal(neighbours.digests[:, 0], digests)
        np.testing.assert_allclose(neighbours.scores[:, 0], 1, atol=1e-6)

    def test_a_query_alone_is_answered_as_in_a_batch_bit_by_bit(self) -> None:
        digests, vectors = random_rows(2000, 64)
        queries = random_rows(33, 64, seed=3)[1]
        index = self.make_index(digests, vectors)
        together = index.search(queries, 7)
        for row in range(0, 33, 8):
            alone = index.search(queries[row : row + 1], 7)
            np.testing.assert_array_equal(alone.scores[0], together.scores[row])
            np.testing.assert_array_equal(alone.digests[0], together.digests[row])

    def test_queries_of_another_dimension_are_refused(self) -> None:
        with pytest.raises(InputError, match="holds vectors of 8 numbers"):
            self.make_index(*random_rows(5, 8)).search(np.ones((1, 9), np.float32), 1)

    def test_k_below_one_is_refused(self) -> None:
        with pytest.raises(InputError, match="at least 1"):
            self.make_index(*random_rows(5, 8)).search(np.ones((1, 8), np.float32), 0)

    def test_a_query_that_is_not_finite_is_refused(self) -> None:
        queries = np.ones((3, 8), np.float32)
        queries[1, 2] = np.nan
        with pytest.raises(InputError, match="Query 1 holds NaN"):
            self.make_index(*random_rows(5, 8)).search(queries, 1)
