"""Train `mini`: one run, resumed where it was stopped.

    python -m benchmarks.train_mini.train DATA WORK RUN [--steps 4000] [--blocks ccccccc] [--residues 8 ...]

WORK is what `benchmarks.train_mini.data` wrote. RUN gets ``log.jsonl``, ``checkpoint.pt`` (tensors alone, read with
``weights_only``) and, at the end, ``config.json`` and ``model.safetensors``, which are `mini`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.train_mini.judging import Judge, read_encoder
from benchmarks.train_mini.objectives import Objectives, Weights
from benchmarks.train_mini.sampling import Sampler, TrainingSet
from embedstore.models.mini_encoder import MiniConfig, MiniEncoder

AVERAGE = 0.998
"""Decay of the running mean of the weights, which is what is kept."""


def learning_rate(step: int, steps: int, peak: float, warm_up: int = 150) -> float:
    """A linear rise, a plateau, and a linear fall over the last 30%: so a run can be made longer until it falls."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * max(0.01, min(1.0, (steps - step) / (0.3 * steps)))


class Run:
    """Everything that a stopped run needs to go on."""

    def __init__(self, directory: Path, objectives: Objectives, *, rate: float, steps: int) -> None:
        self.directory, self.objectives, self.rate, self.steps = directory, objectives, rate, steps
        tables = [p for name, p in objectives.named_parameters() if "triplets" in name or "classes" in name]
        held = {id(table) for table in tables}
        others = [p for p in objectives.parameters() if id(p) not in held]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for p in others if p.dim() > 1], "weight_decay": 0.05},
                {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0},
                {"params": tables, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
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
        loss, parts = self.objectives(batch)
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
        held, centre = dict(self.average), self.objectives.centre
        assert centre.running_mean is not None and centre.running_var is not None
        spread = (centre.running_var + centre.eps).sqrt()
        held["project.weight"] = held["project.weight"] / spread[:, None]
        held["project.bias"] = (held["project.bias"] - centre.running_mean) / spread
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
    for name in ("blocks", "hidden_size", "convolution_size", "kernel_size", "output_size"):
        default = getattr(MiniConfig(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--start-from", type=Path, help="begin with the weights of a finished run, of its shape")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    config = MiniConfig(
        blocks=given.blocks,
        hidden_size=given.hidden_size,
        convolution_size=given.convolution_size,
        kernel_size=given.kernel_size,
        output_size=given.output_size,
    )
    data = TrainingSet.read(given.work / "train.npz")
    weights = Weights(**{name: getattr(given, name) for name in asdict(Weights())})
    encoder = read_encoder(given.start_from) if given.start_from else MiniEncoder(config)
    run = Run(given.run, Objectives(encoder, data, weights), rate=given.rate, steps=given.steps)
    learns_more = weights.classes > 0 or weights.pairs > 0
    sampler = Sampler(
        data,
        residues=given.batch_residues,
        seed=given.seed,
        masked=given.masked if weights.residues else 0.0,
        half_plain=learns_more,
    )
    judge = Judge(given.data)
    saved, begun = time.monotonic(), time.process_time()
    longest = 60 * (given.stop_after or math.inf)
    while run.step < given.steps and time.process_time() - begun < longest:
        parts = run.one_step(sampler)
        if run.step % 25 == 0:
            run.log(**{name: round(value, 4) for name, value in parts.items()})
        if run.step % given.judge_every == 0:
            run.log(judged=judge(run.averaged()))
        if time.monotonic() - saved > 120:
            run.save()
            saved = time.monotonic()
    run.save()
    run.export()
    run.log(judged=judge(run.averaged()), done=True)


if __name__ == "__main__":
    main()
