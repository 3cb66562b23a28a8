"""Heads: processor time to a validation accuracy, and memory, beside the libraries that do the same.

    python -m benchmarks.bench_heads [--only many ten ridge full residues pairs gbm] [--name heads] [--scale 1]

Vectors are SIMULATED (see `judge_heads.simulated`) and written to a file of float16 that all contenders of a section
read; cost ratios carry over to real vectors, accuracies do not. Each contender runs in a process of its own on one
thread. What counts is processor time and not the clock on the wall, since the machine may be shared. A contender that
is trained in epochs is stopped where it predicts the validation rows as well as `linear` less one point, or where its
budget is spent: then its ratio is a lower bound, and `reached` is false. ``--only`` runs some sections and leaves the
figures of the others in the JSON as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, machine, write_result
from benchmarks.judge_heads.shapes import gbm, pairs, residues
from benchmarks.judge_heads.simulated import Families

N_VALID = 4000
GOALS = {
    "many": {"sklearn_lda": 6, "sklearn_logistic": 30, "data_loader": 30},
    "ten": {"data_loader": 12},
    "ridge": {"sklearn_ridge_cv": 40},
    "residues": {"padded_conv2d": 8},
    "pairs": {"data_loader": 4},
    "gbm": {"raw_features": 30},
}
"""How many times as much as ours each is to cost at least: the goals that were set for ratios in one run."""


def write_rows(folder: Path, data: Families) -> None:
    """The training and validation rows of a section, for processes to read."""
    folder.mkdir(parents=True)
    np.save(folder / "train_y.npy", data.file(folder / "train.f16"))
    X, y = data.array(N_VALID, 1)
    np.save(folder / "valid.npy", X.astype(np.float32))
    np.save(folder / "valid_y.npy", y)
    about = {"n_rows": data.n_rows, "dim": data.dim, "n_classes": data.n_classes}
    (folder / "about.json").write_text(json.dumps(about))


def run(folder: Path, contender: str, *, goal: float = 0.0, budget_s: float, **options: Any) -> dict[str, Any]:
    """One contender in a process of its own, on one thread."""
    asked = {"folder": str(folder), "contender": contender, "goal": goal, "budget_s": budget_s, "options": options}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.judge_heads.contenders", json.dumps(asked)],
        env={**os.environ, **threads}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return {"skipped": (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(contender, options, found, flush=True)
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}


def classes(
    folder: Path, data: Families, *, budget_s: float, rivals: tuple[str, ...], iterations: int, mlp: Any = None
) -> dict[str, Any]:
    """`linear` and our other heads against the rivals, to one validation accuracy; `mlp` is a figure to take over."""
    write_rows(folder, data)
    linear = run(folder, "ours", budget_s=0, head="linear", params={"refine": False})
    goal = linear["valid_accuracy"] - 0.01
    found = {"ours_linear": linear}
    found["ours_mlp"] = mlp or run(folder, "ours", goal=goal, budget_s=0, head="mlp", params={})
    for rival in rivals:
        options = {"iterations": iterations} if rival == "sklearn_logistic" else {}
        found[rival] = run(folder, rival, goal=goal, budget_s=budget_s, **options)
    ratios = {name: one["cpu_s"] / linear["cpu_s"] for name, one in found.items() if "cpu_s" in one}
    return {
        "rows": data.n_rows, "dim": data.dim, "classes": data.n_classes, "valid_accuracy_to_reach": round(goal, 4),
        "contenders": found,
        "cpu_over_ours_linear": {name: round(ratio, 1) for name, ratio in ratios.items()},
    }  # fmt: skip


def many(folder: Path, scale: float, budget_s: float, iterations: int, mlp: Any = None) -> dict[str, Any]:
    """100,000 rows of 1,572 classes."""
    data = Families(round(100_000 * scale), 1024, 1572, noise=4.0)
    rivals = ("sklearn_lda", "sklearn_logistic", "sklearn_sgd", "sklearn_mlp", "data_loader")
    return classes(folder, data, budget_s=budget_s, rivals=rivals, iterations=iterations, mlp=mlp)


def ten(folder: Path, scale: float, budget_s: float, iterations: int, mlp: Any = None) -> dict[str, Any]:
    """50,000 rows of ten classes."""
    data = Families(round(50_000 * scale), 1024, 10, noise=8.0)
    rivals = ("sklearn_lda", "sklearn_logistic", "sklearn_sgd", "sklearn_mlp", "data_loader")
    return classes(folder, data, budget_s=budget_s, rivals=rivals, iterations=iterations, mlp=mlp)


def ridge(folder: Path, scale: float, budget_s: float, iterations: int) -> dict[str, Any]:
    """A number, 100,000 rows: 25 penalties."""
    data = Families(round(100_000 * scale), 1024, 100, noise=4.0)
    write_rows(folder, data)
    found = {name: run(folder, "ridge", budget_s=0, which=name) for name in ("ours", "sklearn_ridge_cv")}
    ratio = found["sklearn_ridge_cv"]["cpu_s"] / found["ours"]["cpu_s"]
    return {"rows": data.n_rows, "dim": data.dim, "contenders": found, "cpu_over_ours": round(ratio, 1)}


def full(folder: Path, scale: float, budget_s: float, iterations: int) -> dict[str, Any]:
    """1.1 million rows of 17,929 classes: `linear` alone, at most 40 seconds of processor time and 6 GB."""
    data = Families(round(1_100_000 * scale), 1024, round(17_929 * scale), noise=4.0)
    write_rows(folder, data)
    found = run(folder, "ours", budget_s=0, head="linear", params={})
    return {
        "rows": data.n_rows, "dim": data.dim, "classes": data.n_classes, "ours_linear": found,
        "vectors": "a memory-mapped file of float16, written in blocks; its pages are not counted as memory that the "
        "fit needs, and are in the peak",
        "goal": {"cpu_s": 40, "peak_bytes": 6e9},
    }  # fmt: skip


SECTIONS: dict[str, Callable[..., dict[str, Any]]] = {"many": many, "ten": ten, "ridge": ridge, "full": full}
SHAPES = {"residues": residues, "pairs": pairs, "gbm": gbm}


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*SECTIONS, *SHAPES], default=[*SECTIONS, *SHAPES])
    parser.add_argument("--budget", type=float, default=60, help="processor seconds for a rival that trains in epochs")
    parser.add_argument("--iterations", type=int, default=12, help="of LogisticRegression, which cannot be stopped")
    parser.add_argument("--scale", type=float, default=1, help="of the number of rows, to try it out")
    parser.add_argument("--folder", type=Path, help="where the vectors are written; a temporary one by default")
    parser.add_argument("--name", default="heads")
    parser.add_argument("--keep-mlp", action="store_true", help="take our mlp's figure from the run before, marked so")
    given = parser.parse_args()
    for name in given.only:
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            if name in SECTIONS:
                kept = {"mlp": _mlp_before(given.name, name)} if given.keep_mlp and name in ("many", "ten") else {}
                found = SECTIONS[name](Path(folder) / name, given.scale, given.budget, given.iterations, **kept)
            else:
                found = SHAPES[name](given.scale)
        found |= {"cpu": machine()["cpu"], "load_1min_before": round(load, 1), "ratios_to_reach": GOALS.get(name, {})}
        results = {**read_sections(RESULTS / f"{given.name}.json"), name: found}
        payload = {"vectors": "simulated", "threads": 1, **results}
        print(write_result(given.name, payload, packages=("numpy", "scikit-learn", "torch", "lightgbm")))


def _mlp_before(name: str, section: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text())
    found: dict[str, Any] = before[section]["contenders"]["ours_mlp"]
    return {"of_the_run_of": before["date"]} | found


def read_sections(path: Path) -> dict[str, Any]:
    """What was measured before, by section."""
    before = json.loads(path.read_text()) if path.exists() else {}
    return {name: before[name] for name in (*SECTIONS, *SHAPES) if name in before}


if __name__ == "__main__":
    main()
