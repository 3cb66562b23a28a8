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
from heads.training.early_stopping import History, StoppingRule, run_epochs

Batch: TypeAlias = tuple[NDArray[np.int64], Tensor]
"""Row numbers and their (n, D) vectors, on the device."""

_DROP = 0.2
_N_DROPS = 1
_MIN_GAIN = 1e-3
"""A gain of less than a thousandth of what there was to gain is none to wait for."""


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
    n_steps = 0

    def train_epoch(epoch: int) -> None:
        nonlocal n_steps
        network.train()
        for rows, vectors in batches(epoch):
            if how.schedule == "cosine":
                _set_rate(optimiser, how.learning_rate * _cosine(n_steps / (n_batches * how.max_epochs)))
            with autocast:
                outputs = network(vectors)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss(outputs, rows))
            optimiser.step()
            n_steps += 1
        network.eval()

    def load_weights(weights: dict[str, Tensor]) -> None:
        network.load_state_dict(weights)

    network.eval()
    return run_epochs(
        train_epoch,
        StoppingRule(
            max_epochs=how.max_epochs,
            patience=how.patience,
            validate_start=True,
            min_gain=_MIN_GAIN,
            n_drops=0 if how.schedule == "cosine" else _N_DROPS,
        ),
        validation_loss=lambda n_epochs: _checked(validate(), how, n_epochs),
        copy_weights=lambda: _copy(network),
        load_weights=load_weights,
        drop_rate=lambda n_drops: _set_rate(optimiser, how.learning_rate * _DROP**n_drops),
        on_epoch=on_epoch,
    )


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def _cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _checked(loss: float, how: Descent, n_epochs: int) -> float:
    if not math.isfinite(loss):
        raise InputError(
            f"The validation loss is {loss} after epoch {n_epochs}: the training diverged at learning_rate="
            f"{how.learning_rate:g}. Lower it (--param learning_rate={how.learning_rate / 10:g})."
        )
    return loss
