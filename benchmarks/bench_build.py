"""Building: the share of time outside the model, against the model's forward alone on the same batches.

    python -m benchmarks.bench_build [proteins.fasta] [--n 2000]

Both sides embed the same distinct sequences in the same batches in one process, in turns: `forward` calls the model
and keeps nothing; `build` reads them from a store, pools, writes parts, and closes its ledger. `loop` is the model
card's way, one sequence at a time. Without a file, simulated families of the lengths of Pfam domains stand in.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np

import embedstore
from benchmarks.harness import interleave, medians, write_result
from embedstore.batching import plan_batches
from embedstore.models import Model, load_model
from embedstore.store import Store
from embedstore.testing.checkpoints import make_checkpoint
from embedstore.testing.families import simulate_families

SHAPES = {
    "esm": {"dim": 320, "n_layers": 6, "n_heads": 20},
    "t5": {"dim": 256, "n_layers": 4, "n_heads": 4},
}
"""ESM-2 8M's width and depth; ProtT5's layout at a size that a laptop can turn over."""


def proteins(path: Path | None, count: int, folder: Path) -> Path:
    """A FASTA of ``count`` proteins: from a file, else simulated."""
    records = embedstore.read_records(path) if path else simulate_families(count, max(1, count // 100), seed=1)
    target = folder / "proteins.fasta"
    with target.open("w") as file:
        for record in islice(records, count):
            file.write(f">{record.id}\n{record.residues.decode()}\n")
    return target


def measure(model: Model, store: Store, repeats: int, loop_share: int) -> dict[str, object]:
    """Seconds of each side for one model."""
    digests = store.dataset("proteins").digests
    distinct = np.unique(digests, axis=0)
    sequences = store.sequences.take(distinct)
    lengths = store.sequences.lengths(distinct)
    batches = plan_batches(lengths, budget=model.batch_residues)
    reports: list[embedstore.BuildReport] = []

    def forward() -> None:
        for batch in batches:
            model.embed([sequences[row] for row in batch.tolist()])

    def build() -> None:
        shutil.rmtree(store.path / "spaces", ignore_errors=True)
        store.refresh()
        reports.append(embedstore.build(store, model))

    def loop() -> None:
        for sequence in sequences[::loop_share]:
            model.embed([sequence])

    seconds = medians(interleave({"forward": forward, "build": build, "loop": loop}, repeats=repeats))
    seconds["loop"] *= loop_share
    outside = [1 - report.seconds_model / report.seconds for report in reports[1:]]
    n_residues = int(lengths.sum())
    return {
        "n_sequences": len(sequences),
        "n_residues": n_residues,
        "residues_per_second": {name: round(n_residues / value) for name, value in seconds.items()},
        "build_over_forward": round(seconds["forward"] / seconds["build"], 3),
        "build_over_loop": round(seconds["loop"] / seconds["build"], 2),
        "share_outside_model": round(float(np.median(outside)), 4),
    }


def main() -> None:
    """Measure each model and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("proteins", nargs="?", type=Path)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = proteins(given.proteins, given.n, folder)
        results: dict[str, object] = {"source": str(given.proteins.name) if given.proteins else "simulated"}
        for family in ("kmer", *SHAPES):
            if family == "kmer":
                model = load_model("kmer")
            else:
                model = load_model(make_checkpoint(folder / family, family, **SHAPES[family]), family=family)
            store = embedstore.open(folder / f"{family}.zarr", mode="a")
            store.add("proteins", file)
            results[family] = measure(model, store, given.repeats, loop_share=1 if family == "kmer" else 8)
            print(family, results[family], flush=True)
        packages = ("numpy", "torch", "transformers", "zarr")
        print(write_result("build", results, packages=packages))


if __name__ == "__main__":
    main()
