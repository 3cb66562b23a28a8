"""Train `mini`: one run, resumed where it was stopped.

    python -m benchmarks.train_mini.train DATA WORK RUN [--steps 4000] [--start-from WEIGHTS] [--residues 8 ...]

WORK is what `benchmarks.train_mini.data` and `benchmarks.train_mini.alignments` wrote. RUN gets ``log.jsonl``,
``checkpoint.pt`` (tensors alone, read with ``weights_only``) and, at the end, ``config.json`` and
``model.safetensors``, which `benchmarks.train_mini.finish` makes `mini` of. The same command resumes a stopped run;
with more ``--steps`` it goes on with a finished one.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.train_mini.judging import Judge, pooled_of, read_encoder
from benchmarks.train_mini.objectives import Objectives, Weights
from benchmarks.train_mini.sampling import CURATED, Sampler, TrainingSet
from benchmarks.train_mini.spectrum import with_spectrum
from embedstore.models.mini import MiniModel
from embedstore.models.mini_encoder import MiniConfig, MiniEncoder

AVERAGE = 0.998
"""Decay of the running mean of the weights, which is what is kept."""

SHAPE = ("blocks", "hidden_size", "convolution_size", "kernel_size", "output_size")
CLASS_SAMPLE = 12_000
"""Training examples whose vectors the class vectors begin with."""


def learning_rate(step: int, steps: int, peak: float, warm_up: int = 150) -> float:
    """A linear rise, a plateau, and a linear fall over the last 30%: so a run can be made longer until it falls."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * max(0.01, min(1.0, (steps - step) / (0.3 * steps)))


class Run:
    """Everything that a stopped run needs to go on."""

    def __init__(self, directory: Path, objectives: Objectives, *, rate: float, steps: int) -> None:
        self.directory, self.objectives, self.rate, self.steps = directory, objectives, rate, steps
        for name, parameter in objectives.encoder.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and not name.startswith(MiniModel.not_learned))
        learned = {name: p for name, p in objectives.named_parameters() if p.requires_grad}
        tables = [p for name, p in learned.items() if "triplets" in name or "classes" in name]
        held = {id(table) for table in tables}
        others = [p for p in learned.values() if id(p) not in held]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in others if p.dim() > 1], "weight_decay": 0.05},
                {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0},
                {"params": tables, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
            fused=True,
        )
        self.average = {name: value.detach().clone() for name, value in objectives.encoder.state_dict().items()}
        self.step, self.seconds, self.n_residues = 0, 0.0, 0
        directory.mkdir(parents=True, exist_ok=True)
        if self._checkpoint.exists():
            self._load()

    @property
    def _checkpoint(self) -> Path:
        return self.directory / "checkpoint.pt"

    def _load(self) -> None:
        held = torch.load(self._checkpoint, weights_only=True)
        self.objectives.load_state_dict(held["objectives"])
        self.optimizer.load_state_dict(held["optimizer"])
        self.average = held["average"]
        self.step, self.seconds, self.n_residues = held["step"], held["seconds"], held["n_residues"]

    def save(self) -> None:
        """Write a checkpoint that a kill cannot leave half-written."""
        state = {
            "objectives": self.objectives.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "step": self.step,
            "seconds": self.seconds,
            "n_residues": self.n_residues,
        }
        new = self._checkpoint.with_suffix(".new")
        torch.save(state, new)
        new.replace(self._checkpoint)

    def one_step(self, sampler: Sampler) -> dict[str, float]:
        started = time.perf_counter()
        batch = sampler.batch(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.steps, self.rate)
        loss, parts = self.objectives.forward(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.objectives.parameters(), 1.0)
        self.optimizer.step()
        decay = min(AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.objectives.encoder.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        if not math.isfinite(float(loss.detach())):
            raise RuntimeError(f"The loss is {float(loss)} at step {self.step}; take a lower --rate.")
        self.step += 1
        self.n_residues += int(batch.mask.sum())
        self.seconds += time.perf_counter() - started
        return parts

    def weights(self) -> dict[str, torch.Tensor]:
        """The running mean of the encoder's weights, the centring of its vectors folded into the projection."""
        held = dict(self.average)
        held["project.bias"] = held["project.bias"] - self.objectives.centre.mean
        return held

    def averaged(self) -> MiniEncoder:
        """The encoder with these weights."""
        encoder = MiniEncoder(self.objectives.encoder.config)
        encoder.load_state_dict(self.weights())
        return encoder.eval()

    def log(self, **fields: Any) -> None:
        line = {"step": self.step, "seconds": round(self.seconds, 1), "n_residues": self.n_residues, **fields}
        with (self.directory / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def export(self) -> None:
        """``config.json`` and float16 weights, as `embedstore` reads them."""
        config = {"model_type": "mini", **asdict(self.objectives.encoder.config)}
        (self.directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        weights = {name: value.to(torch.float16).contiguous() for name, value in self.weights().items()}
        save_file(weights, self.directory / "model.safetensors")


def begin(given: argparse.Namespace, data: TrainingSet, weights: Weights) -> Objectives:
    """A new encoder, or one that goes on from finished weights, with class vectors from its own vectors."""
    if given.start_from is None:
        config = MiniConfig(**{name: getattr(given, name) for name in SHAPE})
        return Objectives(with_spectrum(MiniEncoder(config)), data, weights, bf16=given.bf16)
    encoder = read_encoder(given.start_from)
    # Adam's steps of one size undo the normalised covariance of a finished projection in a hundred steps.
    encoder.project.requires_grad_(False)
    objectives = Objectives(encoder, data, weights, bf16=given.bf16)
    if not (given.run / "checkpoint.pt").exists():
        labelled = np.flatnonzero(np.any([data.labels[kind] >= 0 for kind in CURATED], axis=0))
        chosen = np.random.default_rng(0).permutation(labelled)[:CLASS_SAMPLE]
        vectors = torch.from_numpy(pooled_of(encoder, [data.sequence(row) for row in chosen]))
        objectives.begin_classes(vectors, {kind: torch.from_numpy(data.labels[kind][chosen]) for kind in CURATED})
    return objectives.train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--stop-after", type=float, help="stop after so many CPU minutes, to compare or to go on later")
    parser.add_argument("--batch-residues", type=int, default=12_288)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--masked", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--judge-every", type=int, default=500)
    for name, default in asdict(Weights()).items():
        parser.add_argument(f"--{name}", type=float, default=default)
    for name in SHAPE:
        default = getattr(MiniConfig(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--start-from", type=Path, help="begin with finished weights, such as the packaged ones")
    parser.add_argument("--bf16", action="store_true", help="residue states in bfloat16: faster where it has AMX")
    parser.add_argument("--compile", action="store_true", help="compile the encoder: faster, needs a C++ compiler")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    data = TrainingSet.read(given.work)
    weights = Weights(**{name: getattr(given, name) for name in asdict(Weights())})
    run = Run(given.run, begin(given, data, weights), rate=given.rate, steps=given.steps)
    learns_more = weights.classes > 0 or weights.pairs > 0
    sampler = Sampler(
        data,
        residues=given.batch_residues,
        seed=given.seed,
        masked=given.masked if weights.residues else 0.0,
        half_plain=learns_more,
    )
    if given.compile:
        run.objectives.encoder.compile(dynamic=False)
    judge = Judge(given.data)
    saved, begun = time.monotonic(), time.process_time()
    longest = 60 * (given.stop_after or math.inf)
    while run.step < given.steps and time.process_time() - begun < longest:
        parts = run.one_step(sampler)
        if run.step % 25 == 0:
            run.log(**{name: round(value, 4) for name, value in parts.items()})
        if run.step % given.judge_every == 0:
            run.save()
            run.log(judged=judge(run.averaged()))
        if time.monotonic() - saved > 120:
            run.save()
            saved = time.monotonic()
    run.save()
    run.export()
    run.log(judged=judge(run.averaged()), done=True)


if __name__ == "__main__":
    main()
