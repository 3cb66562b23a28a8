"""The training loop: passes added up to steps, mixed precision, early stopping, and checkpoints to go on from."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedstore.errors import NonFiniteError, OutOfMemoryError
from embedstore.models.devices import DTYPES
from embedstore.models.memory import is_out_of_memory
from embedstore.types import Progress, ProgressCallback, null_progress
from heads.calibration.temperature import fit_temperature
from heads.features.base import Rows
from heads.finetuning.examples import Examples, epoch_batches
from heads.finetuning.forward import Passes
from heads.finetuning.history import Curves, Epoch
from heads.finetuning.network import Network, Objective
from heads.finetuning.optimizer import Descent
from heads.finetuning.settings import Settings
from heads.training.checkpoint import Checkpoint
from heads.training.distributed import Engine
from heads.training.early_stopping import BestEpoch

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """Examples, and what is to be learnt of their rows."""

    examples: Examples
    goal: Objective
    shares: NDArray[np.float64] | None = None


@dataclass(slots=True, kw_only=True)
class _Standing:
    """Where a training stands."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    n_seen: int = 0
    best: BestEpoch = field(default_factory=BestEpoch)
    history: list[Epoch] = field(default_factory=list)


_COUNTS = ("epoch", "batch", "step", "loss_sum", "n_seen")
"""Fields of `_Standing` that a checkpoint has as they are."""


class Trainer:
    """Trains a network; what it has learnt is then in the network, from its best epoch.

    Parameters
    ----------
    network
        The network, its learning weights chosen.
    train, valid
        What to learn from and to choose on.
    settings
        How.
    engine
        One process or several.
    precision
        Of products: ``float32``, ``bfloat16`` or ``float16``.
    budget
        Padded residues in one pass, to begin with.
    folder
        Where checkpoints and the log go; None for neither.
    fingerprint
        What a checkpoint must be of.
    begin
        Sets the weights to begin with, by the passes that it is given and their budget; not called where a training
        goes on. What it sets is kept where no epoch is better.
    progress
        Called after each step, in steps.

    Attributes
    ----------
    history
        The epochs so far.
    n_halved
        How often the budget was halved because memory ran out.
    """

    def __init__(
        self,
        network: Network,
        train: TrainingData,
        valid: TrainingData | None,
        settings: Settings,
        *,
        engine: Engine,
        precision: str,
        budget: int,
        folder: Path | None = None,
        fingerprint: str = "",
        begin: Callable[[Passes, int], None] | None = None,
        progress: ProgressCallback = null_progress,
    ) -> None:
        self._network, self._train, self._valid = network, train, valid
        self._settings, self._engine = settings, engine
        self._device = next(network.parameters()).device
        self._dtype = DTYPES[precision]
        self._budget, self._folder, self._fingerprint, self._progress = budget, folder, fingerprint, progress
        self._n_batches = math.ceil(len(train.examples) / settings.batch_size)
        self._descent = Descent(
            network, settings, n_steps=settings.epochs * self._n_batches, scales=precision == "float16"
        )
        self._passes = Passes(network, self._dtype, keep=settings.method == "frozen", budget=budget)
        self._wrapped = engine.wrap(network)
        self._begin = begin
        self._curves: Curves | None = None
        self._at = _Standing()
        self.n_halved = 0

    @property
    def history(self) -> list[Epoch]:
        """The epochs so far."""
        return self._at.history

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights were kept; 0 for those of a linear start."""
        return self._at.best.epoch

    def fit(self) -> None:
        """Train until the last epoch, or until validation gets no better.

        Raises
        ------
        NonFiniteError
            If the loss is NaN or infinite.
        OutOfMemoryError
            If one protein alone does not fit.
        InputError
            If there is a checkpoint of another training.
        """
        self._resume()
        if self._begin is not None and not self._at.step:
            self._start(self._begin)
        if self._folder is not None and self._engine.rank == 0:
            self._curves = Curves(self._folder, purge_step=self._at.step + 1)
        try:
            while self._at.epoch < self._settings.epochs and not self._is_over():
                self._run_epoch()
        finally:
            if self._curves is not None:
                self._curves.close()
        self._descent.take_best()

    def temperature(self, valid: TrainingData) -> float:
        """The temperature that makes the probabilities of validation rows mean something."""
        rows, logits = [], []
        self._mode(training=False)
        units = np.arange(len(valid.examples))
        for batch, found in self._passes.evaluated(valid.examples, units, budget=self._budget):
            rows.append(valid.examples.rows(batch))
            logits.append(found.float().cpu().numpy())
        codes = valid.goal.codes(np.concatenate(rows))
        known = codes >= 0
        return fit_temperature(np.concatenate(logits)[known], codes[known])[0] if known.any() else 1.0

    def _start(self, begin: Callable[[Passes, int], None]) -> None:
        """Begin with weights that mean something, which are the best until an epoch is better."""
        self._mode(training=False)
        begin(self._passes, self._budget)
        self._descent.keep()
        if self._valid is not None:
            self._at.best.update(0, self._loss(*self._validate()))

    def _loss(self, loss: float | None, score: float | None) -> float:
        """What is to be as low as possible; without validation, ever lower."""
        if loss is None or score is None:
            return -float(self._at.epoch)
        return loss if self._settings.monitor == "loss" else -score

    def _is_over(self) -> bool:
        patience = self._settings.patience
        return self._valid is not None and patience is not None and self._at.best.is_stale(self._at.epoch, patience)

    def _run_epoch(self) -> None:
        at, settings = self._at, self._settings
        batches = epoch_batches(
            self._train.examples.lengths,
            batch_size=settings.batch_size,
            seed=settings.seed,
            epoch=at.epoch,
            shares=self._train.shares,
        )
        self._mode(training=True)
        while at.batch < len(batches):
            loss, n_rows = self._step(batches[at.batch])
            at.batch, at.step = at.batch + 1, at.step + 1
            at.loss_sum, at.n_seen = at.loss_sum + loss, at.n_seen + n_rows
            if self._curves is not None:
                self._curves.add(at.step, step_loss=loss / max(1, n_rows), step_rate=self._descent.rate_share(at.step))
            note = f"loss {at.loss_sum / max(1, at.n_seen):.4g}"
            total = settings.epochs * self._n_batches
            self._progress(Progress(stage="train", done=at.step, total=total, unit="steps", note=note))
            if at.batch < len(batches) and at.batch % settings.checkpoint_steps == 0:
                self._save()
        self._end_epoch()
        self._save()

    def _end_epoch(self) -> None:
        at = self._at
        valid_loss, valid_score = self._validate()
        epoch = Epoch(
            epoch=at.epoch + 1,
            step=at.step,
            train_loss=at.loss_sum / max(1, at.n_seen),
            valid_loss=valid_loss,
            valid_score=valid_score,
        )
        at.history.append(epoch)
        at.epoch, at.batch, at.loss_sum, at.n_seen = at.epoch + 1, 0, 0.0, 0
        if at.best.update(at.epoch, self._loss(valid_loss, valid_score)):
            self._descent.keep()
        if self._curves is not None:
            self._curves.add(at.step, train_loss=epoch.train_loss, valid_loss=valid_loss, valid_score=valid_score)
        _log.info("epoch %d: %s", epoch.epoch, epoch.to_dict())

    def _step(self, units: Rows) -> tuple[float, int]:
        """One step of the optimiser on some units: the sum of their losses, and how many rows had a target."""
        rows = self._train.examples.rows(units)
        n_known = max(1, int(self._train.goal.known[rows].sum()))
        while True:
            generators = self._descent.generators()
            self._descent.clear()
            try:
                loss = self._add_up(units, n_known)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(units, error)
                # As if it had not been tried: the same dropout.
                self._descent.restore_generators(generators)
        norm = self._descent.clipped()
        if not math.isfinite(loss) or not (self._descent.scales or math.isfinite(norm)):
            raise NonFiniteError(
                f"The loss is {loss:g} and its gradient {norm:g} at step {self._at.step + 1} (epoch "
                f"{self._at.epoch + 1}). Take smaller learning rates (head_rate=, encoder_rate=), or "
                "precision='float32' (--precision)."
            )
        self._descent.step(self._at.step)
        return loss * n_known, n_known

    def _add_up(self, units: Rows, n_known: int) -> float:
        """Gradients of the mean loss of some units, of all processes; gives that loss."""
        n, rank = self._engine.n_processes, self._engine.rank
        own = units[rank::n]
        # A process without a unit takes part with one that counts nothing: the others wait for its gradients.
        weight = 1.0 if len(own) else 0.0
        passes = self._train.examples.passes(own if len(own) else units[:1], self._budget)
        total = 0.0
        for number, chosen in enumerate(passes, 1):
            last = number == len(passes)
            with nullcontext() if last else self._engine.apart(self._wrapped):
                outputs = self._passes.outputs(self._wrapped, self._train.examples, chosen)
                loss = self._train.goal.loss(outputs, self._train.examples.rows(chosen)) * (weight / n_known)
                # Gradients of processes are averaged, and the loss is a mean over the rows of all.
                self._descent.scaled(loss * n).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return float(sum(self._engine.gather(total)))

    def _halve(self, units: Rows, error: BaseException) -> None:
        longest = int(self._train.examples.lengths[units].max())
        if self._budget <= longest or self._engine.n_processes > 1:
            alone = self._engine.n_processes == 1
            raise OutOfMemoryError(
                f"One protein of {longest:,} residues does not fit into memory. Take a smaller limit "
                "(max_residues=, --max-residues), method 'lora' or gradient_checkpointing."
                if alone
                else f"{self._budget:,} padded residues do not fit into memory. Take less (batch_residues=, "
                "--batch-residues): with several processes it is not halved by itself."
            ) from error
        # Below the longest row's own cost there is nothing left to split.
        self._budget = max(self._budget // 2, longest)
        self.n_halved += 1
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        _log.warning(
            "Memory ran out: passes now have %d padded residues; a step still has the same proteins.", self._budget
        )

    def _mode(self, *, training: bool) -> None:
        self._network.train(training)
        if self._settings.method == "frozen":
            self._network.encoder.eval()

    def _validate(self) -> tuple[float | None, float | None]:
        """Mean loss and score of the validation rows; the same in every process."""
        if self._valid is None:
            return None, None
        self._mode(training=False)
        examples, goal = self._valid.examples, self._valid.goal
        own = np.arange(len(examples))[self._engine.rank :: self._engine.n_processes]
        loss, rows, outputs = 0.0, [np.zeros(0, np.int64)], []
        for units, found in self._passes.evaluated(examples, own, budget=self._budget):
            rows.append(examples.rows(units))
            loss += float(goal.loss(found, rows[-1]))
            outputs.append(goal.finished(found))
        parts = self._engine.gather((loss, np.concatenate(rows), outputs))
        every = np.concatenate([part[1] for part in parts])
        made = np.concatenate([one for part in parts for one in part[2]])
        n_known = max(1, int(goal.known[every].sum()))
        return sum(part[0] for part in parts) / n_known, goal.score(made, every)

    def _save(self) -> None:
        if self._folder is None or self._engine.rank:
            return
        at = self._at
        tensors, scale = self._descent.state()
        record: dict[str, Any] = {
            **{name: getattr(at, name) for name in _COUNTS},
            "best_value": -at.best.loss,
            "best_epoch": at.best.epoch,
            "history": [epoch.to_dict() for epoch in at.history],
            "budget": self._budget,
            "n_halved": self.n_halved,
            "scaler": scale,
        }
        Checkpoint(self._folder, self._fingerprint).save(tensors, record)

    def _resume(self) -> None:
        found = None if self._folder is None else Checkpoint(self._folder, self._fingerprint).load()
        if found is None:
            return
        saved, record = found
        self._at = _Standing(
            **{name: record[name] for name in _COUNTS},
            best=BestEpoch(loss=-record["best_value"], epoch=record["best_epoch"]),
            history=[Epoch(**epoch) for epoch in record["history"]],
        )
        self._budget, self.n_halved = record["budget"], record["n_halved"]
        self._descent.restore(saved, record["scaler"])
        _log.info("goes on at epoch %d, step %d", self._at.epoch + 1, self._at.step)
