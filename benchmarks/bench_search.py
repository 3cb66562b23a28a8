"""Search: our exact index against FAISS flat and plain numpy, on the same vectors.

    python -m benchmarks.bench_search [--rows 100000] [--dim 1024]

Vectors are SIMULATED: clusters with a decaying spectrum, as embeddings of families have; stored as float16, as in a
store. FAISS and numpy hold float32 copies in memory (twice the size); ours converts block by block.
"""

from __future__ import annotations

import argparse

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import interleave, medians, write_result
from embedstore.index import ExactIndex
from embedstore.index.base import unit_rows

K = 10


def clustered(n_rows: int, dim: int, seed: int = 0) -> NDArray[np.float16]:
    """Rows around centres whose size follows a power law, with variances that decay along the axes."""
    rng = np.random.default_rng(seed)
    scale = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    centres = rng.normal(size=(max(1, n_rows // 60), dim)).astype(np.float32) * scale
    owner = np.minimum(rng.zipf(1.3, n_rows) - 1, len(centres) - 1)
    rows = np.empty((n_rows, dim), np.float16)
    for start in range(0, n_rows, 8192):
        part = owner[start : start + 8192]
        rows[start : start + 8192] = centres[part] + 0.7 * rng.normal(size=(len(part), dim)).astype(np.float32) * scale
    return rows


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    vectors = clustered(given.rows, given.dim)
    digests = np.random.default_rng(1).integers(0, 256, (given.rows, 24), dtype=np.uint8)
    queries = (vectors[:: given.rows // 1000][:1000] + 0.01).astype(np.float32)
    unit = unit_rows(vectors)
    flat = faiss.IndexFlatIP(given.dim)
    flat.add(unit)
    ours = ExactIndex.from_arrays(digests, vectors)

    def plain(batch: NDArray[np.float32]) -> None:
        scores = unit_rows(batch) @ unit.T
        np.argpartition(-scores, K, axis=1)

    results: dict[str, object] = {"rows": given.rows, "dim": given.dim, "k": K, "vectors": "simulated"}
    for size in (1, 1000):
        batch = queries[:size]
        seconds = medians(
            interleave(
                {
                    "ours": lambda batch=batch: ours.search(batch, K),
                    "faiss_flat": lambda batch=batch: flat.search(unit_rows(batch), K),
                    "numpy": lambda batch=batch: plain(batch),
                },
                repeats=given.repeats,
            )
        )
        results[f"batch_{size}"] = {
            "queries_per_second": {name: round(size / value, 2) for name, value in seconds.items()},
            "ours_over_faiss_flat": round(seconds["faiss_flat"] / seconds["ours"], 3),
            "ours_over_numpy": round(seconds["numpy"] / seconds["ours"], 3),
        }
    rows_of = {digests[row].tobytes(): row for row in range(given.rows)}
    found = ours.search(queries, K).digests
    _, truth = flat.search(unit_rows(queries), K)
    same = sum(
        len({rows_of[key.tobytes()] for key in found[row]} & set(truth[row].tolist())) for row in range(len(queries))
    )
    results["agreement_with_faiss"] = same / truth.size
    results["bytes"] = {"ours": vectors.nbytes, "faiss_flat": unit.nbytes}
    print(results)
    print(write_result("search", results, packages=("numpy", "faiss-cpu")))


if __name__ == "__main__":
    main()
