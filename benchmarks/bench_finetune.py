"""Fine-tuning: proteins a second against transformers' Trainer, and what it gains for `mini` on real tasks.

    python -m benchmarks.bench_finetune DATA [--only throughput scop2 …] [--methods full] [--epochs 4]

DATA has a folder a task, with a table a split. Each row is kept in ``results/finetune.json`` and ``finetune.md`` as
soon as it is ready; a later run of some methods replaces their rows alone. Of large sets a part is taken (`ROWS`), the
same for every row of the section.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import embedstore
import heads
from benchmarks.harness import RESULTS, interleave, medians, write_result
from embedstore.embedding.api import build
from embedstore.models import load_model
from embedstore.models.trainable import trainable
from embedstore.store import Store
from embedstore.testing.checkpoints import family_of, make_checkpoint
from heads.finetuning.head import FinetuneHead
from heads.finetuning.network import HeadLayers
from heads.tasks.catalog import TASKS

PACKAGES = ("embedstore", "torch", "transformers", "peft", "accelerate", "numpy")
ROWS: Mapping[str, Mapping[str, int | None]] = {
    "scop2": {"train": None, "valid": None, "test": None},
    "scl": {"train": 1200, "valid": 300, "test": 1000},
    "stability": {"train": 8000, "valid": 1000, "test": 4000},
    "secondary_structure": {"train": 1500, "valid": 200, "test": None},
}
"""Proteins taken of each split, in an order drawn from a seed; None for all."""

FEW_ROWS: Mapping[str, int] = {"train": 600, "valid": 150, "test": 400}
"""The same for encoders without knowledge, which show that every family learns and what it costs."""

FOLDERS: Mapping[str, str] = {"stability": "tape_stability", "secondary_structure": "flip_secondary_structure"}
RATES: dict[str, dict[str, float]] = {
    "frozen": {"head_rate": 1e-3},
    "lora": {"head_rate": 1e-3, "encoder_rate": 1e-3},
    "full": {"head_rate": 1e-3, "encoder_rate": 3e-4},
}
"""For a head that begins with what a linear one knows; not chosen on test rows."""

SLOWER: Mapping[str, float] = {"scop2": 0.2}
"""Parts of these rates for a set: its training rows are among those that `mini` was trained on, and by its validation
rows the usual ones lose what the head begins with."""


def throughput(data: Path, work: Path) -> Iterator[dict[str, Any]]:
    """One epoch over the same proteins, encoder, head, optimiser and batch size; all weights learn, float32."""
    table = pd.read_csv(data / "scop2" / "train.csv.gz", dtype=str)
    table = table[table.sequence.str.len() <= 500].sample(192, random_state=0)
    texts, names = table.sequence.tolist(), table.label.to_numpy().astype(str)
    base = make_checkpoint(work / "tiny_esm2", "esm", dim=64, n_layers=4)
    shared = {"model": str(base), "family": "esm", "device": "cpu"}

    def ours() -> None:
        settings = {"method": "full", "epochs": 1, "batch_size": 16, "precision": "float32", "dropout": 0.0}
        FinetuneHead(**shared, **settings).fit(texts, names)

    work_of_both = {
        "ours": ours,
        "trainer": lambda: _trainer(shared, texts, names, work, alike=False),
        "trainer, grouped by length": lambda: _trainer(shared, texts, names, work, alike=True),
    }
    seconds = interleave(work_of_both, repeats=3)
    middle = medians(seconds)
    yield {
        "n_proteins": len(texts),
        "n_residues": sum(map(len, texts)),
        "seconds": seconds,
        "proteins_per_second": {name: len(texts) / value for name, value in middle.items()},
        "ratio": {name: middle[name] / middle["ours"] for name in middle},
    }


class _Classifier(torch.nn.Module):
    """The same encoder, mean and head as ours, with the loss that Trainer asks for."""

    def __init__(self, shared: dict[str, str], n_classes: int) -> None:
        super().__init__()
        self.encoder = trainable(
            load_model(shared["model"], family=shared["family"], device="cpu", precision="float32")
        )
        self.encoder.thaw()
        self.head = HeadLayers(self.encoder.dim, n_classes, hidden=(), dropout=0.0, norm=True, ordered=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        logits = self.head(self.encoder.means(input_ids, attention_mask))
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def _trainer(shared: dict[str, str], texts: list[str], names: Any, work: Path, *, alike: bool) -> None:
    from transformers import DataCollatorWithPadding, EsmTokenizer, Trainer, TrainingArguments

    codes = np.unique(names, return_inverse=True)[1]
    tokenizer = EsmTokenizer.from_pretrained(shared["model"])
    rows = [
        {**tokenizer(text), "labels": int(code), "length": len(text)} for text, code in zip(texts, codes, strict=True)
    ]
    options: dict[str, Any] = {"train_sampling_strategy": "group_by_length"} if alike else {}
    arguments = TrainingArguments(
        output_dir=str(work / "trainer"),
        num_train_epochs=1,
        per_device_train_batch_size=16,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        learning_rate=2e-5,
        **options,
    )
    model = _Classifier(shared, len(set(codes.tolist())))
    collate = DataCollatorWithPadding(tokenizer)
    with contextlib.redirect_stdout(None):
        Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate).train()


def task(name: str, data: Path, work: Path, *, methods: Sequence[str], epochs: int) -> Iterator[dict[str, Any]]:
    """Heads on the frozen vectors beside fine-tuning by each method, and a nearest neighbour before and after."""
    residue = TASKS[name].input == "residue"
    opened, n_rows = _added(name, data, work, ROWS[name])
    build(opened, load_model("mini"), residues=residue, pooling=[] if residue else "mean")
    opened.refresh()
    space = opened.spaces()[0]
    found: dict[str, Any] = {"n_rows": n_rows, "rows": {}}
    for head in ("linear", "cnn") if residue else ("linear", "knn", "nearest"):
        started = time.perf_counter()
        fitted = _fit(opened, name, head, space)
        found["rows"][f"mini, {head}"] = {"fit_seconds": time.perf_counter() - started} | _figures(fitted, opened)
    yield found
    for method in methods:
        given = {
            "method": method,
            "long": "crop",
            "max_residues": 512,
            "epochs": epochs,
            "patience": 3,
            **{rate: SLOWER.get(name, 1.0) * value for rate, value in RATES[method].items()},
        }
        found["rows"][f"mini, {method}"] = _tuned(opened, name, work / f"{name}-{method}", given)
        yield found
        if method == "frozen" or residue:
            continue
        build(opened, load_model(work / f"{name}-{method}"))
        opened.refresh()
        for head in ("linear", "knn", "nearest"):
            fitted = _fit(opened, name, head, f"{name}-{method}")
            found["rows"][f"mini after {method}, {head}"] = _figures(fitted, opened)
        yield found


def checkpoints(data: Path, work: Path, *, methods: Sequence[str], epochs: int) -> Iterator[dict[str, Any]]:
    """Small encoders of three families with random weights, by each method, on a part of each task."""
    kinds = {"ESM-2": "esm", "T5": "t5", "BERT": "bert"}
    bases = {title: make_checkpoint(work / f"tiny_{kind}", kind, dim=64, n_layers=2) for title, kind in kinds.items()}
    found: dict[str, Any] = {"n_rows": dict(FEW_ROWS), "rows": {}}
    for name in ROWS:
        opened, _ = _added(name, data, work, FEW_ROWS)
        for title, kind in kinds.items():
            for method in methods:
                given = {"method": method, "long": "crop", "max_residues": 256, "epochs": epochs, **RATES[method]}
                given |= {"model": str(bases[title]), "family": family_of(kind), "device": "cpu"}
                out = work / f"{name}-{kind}-{method}"
                found["rows"][f"{name}: {title}, {method}"] = _tuned(opened, name, out, given)
                yield found


def _added(name: str, data: Path, work: Path, rows: Mapping[str, int | None]) -> tuple[Store, dict[str, int]]:
    """A store with some of the proteins of a task, and how many of each split."""
    source = work / name
    source.mkdir()
    n_rows = {}
    for part, n in rows.items():
        table = pd.read_csv(data / FOLDERS.get(name, name) / f"{part}.csv.gz", dtype=str, keep_default_na=False)
        table = table if n is None else table.sample(min(n, len(table)), random_state=0)
        table.to_csv(source / f"{part}.csv", index=False)
        n_rows[part] = len(table)
    opened = embedstore.open(work / f"{name}.zarr", mode="a")
    opened.add(name, source)
    opened.refresh()
    return opened, n_rows


def _fit(opened: Any, name: str, head: str, space: str) -> Any:
    """A head on stored vectors; ``nearest`` is `knn` with one neighbour."""
    params = {"k": 1} if head == "nearest" else {}
    return heads.fit(opened, task=name, head="knn" if head == "nearest" else head, space=space, params=params)


def _tuned(opened: Any, name: str, out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train in a process of its own, so that the peak of memory is its own."""
    job = {"store": str(opened.path), "task": name, "out": str(out), "params": settings}
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_finetune", "--job", json.dumps(job)],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    told = json.loads(run.stdout.strip().splitlines()[-1])
    return {**told, **_figures(heads.load(out), opened), "settings": settings}


def _job(given: dict[str, Any]) -> None:
    started = time.perf_counter()
    fitted = heads.finetune(given.pop("store"), **given)
    settings = fitted.head.settings()
    told = {
        "fit_seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **{name: settings[name] for name in ("n_learning", "best_epoch", "n_cropped")},
        "n_epochs": len(settings["history"]),
    }
    print(json.dumps(told))


def _figures(fitted: Any, opened: Any) -> dict[str, Any]:
    told = {}
    for split in ("valid", "test"):
        report = heads.evaluate(opened, fitted, split=split, relatives="none")
        told[split] = {name: metric.to_dict() for name, metric in report.metrics.items()}
    return told


SECTIONS: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "throughput": throughput,
    **{name: partial(task, name) for name in ROWS},
    "checkpoints": checkpoints,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--methods", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--epochs", type=int, default=8, help="at most")
    parser.add_argument("--job", type=json.loads)
    given = parser.parse_args()
    if given.job is not None:
        _job(given.job)
        return
    path = RESULTS / "finetune.json"
    kept = json.loads(path.read_text())["sections"] if path.exists() else {}
    for name in given.only:
        with tempfile.TemporaryDirectory() as work:
            asked = {} if name == "throughput" else {"methods": given.methods, "epochs": given.epochs}
            for found in SECTIONS[name](given.data, Path(work), **asked):
                kept[name] = _joined(kept.get(name, {}), found) | {"threads": torch.get_num_threads()}
                write_result("finetune", {"sections": kept}, packages=PACKAGES)
                (RESULTS / "finetune.md").write_text(table_of(kept), encoding="utf-8")
        print(json.dumps({name: kept[name]}, indent=2))


def table_of(sections: Mapping[str, Any]) -> str:
    """The sections as Markdown: what was gained on each task, by its main metric, and at what cost."""
    lines = [
        "# Fine-tuning `mini`",
        "",
        "Made by `python -m benchmarks.bench_finetune DATA`: heads on the frozen vectors, the encoder trained by each "
        "method, and heads on the vectors that the tuned encoder gives, back in the store. 95% bootstrap intervals; "
        "processor seconds of one thread, other work beside. Epoch 0 is the linear head that the training began with: "
        "no epoch was better on validation.",
        "",
    ]
    if "throughput" in sections:
        told = sections["throughput"]
        others = {name: ratio for name, ratio in told["ratio"].items() if name != "ours"}
        lines += [
            f"Proteins a second against transformers' Trainer, the same model and {told['n_proteins']} proteins in one "
            "run: " + ", ".join(f"{ratio:.1f} times that of {name}" for name, ratio in others.items()) + ".",
            "",
        ]
    for name in (one for one in (*ROWS, "checkpoints") if one in sections):
        section, counts = sections[name], sections[name]["n_rows"]
        title = "encoders made on the spot, their weights random" if name == "checkpoints" else name
        lines += [
            f"## {title}",
            "",
            f"{counts['train']:,} training, {counts['valid']:,} validation and {counts['test']:,} test proteins.",
            "",
            "| | metric | validation | test | epochs, best | weights that learn | CPU s | memory MiB |",
            "|---|---|---|---|---|---:|---:|---:|",
        ]
        for row, found in section["rows"].items():
            metric = TASKS[row.partition(":")[0] if name == "checkpoints" else name].main_metric
            lines.append(f"| {row} | {metric} | {_told(found, metric)} |")
        lines.append("")
    return "\n".join(lines)


def _told(found: Mapping[str, Any], metric: str) -> str:
    valid, test = found["valid"][metric], found["test"][metric]
    cells = [f"{valid['value']:.3f}", f"{test['value']:.3f} [{test['low']:.3f}, {test['high']:.3f}]"]
    if "n_learning" not in found:
        return " | ".join([*cells, "", "", "", ""])
    cells += [f"{found['n_epochs']}, {found['best_epoch']}", f"{found['n_learning']:,}"]
    return " | ".join([*cells, f"{found['cpu_seconds']:.0f}", f"{found['peak_mib']:,.0f}"])


def _joined(before: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The rows found, and those of earlier runs on the same proteins that this run has not made."""
    if before.get("n_rows") != found.get("n_rows") or "rows" not in found:
        return found
    return found | {"rows": before["rows"] | found["rows"]}


if __name__ == "__main__":
    main()
