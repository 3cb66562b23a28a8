"""Epochs of training, stopped by the loss on validation rows, with the weights of the best epoch kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from heads.catalog.param_space import EpochCallback

Weights = TypeVar("Weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRule:
    """When to stop.

    Attributes
    ----------
    max_epochs
        Most passes over the training rows.
    patience
        Epochs without a gain on validation after which the training stops, or the learning rate drops.
    validate_start
        Whether the weights before the first epoch count, and are kept where no epoch is better.
    min_gain
        What counts as a gain, as a share of the loss before the first epoch, which `validate_start` gives. An epoch
        that is better by less is kept, and not waited for.
    n_drops
        How often the learning rate drops, each time from the best weights, before the training stops.
    """

    max_epochs: int
    patience: int
    validate_start: bool = False
    min_gain: float = 0.0
    n_drops: int = 0


@dataclass(slots=True)
class BestEpoch:
    """The epoch of the least loss so far.

    Attributes
    ----------
    loss
        Its loss; infinite without one.
    epoch
        Its number, from 1; 0 before the first.
    min_gain
        By how much a loss must be less, to be taken.
    """

    loss: float = math.inf
    epoch: int = 0
    min_gain: float = 0.0

    def update(self, epoch: int, loss: float | None) -> bool:
        """Take an epoch if it is better; one without a loss (None: no validation rows) always is."""
        if loss is not None and not loss < self.loss - self.min_gain:
            return False
        self.loss, self.epoch = math.inf if loss is None else loss, epoch
        return True

    def is_stale(self, epoch: int, patience: int) -> bool:
        """Whether so many epochs have passed since the best one."""
        return epoch - self.epoch >= patience


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a training did.

    Attributes
    ----------
    losses
        Validation loss after each epoch; empty without validation rows.
    best_epoch
        Number of epochs after which the weights were kept; 0 where none was better than the first weights.
    """

    losses: list[float]
    best_epoch: int


def run_epochs(
    train_epoch: Callable[[int], None],
    rule: StoppingRule,
    *,
    validation_loss: Callable[[int], float] | None,
    copy_weights: Callable[[], Weights],
    load_weights: Callable[[Weights], None],
    drop_rate: Callable[[int], None] | None = None,
    on_epoch: EpochCallback | None = None,
) -> History:
    """Train until the last epoch or until validation gets no better, and load the best weights.

    Parameters
    ----------
    train_epoch
        Trains for one epoch, by its number from 0.
    rule
        When to stop.
    validation_loss
        Loss of the weights as they are, by the number of epochs so far. None: all epochs are run and the last weights
        are kept.
    copy_weights, load_weights
        Copy the weights, and load a copy.
    drop_rate
        Lowers the learning rate, by the number of drops from 1; called once the best weights are loaded. Needed where
        `rule.n_drops` is not 0.
    on_epoch
        Called after each validation of an epoch with the number of epochs so far and the loss.
    """
    best_weights, losses, n_drops = copy_weights(), list[float](), 0
    best, last_gain = BestEpoch(), BestEpoch()
    if rule.validate_start and validation_loss is not None:
        start = validation_loss(0)
        best.update(0, start)
        last_gain.update(0, start)
        last_gain.min_gain = rule.min_gain * start
    for epoch in range(1, rule.max_epochs + 1):
        train_epoch(epoch - 1)
        loss = None
        if validation_loss is not None:
            loss = validation_loss(epoch)
            losses.append(loss)
            if on_epoch is not None:
                on_epoch(epoch, loss)
        if best.update(epoch, loss):
            best_weights = copy_weights()
        if last_gain.update(epoch, loss) or not last_gain.is_stale(epoch, rule.patience):
            continue
        if n_drops == rule.n_drops or drop_rate is None:
            break
        n_drops, last_gain.epoch = n_drops + 1, epoch
        load_weights(best_weights)
        drop_rate(n_drops)
    load_weights(best_weights)
    return History(losses=losses, best_epoch=best.epoch)
