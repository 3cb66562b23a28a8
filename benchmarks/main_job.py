"""The main job on a labelled data set: add, build, fit, evaluate, look up, for `kmer` and three random checkpoints.

    python -m benchmarks.main_job random_split/ [--store DIR]

The checkpoints are small, randomly initialised T5, BERT and ESM models with tokenizers of the real layout: they show
that the whole path works and what a random projection of residues gives, not what a trained model would.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import embedstore
import heads
from benchmarks.harness import write_result
from embedstore.models import Model, load_model
from embedstore.store import Store
from embedstore.testing.checkpoints import make_checkpoint

SHAPE = {"dim": 128, "n_layers": 2, "n_heads": 4}


def job(store: Store, model: Model) -> dict[str, Any]:
    """Build, fit and evaluate both heads, and look up the test split."""
    report = embedstore.build(store, model)
    told: dict[str, Any] = {
        "space": report.space,
        "n_embedded": report.n_embedded,
        "n_skipped": report.n_skipped,
        "n_unknown_residues": report.n_unknown_residues,
        "build_s": round(report.seconds, 1),
        "share_outside_model": round(1 - report.seconds_model / report.seconds, 3),
    }
    for head in ("linear", "knn"):
        started = time.perf_counter()
        fitted = heads.fit(store, task="pfam", head=head, space=report.space)
        fit_s = time.perf_counter() - started
        evaluated = heads.evaluate(store, fitted, split="test")
        told[head] = {
            **{name: metric.to_dict() for name, metric in evaluated.metrics.items()},
            "n_rows": evaluated.n_rows,
            "n_keys_in_train": evaluated.n_keys_in_train,
            "fit_s": round(fit_s, 1),
        }
    dataset = store.dataset("pfam")
    test = np.array(dataset.column("split")) == "test"
    ids, labels = np.array(dataset.ids())[test], np.array(dataset.column("family_accession"))[test]
    sequences = store.sequences.take(dataset.digests[test])
    records = [embedstore.Record(id=name, residues=residues) for name, residues in zip(ids, sequences, strict=True)]
    hits = heads.lookup(store, records, task="pfam", space=report.space, model=model)
    told["lookup"] = {
        "n_right_of_first_10": int((hits.labels[:10] == labels[:10]).sum()),
        "share_right": round(float((hits.labels == labels).mean()), 4),
    }
    return told


def main() -> None:
    """Run the job for each model and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--store", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = embedstore.open(given.store or Path(name) / "pfam.zarr", mode="a")
        added = store.add("pfam", given.data)
        results: dict[str, Any] = {"n_records": added.n_records, "n_distinct": added.n_distinct}
        models = [load_model("kmer")]
        for family in ("t5", "bert", "esm"):
            folder = make_checkpoint(Path(name) / f"random_{family}", family, **SHAPE)
            models.append(load_model(folder, family=family, precision="float32"))
        for model in models:
            results[model.name] = job(store, model)
            print(model.name, results[model.name], flush=True)
        started = time.perf_counter()
        verified = embedstore.verify(store)
        results["verify"] = {**verified.to_dict(), "seconds": round(time.perf_counter() - started, 1)}
        print(write_result("main_job", results, packages=("numpy", "torch", "transformers", "scikit-learn", "zarr")))


if __name__ == "__main__":
    main()
