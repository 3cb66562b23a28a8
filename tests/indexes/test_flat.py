"""Every kind of index keeps the contract; exact search does so whatever blocks the vectors come in."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedstore.indexes import INDEXES, FlatIndex, Index
from embedstore.indexes.base import unit_rows
from embedstore.indexes.compressed import SearchParams
from embedstore.indexes.float16_scan import HalfScan
from embedstore.indexes.inverted_list_file import pack, read_lists, unpack, write_lists
from embedstore.indexes.ivf_pq import TrainedIvfPq
from embedstore.indexes.pca import PCA
from embedstore.indexes.rerank import MARGIN, as_float32
from embedstore.testing.index_contract import IndexContract, clustered_rows, random_rows
from embedstore.types import Digests, Vectors


@pytest.mark.parametrize("kind", INDEXES, scope="class")
class TestEveryKind(IndexContract):
    """Whatever is in the catalog, without anyone listing it again."""

    @pytest.fixture(autouse=True)
    def _kind(self, kind: str) -> None:
        self.kind = kind
        self.recall = 1.0 if INDEXES[kind].exact else 0.9

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


def test_ten_thousand_vectors_with_ties_are_ordered_as_numpy_sorts_them() -> None:
    rng = np.random.default_rng(0)
    digests = rng.integers(0, 256, (10_000, 24), dtype=np.uint8)
    vectors = rng.integers(-1, 2, (10_000, 6)).astype(np.float16)
    queries = rng.integers(-1, 2, (20, 6)).astype(np.float32)
    queries[~queries.any(axis=1)] = 1
    rows, asked = vectors.astype(np.float64), queries.astype(np.float64)
    lengths = np.maximum(np.linalg.norm(rows, axis=1), 1e-9)
    scores = np.round(asked @ rows.T / lengths / np.linalg.norm(asked, axis=1, keepdims=True), 5)
    keys = [key.tobytes() for key in digests]
    by_key = np.argsort(np.argsort(np.array(keys, "S24"), kind="stable"))
    found = FlatIndex.from_arrays(digests, vectors).search(queries, 50)
    for row in range(len(queries)):
        order = np.lexsort((by_key, -scores[row]))[:50]
        assert [key.tobytes() for key in found.digests[row]] == [keys[i] for i in order]
        np.testing.assert_allclose(found.scores[row], scores[row, order], atol=1e-5)


def test_what_is_kept_in_memory_changes_no_bit() -> None:
    digests, vectors = random_rows(3000, 24)
    kept = FlatIndex.from_arrays(digests, vectors)
    streamed = FlatIndex.from_arrays(digests, vectors, memory_bytes=0)
    for _ in range(2):
        one, other = kept.search(vectors[:9], 12), streamed.search(vectors[:9], 12)
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.digests, other.digests)


def test_every_half_number_becomes_the_same_number_in_float32() -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(-1, 16)
    np.testing.assert_array_equal(as_float32(every), every.astype(np.float32))


@pytest.mark.parametrize("dim", [3, 8, 48, 1024])
def test_half_rows_are_scored_as_they_lie(dim: int) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(50, dim)) * rng.uniform(0.01, 100, (50, 1))).astype(np.float16)
    rows[7], rows[9, 1] = 0, np.inf
    queries = rng.normal(size=(3, dim)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    with closing(HalfScan(dim, 30)) as scan:
        found = scan.cosines(queries, rows, np.array([0, 20, 20, 50]))
    asked = queries[np.repeat([0, 2], [20, 30])].astype(np.float64)
    plain = np.delete(np.arange(50), [7, 9])
    exact = (asked * rows)[plain].sum(axis=1) / np.linalg.norm(rows[plain].astype(np.float64), axis=1)
    np.testing.assert_allclose(found[plain], exact, atol=MARGIN / 10)
    assert found[7] == 0 and found[9] == -np.inf


def test_lists_on_disk_give_back_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (500, 6), dtype=np.uint8)
    lists = rng.integers(0, 9, 500).astype(np.int32)
    np.testing.assert_array_equal(unpack(pack(codes[:96])), codes[:96])
    sizes = write_lists(tmp_path / "lists.bin", lists, codes, 12)
    found = read_lists(tmp_path / "lists.bin", sizes, 6)
    np.testing.assert_array_equal(found[0], lists)
    np.testing.assert_array_equal(found[1], codes)


@pytest.mark.parametrize("shape", [(4, 4), (8, 2), (20, 16), (24, 8)])
def test_a_reduction_keeps_lengths_in_the_axes_it_keeps(shape: tuple[int, int]) -> None:
    principal = PCA.of(clustered_rows(500, 24)[1])
    reduction = principal.reduction(*shape)
    assert reduction.n_dims == shape[0]
    np.testing.assert_allclose(reduction.axes @ reduction.axes.T, np.eye(shape[0]), atol=1e-5)
    unit = unit_rows(clustered_rows(50, 24, seed=1)[1])
    kept = (unit - principal.mean) @ principal.axes[: shape[0]].T
    np.testing.assert_allclose((reduction.of_unit(unit) ** 2).sum(axis=1), (kept**2).sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize(("dim", "shapes"), [(2, [(4, 4)]), (30, [(28, 16)]), (300, [(256, 64), (256, 256)])])
def test_reductions_to_be_tried_fit_the_vectors(dim: int, shapes: list[tuple[int, int]]) -> None:
    vectors = clustered_rows(400, dim)[1]
    principal = PCA.of(vectors)
    assert principal.shapes() == shapes
    assert TrainedIvfPq.train(vectors, n_rows=400, seed=0).reduction.n_dims == shapes[0][0]


def test_of_many_dimensions_more_are_tried() -> None:
    assert PCA.of(clustered_rows(60, 640)[1]).shapes()[-1] == (512, 512)


def test_mapped_lists_give_what_faiss_itself_finds(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    vectors = random_rows(3000, 32)[1]
    trained = TrainedIvfPq.train(vectors, n_rows=3000, seed=0)
    builder = trained.builder()
    builder.add(vectors)
    builder.write(tmp_path)
    plain = faiss.deserialize_index(np.fromfile(tmp_path / "trained.faiss", np.uint8))
    reduced = trained.reduction(vectors)
    plain.add(reduced)
    plain.nprobe, plain.implem = plain.nlist, 13
    distances, rows = plain.search(reduced[:40], 25)
    ours = trained.open(tmp_path).candidates(reduced[:40], SearchParams(probes=plain.nlist, candidates=25), None)
    np.testing.assert_array_equal(ours[0], distances)
    np.testing.assert_array_equal(ours[1], rows)
