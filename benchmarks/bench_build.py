"""Building: useful residues a second, against four other ways of running the same model over the same proteins.

    python -m benchmarks.bench_build [proteins.csv] [--n 2000] [--chunks 4] [--cases esm t5]

Sides, all in one process, in turns over chunks of the same real proteins (without a file: simulated ones):

- ``loop``: the model card's loop, one protein at a time, the checkpoint's own tokenizer;
- ``batches_of_16``: in the order of the file, padded to the longest, the mean under the mask;
- ``sentence_transformers``: `SentenceTransformer.encode`, which sorts by length (batches of 32, its default);
- ``build``: ours, from a store into a store: read, checked, embedded, pooled, written, verified ledger;
- ``limit``: the model's forward alone, on tensors made beforehand, full batches without padding or mask. As many
  rows as ours a batch, all of the batch's mean length: what no scheduling of proteins can beat.

A chunk's seconds are compared with the other sides' on the same chunk; the JSON has each ratio's median and range, by
the clock and in CPU seconds, which a machine that is busy with other work does not blur (take ``--threads 1`` for them:
threads that wait for each other count as busy).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import embedstore
from benchmarks.harness import write_result
from embedstore.models import load_model
from embedstore.models.reference import Reference
from embedstore.models.transformer import TransformerModel
from embedstore.sequences.batching import plan_batches
from embedstore.store import Store
from embedstore.testing.checkpoints import make_checkpoint
from embedstore.testing.families import simulate_families

CASES: dict[str, dict[str, Any]] = {
    "esm": {"family": "esm", "n_proteins": 2000, "shape": {"dim": 128, "n_layers": 3, "n_heads": 8}},
    "t5": {"family": "t5", "n_proteins": 2000, "shape": {"dim": 128, "n_layers": 3, "n_heads": 4}},
    "esm2_8m": {"family": "esm", "n_proteins": 200, "shape": {"dim": 320, "n_layers": 6, "n_heads": 20}},
}
"""Small encoders, for which everything around the model weighs most, over all proteins; ESM-2 8M's shape over some."""

SIDES = ("loop", "batches_of_16", "sentence_transformers", "build", "limit")


class Sides:
    """The ways of embedding, for one checkpoint; each takes residues and returns seconds."""

    def __init__(self, directory: Path, family: str) -> None:
        loaded = load_model(directory, family=family, device="cpu", precision="float32")
        assert isinstance(loaded, TransformerModel)
        self.model = loaded
        self.recipe = Reference(directory, family)
        self.sentences = _sentence_transformer(directory)
        self.reports: list[embedstore.BuildReport] = []

    def run(self, side: str, sequences: Sequence[bytes], store: Store) -> float:
        """Seconds of a side over these proteins, which ``store`` holds too."""
        if side == "build":
            return self._build(store)
        if side == "limit":
            return self._limit(sequences)
        started = time.perf_counter()
        work: dict[str, Callable[[Sequence[bytes]], object]] = {
            "loop": self._loop,
            "batches_of_16": self._batches_of_16,
            "sentence_transformers": self._sentence_transformers,
        }
        work[side](sequences)
        return time.perf_counter() - started

    def _loop(self, sequences: Sequence[bytes]) -> object:
        return [self.recipe.residues(sequence).mean(axis=0) for sequence in sequences]

    def _batches_of_16(self, sequences: Sequence[bytes]) -> object:
        rows = []
        for start in range(0, len(sequences), 16):
            texts = [self.recipe.text(sequence.decode()) for sequence in sequences[start : start + 16]]
            tokens = self.recipe.tokenizer(texts, return_tensors="pt", padding=True)
            with torch.no_grad():
                mask = tokens["attention_mask"]
                hidden = self.recipe.encoder(input_ids=tokens["input_ids"], attention_mask=mask).last_hidden_state
            rows.append(((hidden * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]).numpy())
        return np.vstack(rows)

    def _sentence_transformers(self, sequences: Sequence[bytes]) -> object:
        texts = [str(self.recipe.text(sequence.decode())) for sequence in sequences]
        return self.sentences.encode(texts, show_progress_bar=False)

    def _build(self, store: Store) -> float:
        shutil.rmtree(store.path / "spaces", ignore_errors=True)
        started = time.perf_counter()
        self.reports.append(embedstore.build(store, self.model))
        return time.perf_counter() - started

    def _limit(self, sequences: Sequence[bytes]) -> float:
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        planned = plan_batches(lengths, budget=self.model.batch_residues)
        shapes = [(len(batch), round(float(lengths[batch].mean()))) for batch in planned]
        batches = [torch.randint(5, 20, shape) for shape in shapes]
        started = time.perf_counter()
        with torch.inference_mode():
            for batch in batches:
                self.recipe.encoder(input_ids=batch)
        seconds = time.perf_counter() - started
        # Mean lengths were rounded; the rate is what counts.
        return seconds * float(lengths.sum()) / sum(rows * length for rows, length in shapes)


def _sentence_transformer(directory: Path) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    encoder = Transformer(str(directory), max_seq_length=100_000)
    return SentenceTransformer(modules=[encoder, Pooling(encoder.get_word_embedding_dimension())], device="cpu")


def proteins(path: Path | None, count: int) -> list[bytes]:
    """Distinct proteins: the first of a file, else simulated ones."""
    records = embedstore.read_records(path) if path else simulate_families(count, max(1, count // 100), seed=1)
    found = dict.fromkeys(record.residues for record in islice(records, 2 * count))
    return list(islice(found, count))


def in_store(sequences: Sequence[bytes], folder: Path) -> Store:
    """A store that holds these proteins."""
    folder.mkdir()
    file = folder / "proteins.fasta"
    file.write_text("".join(f">p{number}\n{text.decode()}\n" for number, text in enumerate(sequences)))
    store = embedstore.open(folder / "store.zarr", mode="a")
    store.add("proteins", file)
    return store


def measure(sides: Sides, sequences: Sequence[bytes], n_chunks: int, folder: Path) -> dict[str, object]:
    """Every side on every chunk, in turns that begin with another side each time."""
    chunks = [sequences[number::n_chunks] for number in range(n_chunks)]
    stores = [in_store(chunk, folder / str(number)) for number, chunk in enumerate(chunks)]
    for side in SIDES:
        sides.run(side, chunks[0][:16], in_store(chunks[0][:16], folder / f"warm-{side}"))
    sides.reports.clear()
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    cpu_seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for number, (chunk, store) in enumerate(zip(chunks, stores, strict=True)):
        for turn in range(len(SIDES)):
            side = SIDES[(number + turn) % len(SIDES)]
            begun = time.process_time()
            seconds[side].append(sides.run(side, chunk, store))
            cpu_seconds[side].append(time.process_time() - begun)
            print(f"  chunk {number} {side:22} {seconds[side][-1]:7.1f} s", flush=True)
    n_residues = [sum(map(len, chunk)) for chunk in chunks]
    ours, our_cpu = np.array(seconds["build"]), np.array(cpu_seconds["build"])
    return {
        "n_sequences": len(sequences),
        "n_residues": sum(n_residues),
        "residues_per_second": {side: round(sum(n_residues) / sum(seconds[side])) for side in SIDES},
        "build_over": {side: _ratio(np.array(seconds[side]) / ours) for side in SIDES if side != "build"},
        "build_over_in_cpu_seconds": {
            side: _ratio(np.array(cpu_seconds[side]) / our_cpu) for side in SIDES if side != "build"
        },
        "share_outside_model": round(
            statistics.median(1 - report.seconds_model / report.seconds for report in sides.reports), 4
        ),
        "seconds": {side: [round(one, 2) for one in runs] for side, runs in seconds.items()},
    }


def _ratio(values: np.ndarray) -> dict[str, float]:  # type: ignore[type-arg]
    return {
        "median": round(float(np.median(values)), 3),
        "low": round(float(values.min()), 3),
        "high": round(float(values.max()), 3),
    }


def kmer(sequences: Sequence[bytes], folder: Path) -> dict[str, object]:
    """The weightless model, whose forward is so quick that the store shows: against its calls alone."""
    store, model = in_store(sequences, folder / "kmer"), load_model("kmer")
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    batches = plan_batches(lengths, budget=model.batch_residues)
    forward, built, reports = [], [], []
    for _ in range(3):
        started = time.perf_counter()
        for batch in batches:
            model.embed([sequences[row] for row in batch.tolist()])
        forward.append(time.perf_counter() - started)
        shutil.rmtree(store.path / "spaces", ignore_errors=True)
        started = time.perf_counter()
        reports.append(embedstore.build(store, model))
        built.append(time.perf_counter() - started)
    return {
        "residues_per_second": {
            "forward": round(int(lengths.sum()) / statistics.median(forward)),
            "build": round(int(lengths.sum()) / statistics.median(built)),
        },
        "build_over_forward": round(statistics.median(forward) / statistics.median(built), 3),
    }


def main() -> None:
    """Measure each model and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proteins", nargs="?", type=Path)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--threads", type=int, help="of torch; by default a thread a core")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sequences = proteins(given.proteins, given.n)
    results: dict[str, object] = {
        "source": given.proteins.name if given.proteins else "simulated",
        "cases": {name: CASES[name] for name in given.cases},
        "threads": torch.get_num_threads(),
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results["kmer"] = kmer(sequences, folder)
        print("kmer", results["kmer"], flush=True)
        for name in given.cases:
            case = CASES[name]
            (folder / name).mkdir()
            directory = make_checkpoint(folder / f"{name}-checkpoint", case["family"], **case["shape"])
            some = sequences[:: max(1, len(sequences) // case["n_proteins"])]
            results[name] = measure(Sides(directory, case["family"]), some, given.chunks, folder / name)
            print(name, results[name], flush=True)
    packages = ("numpy", "torch", "transformers", "sentence-transformers", "zarr")
    print(write_result("build", results, packages=packages))


if __name__ == "__main__":
    main()
