"""Softmax and logistic regression by gradient descent, started from a linear head and stopped on validation rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heads.features.base import Features, Float32
from heads.tasks.targets import Targets
from heads.training.early_stopping import StoppingRule, run_epochs

if TYPE_CHECKING:
    import torch

MAX_EPOCHS = 12
"""Passes over the training rows at most."""

AUTO_PRODUCT = 3 * 10**10
"""Rows x targets x dimensions from which on a refinement that nobody asked for is left out: a second an epoch."""

_PATIENCE = 2
_LEAST_BATCH, _MOST_BATCH = 64, 1024
_BATCHES_AN_EPOCH = 64
_RATE = 0.01
"""Step size times the root of the dimensions; chosen on the validation rows of one set."""

_BETAS = 0.9, 0.999


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """A linear map ``((x - mean) @ axes / sqrt(room)) @ weights.T + offsets`` to begin with.

    Directions are scaled by the spread of the rows, so that one step size suits all of them.

    Attributes
    ----------
    mean, room
        (D,) float32.
    axes
        (D, D) float32, orthonormal columns.
    weights, offsets
        (K, D) and (K,) float32.
    """

    mean: Float32
    axes: Float32
    room: Float32
    weights: Float32
    offsets: Float32

    def coef(self, weights: Float32) -> Float32:
        """The weights for vectors less the mean, (K, D)."""
        return np.asarray((weights / np.sqrt(self.room)) @ self.axes.T)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refined:
    """Weights and offsets that were best on the validation rows, in the scale of the start; and after how many epochs.

    Attributes
    ----------
    weights, offsets
        (K, D) and (K,) float32.
    n_epochs
        Of the best; 0 where the start was best.
    """

    weights: Float32
    offsets: Float32
    n_epochs: int


def refine(
    features: Features,
    targets: Targets,
    start: Start,
    valid_rotated: Float32,
    valid_targets: Targets,
    *,
    weights: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    seed: int = 0,
    max_epochs: int = MAX_EPOCHS,
) -> Refined:
    """Descend along the gradient of the log-loss (Adam, Kingma and Ba 2015), an epoch at a time.

    Parameters
    ----------
    features, targets
        Training rows, of one class each or of any number of labels.
    start
        Where to begin.
    valid_rotated, valid_targets
        Rows to stop on: vectors less the mean in the basis of the start's axes.
    weights
        (K,) and (K,): how much rows with and without a target count. The first alone matters for one class a row.
    """
    import torch

    scale = torch.from_numpy(start.axes / np.sqrt(start.room))
    mean = torch.from_numpy(start.mean)
    model = _Model(start, targets.target_type, weights)
    valid = torch.from_numpy(valid_rotated / np.sqrt(start.room))
    batch = int(np.clip(len(targets) // _BATCHES_AN_EPOCH, _LEAST_BATCH, _MOST_BATCH))

    def train_epoch(epoch: int) -> None:
        for rows, block in features.batches(batch, seed=seed + epoch):
            x = (torch.from_numpy(block) - mean) @ scale
            model.step(x, targets.subset(rows))

    history = run_epochs(
        train_epoch,
        StoppingRule(max_epochs=max_epochs, patience=_PATIENCE, validate_start=True),
        validation_loss=lambda _: model.loss(valid, valid_targets),
        copy_weights=model.copy,
        load_weights=model.load,
    )
    return Refined(weights=model.weights.numpy(), offsets=model.offsets.numpy(), n_epochs=history.best_epoch)


class _Model:
    """Weights, their moments, and one step: gradients are written out, since there is one layer."""

    def __init__(
        self, start: Start, target_type: str, weights: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    ) -> None:
        import torch

        self.weights, self.offsets = (torch.from_numpy(part.copy()) for part in (start.weights, start.offsets))
        self._moments = [torch.zeros_like(part) for part in (self.weights, self.weights, self.offsets, self.offsets)]
        self._having: torch.Tensor | None = None
        self._lacking: torch.Tensor | None = None
        if weights is not None:
            self._having, self._lacking = (torch.from_numpy(part.astype(np.float32)) for part in weights)
        self._target_type = target_type
        self._n_steps = 0
        self._rate = _RATE / start.weights.shape[1] ** 0.5

    def copy(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights and offsets as they are now."""
        return self.weights.clone(), self.offsets.clone()

    def load(self, copied: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Go on with weights and offsets of a copy."""
        self.weights, self.offsets = copied

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Of rows in the scale of the start."""
        import torch

        # In float32: not every CPU has bfloat16 instructions.
        return torch.addmm(self.offsets, x, self.weights.T)

    def step(self, x: torch.Tensor, targets: Targets) -> None:
        """One step of Adam."""
        import torch

        logits = self.logits(x)
        if self._target_type == "class":
            codes = torch.from_numpy(targets.require_codes())
            pull = torch.softmax(logits, dim=1)
            pull[torch.arange(len(codes)), codes] -= 1
            if self._having is not None:
                pull *= self._having[codes, None]
        else:
            members = torch.from_numpy(targets.require_members().toarray())
            pull = torch.sigmoid(logits) - members.float()
            if self._having is not None and self._lacking is not None:
                pull *= torch.where(members, self._having, self._lacking)
        pull /= len(x)
        self._n_steps += 1
        self._adam(self.weights, pull.T @ x, *self._moments[:2])
        self._adam(self.offsets, pull.sum(dim=0), *self._moments[2:])

    def _adam(self, values: torch.Tensor, gradient: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> None:
        first.lerp_(gradient, 1 - _BETAS[0])
        second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        even_first, even_second = (1 - beta**self._n_steps for beta in _BETAS)
        values.addcdiv_(first, (second / even_second).sqrt_().add_(1e-8), value=-self._rate / even_first)

    def loss(self, x: torch.Tensor, targets: Targets) -> float:
        """Mean log-loss over rows (and labels), weighted."""
        import torch
        from torch.nn import functional

        logits = self.logits(x)
        if self._target_type == "class":
            codes = torch.from_numpy(targets.require_codes())
            return float(functional.cross_entropy(logits, codes, weight=self._having))
        members = torch.from_numpy(targets.require_members().toarray())
        counts = None
        if self._having is not None and self._lacking is not None:
            counts = torch.where(members, self._having, self._lacking)
        return float(functional.binary_cross_entropy_with_logits(logits, members.float(), weight=counts))
