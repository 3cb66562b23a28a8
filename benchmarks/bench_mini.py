"""`mini` against `kmer`, an untrained encoder, BLASTp and MMseqs2, on real data that it was not trained on.

    python -m benchmarks.bench_mini DATA [--weights RUN] [--models mini kmer random ...] [--only pfam scop ...]

Sections are independent. Each prints its tables and is kept in ``results/mini.json`` as soon as it is ready; a section
that is run again replaces the earlier one, and those of other weights are dropped. Vectors and the aligners' answers
are kept in ``--work``, so that a second run is quick. ``--limit N`` tries everything on N test rows; its results are
named ``mini_limited``, and ``mini_floors`` where `mini` is not among the models.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.aligners import ALIGNERS, Aligner
from benchmarks.harness import RESULTS, write_result
from benchmarks.judge_mini import linear, neighbours, residues, speed
from benchmarks.judge_mini.measures import MINI, Finder, Measure
from benchmarks.judge_mini.models import WEIGHTS, Embeds, VectorFinder, open_model, untrained
from benchmarks.judge_mini.sets import Data
from benchmarks.train_mini.judging import read_encoder

OF_SHAPE = (MINI, "random")
"""Models that need the weights: the trained encoder, and one of the same shape."""

MODELS = (*OF_SHAPE, "kmer", *ALIGNERS)
PACKAGES = ("embedstore", "numpy", "torch", "scikit-learn")


class Bench:
    """What is compared, and on what."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.data = Data(given.data, given.limit)
        self.weights: Path = given.weights
        self.work: Path = given.work
        self.models = [
            VectorFinder(name, open_model(name, given.weights, given.work), given.work)
            for name in given.models
            if name not in ALIGNERS
        ]
        self.aligners: list[Aligner] = [
            ALIGNERS[name](given.work, threads=given.threads) for name in given.models if name in ALIGNERS
        ]
        self.finders: list[Finder] = [*self.models, *self.aligners]
        self.by_name: dict[str, Embeds] = {finder.name: finder.model for finder in self.models}

    def perplexity(self) -> list[Measure]:
        """Of `mini` and the untrained encoder: no other model gives residues a probability."""
        names = [name for name in OF_SHAPE if name in self.by_name]
        directories = [self.weights if name == MINI else untrained(self.weights, self.work) for name in names]
        encoders = {name: read_encoder(path) for name, path in zip(names, directories, strict=True)}
        return residues.perplexity(self.data, encoders)

    def speed(self) -> dict[str, Any]:
        """Of `mini` and the catalog's models."""
        asked = {finder.name: finder.model for finder in self.models if finder.name != "random"}
        return speed.speed(self.data, asked, self.weights)


SECTIONS: dict[str, Callable[[Bench], list[Measure] | dict[str, Any]]] = {
    "pfam": lambda bench: neighbours.pfam(bench.data, bench.finders),
    "pfam_linear": lambda bench: linear.pfam(bench.data, bench.models),
    "scop": lambda bench: neighbours.superfamilies(bench.data, bench.finders),
    "rare": lambda bench: neighbours.rare_superfamilies(bench.data, bench.finders),
    "left_out": lambda bench: neighbours.left_out(bench.data, bench.finders),
    "scl": lambda bench: linear.scl(bench.data, bench.models),
    "deeploc2": lambda bench: linear.deeploc2(bench.data, bench.models),
    "secondary": lambda bench: residues.secondary_structure(bench.data, bench.by_name),
    "perplexity": Bench.perplexity,
    "speed": Bench.speed,
}


def main() -> None:
    """Run the sections and write the JSON."""
    given = _arguments()
    given.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(given.threads)
    bench = Bench(given)
    name = "mini" + ("" if MINI in given.models else "_floors") + ("" if given.limit is None else "_limited")
    about = {
        "weights_sha256": _weights_sha256(given.weights) if MINI in given.models else None,
        "limit": given.limit,
    }
    kept = _earlier(RESULTS / f"{name}.json", about)
    for section in given.only or SECTIONS:
        started, cpu = time.monotonic(), time.process_time()
        found = SECTIONS[section](bench)
        print(speed.shown(found) if isinstance(found, dict) else "\n".join(map(str, found)))
        seconds = time.monotonic() - started
        print(f"[{section}: {seconds:.0f} s, {time.process_time() - cpu:.0f} CPU s of this process]\n", flush=True)
        kept[section] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "programs": {aligner.name: aligner.version for aligner in bench.aligners},
            "measures": found if isinstance(found, dict) else {m.name: m.to_dict() for m in found},
        }
        in_order = {known: kept[known] for known in SECTIONS if known in kept}
        path = write_result(name, {**about, "sections": in_order}, packages=PACKAGES)
    print(path)


def _earlier(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Sections of an earlier run with the same weights and limit."""
    if not path.exists():
        return {}
    earlier = json.loads(path.read_text(encoding="utf-8"))
    if any(earlier[name] != value for name, value in about.items()):
        print(f"{path.name} is of other weights or another limit: its sections are dropped.")
        return {}
    return dict(earlier["sections"])


def _weights_sha256(directory: Path) -> str:
    return hashlib.sha256((directory / WEIGHTS).read_bytes()).hexdigest()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, help="directory with config.json and model.safetensors")
    parser.add_argument("--models", nargs="+", default=MODELS, help="of the catalog, or " + ", ".join(MODELS))
    parser.add_argument("--only", nargs="+", choices=SECTIONS)
    parser.add_argument("--limit", type=int, help="test rows of each set, eight times as many training rows")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bench_mini")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    needs = [name for name in OF_SHAPE if name in given.models]
    if needs and given.weights is None:
        parser.error(f"--weights is needed for {' and '.join(needs)}")
    return given


if __name__ == "__main__":
    main()
