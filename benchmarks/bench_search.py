"""Search: our kinds of index over a store on disk against FAISS and usearch over arrays in memory, same queries.

    python -m benchmarks.bench_search [--rows 100000] [--dim 1024] [--singles 50] [--name search]

Vectors are SIMULATED: clusters with a decaying spectrum, as embeddings of families have; stored as float16, compacted
into parts of a million rows. FAISS holds float32 copies in memory, twice the size; ours reads the store. All use the
threads that OMP_NUM_THREADS allows. Queries are new rows of the same clusters; recall@10 is against FAISS flat, by
score, so that ties count. Rates are medians of interleaved runs; an index is in the page cache when it is timed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import psutil
from numpy.typing import NDArray

import embedstore
from benchmarks.harness import interleave, medians, write_result
from embedstore.indexes.base import unit_rows
from embedstore.indexes.rerank import as_float32
from embedstore.store import Space, Store
from embedstore.store.manifest import space_identity
from embedstore.store.space_writer import SpaceWriter

K = 10
BLOCK = 8192
N_QUERIES = 1000

Search = Callable[[NDArray[np.float32], int], NDArray[np.float32]]
"""Queries and k to scores (n, k)."""


class Simulated:
    """Rows around centres whose size follows a power law, with variances that decay along the axes."""

    def __init__(self, n_rows: int, dim: int) -> None:
        rng = np.random.default_rng(0)
        self.n_rows, self.dim = n_rows, dim
        self._scale = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
        self._centres = rng.normal(size=(max(1, n_rows // 60), dim)).astype(np.float32) * self._scale
        self._owner = np.minimum(rng.zipf(1.3, n_rows + N_QUERIES) - 1, len(self._centres) - 1)

    def rows(self, start: int, stop: int) -> NDArray[np.float16]:
        """Rows by number; the queries come behind the last."""
        rng = np.random.default_rng((1, start))
        noise = rng.normal(size=(stop - start, self.dim)).astype(np.float32) * self._scale
        return (self._centres[self._owner[start:stop]] + 0.7 * noise).astype(np.float16)

    def blocks(self) -> list[tuple[int, int]]:
        """First row of each block, and the one behind its last."""
        return [(start, min(start + BLOCK, self.n_rows)) for start in range(0, self.n_rows, BLOCK)]


def fill(folder: Path, data: Simulated) -> Store:
    """A store of these rows."""
    store = embedstore.open(folder / "simulated.zarr", mode="a")
    model = {"model": "simulated", "precision": "float32", "layer": 1}
    identity = space_identity(model, dim=data.dim, pooling="mean", dtype="float16", long_policy="none")
    space = store.create_space(identity)
    assert isinstance(space, Space)
    keys = np.random.default_rng(2)
    with SpaceWriter(space) as writer:
        for start, stop in data.blocks():
            n = stop - start
            digests = keys.integers(0, 256, (n, 24), dtype=np.uint8)
            writer.append(digests, data.rows(start, stop), np.ones(n, np.int64), np.zeros(n, np.uint8))
    store.refresh()
    embedstore.compact(store)
    embedstore.gc(store, older_than=0)
    return store


def theirs(
    store: Store, data: Simulated, *, graphs: bool, lists: bool
) -> tuple[dict[str, Search], dict[str, dict[str, float]]]:
    """FAISS's indexes and usearch over the same vectors, as a careful user makes them; and what they cost."""
    dim, n_lists = data.dim, max(16, round(data.n_rows**0.5))
    unit = np.empty((data.n_rows, dim), np.float32)
    start = 0
    for _, vectors in store.space().blocks():
        unit[start : start + len(vectors)] = unit_rows(as_float32(vectors))
        start += len(vectors)
    flat = faiss.IndexFlatIP(dim)
    coarse = faiss.IndexFlatIP(dim)
    made: dict[str, Any] = {"faiss_flat": flat}
    if lists:
        ivf_pq = faiss.IndexIVFPQ(coarse, dim, n_lists, dim // 16, 8, faiss.METRIC_INNER_PRODUCT)
        ivf_pq.cp.max_points_per_centroid, ivf_pq.nprobe = 64, max(1, n_lists // 8)
        made["faiss_ivf_pq"] = ivf_pq
    if graphs:
        made["faiss_hnsw32"] = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        made["faiss_hnsw32"].hnsw.efSearch = 128
    costs: dict[str, dict[str, float]] = {}
    for name, index in made.items():
        started = time.perf_counter()
        if not index.is_trained:
            index.train(unit[np.random.default_rng(3).choice(len(unit), min(len(unit), 64 * n_lists), replace=False)])
        index.add(unit)
        costs[name] = {"build_s": time.perf_counter() - started, "index_bytes": index_bytes(index)}
    searches: dict[str, Search] = {
        name: lambda batch, k, index=index: index.search(unit_rows(batch), k)[0] for name, index in made.items()
    }
    if graphs:
        searches["usearch_f16"], costs["usearch_f16"] = usearch(unit)
    return searches, {name: {key: round(value, 2) for key, value in cost.items()} for name, cost in costs.items()}


def usearch(unit: NDArray[np.float32]) -> tuple[Search, dict[str, float]]:
    """Its graph with the vectors in half precision."""
    from usearch.index import Index

    index = Index(ndim=unit.shape[1], metric="ip", dtype="f16", connectivity=32, expansion_search=128)
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    started = time.perf_counter()
    index.add(np.arange(len(unit)), unit, threads=threads)
    cost = {"build_s": time.perf_counter() - started, "index_bytes": float(index.memory_usage)}

    def search(batch: NDArray[np.float32], k: int) -> NDArray[np.float32]:
        found = index.search(unit_rows(batch), k, threads=threads)
        distances: NDArray[np.float32] = np.atleast_2d(found.distances)
        return np.float32(1) - distances

    return search, cost


def index_bytes(index: Any) -> float:
    """Size of a FAISS index when it is written, which is what it holds in memory."""
    if isinstance(index, faiss.IndexFlat):
        return float(index.ntotal * index.d * 4)
    if isinstance(index, faiss.IndexHNSWFlat):
        return float(index.ntotal * (index.d * 4 + 2 * 32 * 4))
    return float(index.ntotal * (index.code_size + 8) + index.nlist * index.d * 4)


def ours(store: Store, kinds: list[str]) -> tuple[dict[str, Search], dict[str, dict[str, Any]]]:
    """Our kinds over the store, built and tuned by themselves; and what they cost."""
    costs: dict[str, dict[str, Any]] = {"flat": {"build_s": 0, "index_bytes": 0}}
    for kind in kinds:
        report = embedstore.build_index(store, index_type=kind)
        costs[kind] = {
            "build_s": report.seconds,
            "index_bytes": report.n_bytes,
            "effort": report.effort,
            "recall_on_stored_rows": report.recall,
        }
    store.refresh()
    searches: dict[str, Search] = {
        kind: lambda batch, k, kind=kind: store.search(batch, k, index=kind).scores for kind in ("flat", *kinds)
    }
    for kind in ("ivf_pq", "hnsw"):
        if kind in costs:
            before = anonymous_bytes()
            searches[kind](np.ones((1, store.space().dim), np.float32), K)
            costs[kind]["memory_opened_bytes"] = max(0, anonymous_bytes() - before)
    return {f"ours_{name}": search for name, search in searches.items()}, {
        f"ours_{name}": cost for name, cost in costs.items()
    }


def anonymous_bytes() -> int:
    """Memory of this process that is not a file."""
    about = psutil.Process().memory_info()
    return int(about.rss - getattr(about, "shared", 0))


def rates(searches: dict[str, Search], queries: NDArray[np.float32], *, repeats: int, singles: int) -> dict[str, Any]:
    """Queries per second one by one and in one batch, and the ratio of each to FAISS flat."""
    results: dict[str, Any] = {}
    for size, n_queries in (("single", singles), ("batch_1000", N_QUERIES)):
        step = 1 if size == "single" else N_QUERIES

        def run(search: Search, n_queries: int = n_queries, step: int = step) -> None:
            for start in range(0, n_queries, step):
                search(queries[start : start + step], K)

        work = {name: lambda search=search, run=run: run(search) for name, search in searches.items()}
        seconds = medians(interleave(work, repeats=repeats))
        per_second = {name: round(n_queries / value, 2) for name, value in seconds.items()}
        results[size] = {
            "queries_per_second": per_second,
            "over_faiss_flat": {name: round(rate / per_second["faiss_flat"], 2) for name, rate in per_second.items()},
        }
    return results


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--singles", type=int, default=50, help="queries that are asked one by one")
    parser.add_argument("--all-up-to", type=int, default=200_000, help="beyond, what takes hours is left out")
    parser.add_argument("--no-lists", action="store_true", help="leave out FAISS's IVF-PQ: minutes to build")
    parser.add_argument("--folder", type=Path, help="where the store is made; a temporary one by default")
    parser.add_argument("--name", default="search")
    given = parser.parse_args()
    data, graphs = Simulated(given.rows, given.dim), given.rows <= given.all_up_to
    queries = data.rows(given.rows, given.rows + N_QUERIES).astype(np.float32)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        store = fill(Path(folder), data)
        searches, costs = ours(store, ["ivf_pq", *(["hnsw"] if graphs else [])])
        more, their_costs = theirs(store, data, graphs=graphs, lists=not given.no_lists)
        searches |= more
        costs |= their_costs
        if not graphs:
            del searches["ours_flat"]
        truth = searches["faiss_flat"](queries, K)[:, -1:]
        recall = {
            name: round(float((search(queries, K) >= truth - 1e-5).mean()), 4) for name, search in searches.items()
        }
        results = {
            "rows": given.rows,
            "dim": given.dim,
            "k": K,
            "vectors": "simulated: clusters of power-law size, decaying spectrum",
            "threads": os.environ.get("OMP_NUM_THREADS", os.cpu_count()),
            "left_out": [
                *([] if graphs else ["hnsw, usearch: hours to build", "ours_flat: reads 2 GB for each query"]),
                *(["faiss_ivf_pq: asked for, --no-lists"] if given.no_lists else []),
            ],
            "recall_at_10": recall,
            **rates(searches, queries, repeats=given.repeats, singles=given.singles),
            "costs": costs,
            "memory_faiss_flat_over_ours_ivf_pq": round(
                costs["faiss_flat"]["index_bytes"] / costs["ours_ivf_pq"]["index_bytes"], 1
            ),
        }
    print(results)
    print(write_result(given.name, results, packages=("numpy", "faiss-cpu", "usearch")))


if __name__ == "__main__":
    main()
