"""Gradient descent over rows that stream, stopped by validation, with the best weights kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embedstore.errors import InputError
from heads.catalog.param_space import EpochCallback

Batch: TypeAlias = tuple[NDArray[np.int64], Tensor]
"""Row numbers and their (n, D) vectors, on the device."""

_DROP = 0.2
_N_DROPS = 1
_LEAST_GAIN = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """How to descend.

    Attributes
    ----------
    learning_rate, weight_decay
        Of AdamW (Loshchilov and Hutter 2019).
    schedule
        ``"plateau"`` or ``"cosine"``.
    max_epochs
        Most passes over the rows.
    patience
        Epochs without a gain on validation after which the rate drops to a fifth (once, from the best weights), and
        then the training stops; with ``"cosine"`` it stops at once.
    precision
        Of the products in training.
    """

    learning_rate: float
    weight_decay: float
    schedule: str
    max_epochs: int
    patience: int
    precision: torch.dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a training did.

    Attributes
    ----------
    losses
        Validation loss after each epoch.
    best_epoch
        Number of epochs after which the weights were kept; 0 where none was better than the first weights.
    """

    losses: list[float]
    best_epoch: int


def descend(
    network: nn.Module,
    *,
    batches: Callable[[int], Iterator[Batch]],
    n_batches: int,
    loss: Callable[[Tensor, NDArray[np.int64]], Tensor],
    validate: Callable[[], float],
    how: Descent,
    on_epoch: EpochCallback | None = None,
) -> History:
    """Train a network; it ends with the weights of its best epoch.

    Parameters
    ----------
    network
        On its device.
    batches
        The batches of an epoch, by its number.
    n_batches
        About how many batches an epoch has, for the cosine.
    loss
        Mean loss of a batch from outputs and row numbers.
    validate
        Validation loss of the network as it is.
    how
        Rate, schedule, epochs.
    on_epoch
        Called after each epoch.

    Raises
    ------
    InputError
        If the loss becomes NaN or infinite.
    """
    device = next(network.parameters()).device
    optimiser = torch.optim.AdamW(network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay, fused=True)
    autocast = torch.autocast(device.type, how.precision, enabled=how.precision != torch.float32)
    losses: list[float] = []
    best_epoch, best, stale, drops, step = 0, _copy(network), 0, 0, 0
    network.eval()
    # A gain of less than a thousandth of what there was to gain is none to wait for, but is kept.
    bar = best_loss = _checked(validate(), how, -1)
    least_gain = _LEAST_GAIN * best_loss
    for epoch in range(how.max_epochs):
        network.train()
        for rows, vectors in batches(epoch):
            if how.schedule == "cosine":
                _set_rate(optimiser, how.learning_rate * _cosine(step / (n_batches * how.max_epochs)))
            with autocast:
                outputs = network(vectors)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss(outputs, rows))
            optimiser.step()
            step += 1
        network.eval()
        losses.append(_checked(validate(), how, epoch))
        if on_epoch is not None:
            on_epoch(epoch + 1, losses[-1])
        if losses[-1] < best_loss:
            best_loss, best_epoch, best = losses[-1], epoch + 1, _copy(network)
        if losses[-1] < bar - least_gain:
            bar, stale = losses[-1], 0
            continue
        stale += 1
        if stale >= how.patience:
            if how.schedule == "cosine" or drops == _N_DROPS:
                break
            drops, stale = drops + 1, 0
            network.load_state_dict(best)
            _set_rate(optimiser, how.learning_rate * _DROP**drops)
    network.load_state_dict(best)
    network.eval()
    return History(losses=losses, best_epoch=best_epoch)


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _checked(loss: float, how: Descent, epoch: int) -> float:
    if not math.isfinite(loss):
        raise InputError(
            f"The validation loss is {loss} after epoch {epoch + 1}: the training diverged at learning_rate="
            f"{how.learning_rate:g}. Lower it (--param learning_rate={how.learning_rate / 10:g})."
        )
    return loss
