"""How far each step goes: learning rates and limits on gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from embedstore.errors import InputError

SCHEDULES = ("constant", "exponential", "cosine")
DECAY_STEPS = 1000
"""Steps after which an exponential schedule has come down by its rate once."""

_MOMENTUM = 0.95
_DEVIATIONS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The learning rate of each step: up over some steps, then down.

    Attributes
    ----------
    name
        One of `SCHEDULES`.
    peak
        Highest rate.
    warmup_steps
        Steps of a linear rise from zero.
    decay_rate
        Of ``"exponential"``: the factor over 1,000 steps.
    total_steps
        Of ``"cosine"``: where it reaches zero.
    """

    name: str
    peak: float
    warmup_steps: int = 0
    decay_rate: float = 1.0
    total_steps: int = 1

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise InputError(f"schedule is {self.name!r}; expected one of {', '.join(SCHEDULES)}.")
        if not self.peak > 0:
            raise InputError(f"learning_rate is {self.peak}; expected a number above 0.")

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0.

        >>> Schedule(name="constant", peak=1.0, warmup_steps=4).rate(1)
        0.5
        """
        risen = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.name == "exponential":
            return self.peak * risen * math.pow(self.decay_rate, step / DECAY_STEPS)
        if self.name == "cosine":
            return self.peak * risen * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.total_steps)))
        return self.peak * risen


class Clipping:
    """Keeps a step's gradient from being far longer than usual.

    Parameters
    ----------
    limit
        A number: the longest norm. ``"adaptive"``: a norm two standard deviations above the running mean of its
        logarithm is brought down to that mean, as TensorFlow's ``adaptive_clipping_fn``, which Bileschi et al. used.
        None: nothing is done.

    Raises
    ------
    InputError
        For another limit.
    """

    def __init__(self, limit: float | str | None) -> None:
        if not (limit is None or limit == "adaptive" or (isinstance(limit, int | float) and limit > 0)):
            raise InputError(f"clip is {limit!r}; expected a number above 0, 'adaptive' or None.")
        self._limit = limit
        self.mean, self.square, self.seen = 0.0, 0.0, 0

    def apply(self, parameters: Iterable[torch.nn.Parameter]) -> float:
        """Shorten the gradients in place; returns the norm that they had, NaN or infinite where one is."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if self._limit is None or not math.isfinite(norm) or norm == 0:
            return norm
        longest = self._adapt(norm) if self._limit == "adaptive" else float(self._limit)
        if norm > longest:
            for gradient in gradients:
                gradient.mul_(longest / norm)
        return norm

    def _adapt(self, norm: float) -> float:
        logarithm = math.log(norm)
        # As many steps as were seen weigh the same at first, so that the start at zero is forgotten.
        momentum = min(_MOMENTUM, self.seen / (self.seen + 1))
        self.mean = momentum * self.mean + (1 - momentum) * logarithm
        self.square = momentum * self.square + (1 - momentum) * logarithm**2
        self.seen += 1
        deviation = math.sqrt(max(0.0, self.square - self.mean**2))
        return math.exp(self.mean) if logarithm > self.mean + _DEVIATIONS * deviation else norm

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"mean": self.mean, "square": self.square, "seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.mean, self.square, self.seen = state["mean"], state["square"], state["seen"]
