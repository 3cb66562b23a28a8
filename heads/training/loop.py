"""One trainer for every network that reads sequences."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from embedstore.errors import NonFiniteError
from heads.features.base import Float32
from heads.tasks.targets import Targets
from heads.training.batches import Collate, Rows, plan_epoch, within_budget
from heads.training.checkpoint import Checkpoint
from heads.training.checks import require_above_zero, require_seconds, require_whole
from heads.training.early_stopping import BestEpoch
from heads.training.objectives import Objective
from heads.training.schedule import Clipping, Schedule
from heads.training.tokens import Tokens

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How long and how fast to train; the fields are those of `heads.networks.head.NetworkHead`."""

    epochs: int
    batch_size: int
    pool_batches: int
    learning_rate: float
    schedule: str
    warmup_steps: int
    decay_rate: float
    clip: float | str | None
    patience: int
    max_seconds: float | None
    residue_budget: int
    checkpoint: str | None
    checkpoint_s: float
    seed: int

    def __post_init__(self) -> None:
        require_whole(
            epochs=self.epochs, batch_size=self.batch_size, patience=self.patience, residue_budget=self.residue_budget
        )
        require_whole(least=0, warmup_steps=self.warmup_steps, seed=self.seed)
        require_above_zero(learning_rate=self.learning_rate)
        require_above_zero(most=1, decay_rate=self.decay_rate)
        require_seconds(checkpoint_s=self.checkpoint_s)
        if self.max_seconds is not None:
            require_seconds(max_seconds=self.max_seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Sequences and their targets, in the same order."""

    tokens: Tokens
    targets: Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """A point of the learning curve: losses as in `Objective.loss` a row, time since the start of the training.

    Where time ran out within an epoch, the last point is that of its first steps.
    """

    epoch: int
    train_loss: float
    valid_loss: float | None
    seconds: float


@dataclass(slots=True, kw_only=True)
class _State:
    """Where a training stands, less what is a tensor."""

    epoch: int = 0
    step: int = 0
    steps_done: int = 0
    loss_sum: float = 0.0
    rows_seen: int = 0
    seconds: float = 0.0
    best: BestEpoch = field(default_factory=BestEpoch)
    clipping: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """Trains one network; afterwards it has the weights of the epoch with the least validation loss.

    Each step's randomness is drawn from seed, epoch and step alone, so that a training that was killed and goes on
    from its checkpoint is the same as one that was not.

    Parameters
    ----------
    network
        Takes what `collate` makes and gives (n, C) logits.
    collate
        Makes a batch of some rows.
    objective
        The loss.
    recipe
        How long and how fast.
    device, dtype
        Where, and in which precision products are computed; weights are float32.
    """

    def __init__(
        self,
        network: nn.Module,
        collate: Collate,
        objective: Objective,
        recipe: TrainingSettings,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.collate, self.objective, self.recipe = network.to(device), collate, objective, recipe
        self.device, self.dtype = device, dtype
        self._clipping = Clipping(recipe.clip)
        self._optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
        self._best: dict[str, torch.Tensor] = {}
        self._state = _State()

    def fit(self, train: Examples, valid: Examples | None, *, identity: str = "") -> list[Epoch]:
        """Train, or go on from the checkpoint; returns the learning curve.

        Parameters
        ----------
        train, valid
            To learn from, and to stop on; without the second all epochs are run and the last weights kept.
        identity
            Hash of data and settings, for the checkpoint.

        Raises
        ------
        NonFiniteError
            If the loss becomes NaN or infinite.
        """
        recipe = self.recipe
        n_steps = -(-len(train.tokens) // recipe.batch_size)
        schedule = Schedule(
            name=recipe.schedule,
            peak=recipe.learning_rate,
            warmup_steps=recipe.warmup_steps,
            decay_rate=recipe.decay_rate,
            total_steps=n_steps * recipe.epochs,
        )
        checkpoint = None if recipe.checkpoint is None else Checkpoint(Path(recipe.checkpoint), identity)
        if checkpoint is not None:
            self._resume(checkpoint)
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            self._run(train, valid, schedule, checkpoint)
        if self._best:
            self.network.load_state_dict(self._best)
        self.network.eval()
        return [Epoch(**point) for point in self._state.curve]

    def logits(self, tokens: Tokens) -> Float32:
        """Logits of sequences, (N, C) float32, in their order."""
        out = np.empty((len(tokens), self.objective.n_outputs), np.float32)
        for rows, logits in self._forward(tokens):
            out[rows] = logits.float().cpu().numpy()
        return out

    def _run(self, train: Examples, valid: Examples | None, schedule: Schedule, checkpoint: Checkpoint | None) -> None:
        state, recipe = self._state, self.recipe
        begun = saved = time.monotonic()
        before = state.seconds
        while not self._done():
            steps = plan_epoch(
                train.tokens.lengths,
                batch_size=recipe.batch_size,
                pool_batches=recipe.pool_batches,
                seed=(recipe.seed, state.epoch),
            )
            while state.step < len(steps) and not self._out_of_time():
                self._step(train, steps[state.step], schedule.rate(state.steps_done))
                now = time.monotonic()
                state.seconds = before + now - begun
                if checkpoint is not None and now - saved >= recipe.checkpoint_s:
                    self._save(checkpoint)
                    saved = time.monotonic()
            if state.step < len(steps):
                break
            self._end_epoch(valid)
            state.seconds = before + time.monotonic() - begun
            if checkpoint is not None:
                self._save(checkpoint)
                saved = time.monotonic()
        if state.step and self._out_of_time():
            # The checkpoint keeps the step, so that with more time the epoch's other rows are still seen.
            if checkpoint is not None:
                self._save(checkpoint)
            self._end_epoch(valid)

    def _done(self) -> bool:
        """Whether to stop before the next step, by the recipe of now: a training may go on with another."""
        state, recipe = self._state, self.recipe
        return state.best.is_stale(state.epoch, recipe.patience) or state.epoch >= recipe.epochs or self._out_of_time()

    def _out_of_time(self) -> bool:
        limit = self.recipe.max_seconds
        return limit is not None and self._state.steps_done > 0 and self._state.seconds >= limit

    def _step(self, train: Examples, rows: Rows, rate: float) -> None:
        """One step of the optimiser, in as many parts as the budget of residues asks for."""
        state = self._state
        torch.manual_seed(int(np.random.SeedSequence([self.recipe.seed, state.steps_done]).generate_state(1)[0]))
        self.network.train()
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part in within_budget(rows, train.tokens.lengths, budget=self.recipe.residue_budget):
            y = self.objective.targets(train.targets, part).to(self.device)
            with self._autocast():
                logits = self.network(self.collate(train.tokens, part).to(self.device))
            loss = self.objective.loss(logits, y)
            (loss / len(rows)).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        norm = self._clipping.apply(self.network.parameters())
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise NonFiniteError(
                f"The training loss is {total / len(rows):g} and the gradient's norm {norm:g} in epoch "
                f"{state.epoch + 1}, step {state.step + 1}; expected numbers. Lower learning_rate "
                f"(now {self.recipe.learning_rate:g}), or set clip."
            )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        state.loss_sum, state.rows_seen = state.loss_sum + total, state.rows_seen + len(rows)
        state.step, state.steps_done = state.step + 1, state.steps_done + 1

    def _end_epoch(self, valid: Examples | None) -> None:
        state = self._state
        loss = None if valid is None else self._loss(valid)
        point = Epoch(
            epoch=state.epoch + 1,
            train_loss=state.loss_sum / max(state.rows_seen, 1),
            valid_loss=loss,
            seconds=round(state.seconds, 3),
        )
        state.curve.append(asdict(point))
        _LOG.info("epoch %d: train %.4f, validation %s, %.1f s", point.epoch, point.train_loss, loss, point.seconds)
        if state.best.update(point.epoch, loss):
            # Without validation rows the last weights are the best that is known: no copy of them is needed.
            self._best = {} if loss is None else copy.deepcopy(self.network.state_dict())
        state.epoch, state.step, state.loss_sum, state.rows_seen = point.epoch, 0, 0.0, 0

    def _loss(self, examples: Examples) -> float:
        """Mean loss over rows."""
        total = 0.0
        for rows, logits in self._forward(examples.tokens):
            y = self.objective.targets(examples.targets, rows).to(self.device)
            total += float(self.objective.loss(logits, y))
        if not math.isfinite(total):
            raise NonFiniteError(
                f"The validation loss after epoch {self._state.epoch + 1} is {total:g}; expected a number. "
                f"Lower learning_rate (now {self.recipe.learning_rate:g}), or set clip."
            )
        return total / len(examples.tokens)

    def _forward(self, tokens: Tokens) -> Iterator[tuple[Rows, torch.Tensor]]:
        self.network.eval()
        rows = np.arange(len(tokens))
        for part in within_budget(rows, tokens.lengths, budget=self.recipe.residue_budget):
            with torch.inference_mode(), self._autocast():
                logits = self.network(self.collate(tokens, part).to(self.device))
            yield part, logits

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def _save(self, checkpoint: Checkpoint) -> None:
        self._state.clipping = self._clipping.state()
        tensors = {f"network.{name}": one for name, one in self.network.state_dict().items()}
        tensors |= {f"best.{name}": one for name, one in self._best.items()}
        for number, slots in self._optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": one for name, one in slots.items()}
        record = asdict(self._state)
        del record["best"]
        best = self._state.best
        checkpoint.save(tensors, {**record, "best_loss": best.loss, "best_epoch": best.epoch})

    def _resume(self, checkpoint: Checkpoint) -> None:
        found = checkpoint.load()
        if found is None:
            return
        tensors, state = found
        # Checkpoints used to say whether a training was over, by a patience and a time that may since have been raised.
        state.pop("finished", None)
        best = BestEpoch(loss=state.pop("best_loss"), epoch=state.pop("best_epoch"))
        self._state = _State(**state, best=best)
        self._clipping.restore(self._state.clipping)
        self.network.load_state_dict(_under(tensors, "network."))
        self._best = _under(tensors, "best.")
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, one in _under(tensors, "adam.").items():
            number, _, slot = name.partition(".")
            slots.setdefault(int(number), {})[slot] = one
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": slots})
        _LOG.info("goes on after epoch %d, step %d", self._state.epoch, self._state.step)


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
