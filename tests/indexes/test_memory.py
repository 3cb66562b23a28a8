"""An index larger than the memory that a process may take is searched where it lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedstore.indexes.inverted_list_file import write_lists
from embedstore.indexes.ivf_pq import TrainedIvfPq
from embedstore.testing.index_contract import clustered_rows

ROWS = 1_000_000
ROOM = 24 * 2**20

BOUNDED = """
import resource, sys
from pathlib import Path
import faiss
import numpy as np
from embedstore.indexes.compressed import SearchParams
from embedstore.indexes.ivf_pq import TrainedIvfPq
from embedstore.indexes.inverted_list_file import read_lists

folder, room = Path(sys.argv[1]), int(sys.argv[2])
trained = TrainedIvfPq.read(folder)
queries = np.load(folder / "queries.npy")
reduced = trained.reduction(queries)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
taken = int(status["VmData"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (taken + room, taken + room))
segment = trained.open(folder)
rows = segment.candidates(reduced, SearchParams(probes=trained.n_lists, candidates=50), None)[1]
print(segment.n_rows, *rows[:, 0].tolist())
try:
    (folder / "lists.bin").read_bytes()
except MemoryError:
    print("too large to be read")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="bounds what a process may allocate as Linux counts it")
def test_an_index_larger_than_the_memory_allowed_is_searched_mapped(tmp_path: Path) -> None:
    # Codes of a million rows, of which all but three are noise: what a search finds must have come from the file.
    _, vectors = clustered_rows(3000, 256)
    trained = TrainedIvfPq.train(vectors, n_rows=3000, seed=0)
    trained.write(tmp_path)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (ROWS, trained.code_bytes), dtype=np.uint8)
    lists = rng.integers(0, trained.n_lists, ROWS).astype(np.int32)
    planted = np.array([5, 400_000, 999_999])
    lists[planted], codes[planted] = trained.encode(vectors[:3])
    np.save(tmp_path / "sizes.npy", write_lists(tmp_path / "lists.bin", lists, codes, trained.n_lists))
    np.save(tmp_path / "queries.npy", vectors[:3])
    assert (tmp_path / "lists.bin").stat().st_size > 2 * ROOM
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(tmp_path), str(ROOM)], check=True, capture_output=True, text=True
    )
    said = done.stdout.splitlines()
    assert said == [f"{ROWS} 5 400000 999999", "too large to be read"]
