"""Networks of full layers and what they are trained to make small, one for each kind of target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from embedstore.errors import InputError
from embedstore.models.devices import DTYPES, resolve_device, resolve_precision
from heads.base import LabelledExamples
from heads.catalog.param_space import EpochCallback
from heads.features.base import Float32, vectors_at
from heads.tasks.targets import Targets
from heads.training.early_stopping import History
from heads.training.objectives import batch_loss
from heads.vectors.scaling import Scaler
from heads.vectors.trainer import Batch, Descent, descend

Affine: TypeAlias = tuple[Float32, Float32]
"""Weights, (outputs, inputs), and biases, (outputs,)."""

READ_ROWS = 8192
"""Rows that are read at once and in random order; batches are drawn from them."""

_VALID_ROWS = 1024
_BF16_WIDTH = 512
_SMALLEST_STEP = 1e-3

LEVEL_GAIN = 8.0
"""What scores and cut points of levels are multiplied by: levels that are told apart well have logits of tens, which
steps of the learning rate's size reach slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """How to train a network: the arguments of `heads.vectors.mlp.NetworkHead` of the same names; `batch` in rows."""

    hidden: tuple[int, ...]
    batch: int
    dropout: float
    learning_rate: float
    weight_decay: float
    max_epochs: int
    patience: int
    schedule: str
    class_weight: str | None
    label_smoothing: float
    device: str
    precision: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedNetwork:
    """A trained network, as arrays.

    Attributes
    ----------
    layers
        Weights, (outputs, inputs), and biases of each layer, float32.
    cut_points
        For ``"ordinal"``: (C - 1,) float32; else empty.
    history
        Of the training.
    """

    layers: list[tuple[Float32, Float32]]
    cut_points: Float32
    history: History


def fit_network(
    train: LabelledExamples,
    stop: LabelledExamples,
    scaler: Scaler,
    recipe: NetworkSettings,
    *,
    start: Affine | None = None,
    on_epoch: EpochCallback | None = None,
) -> FittedNetwork:
    """Train a network of full layers.

    Parameters
    ----------
    train
        Rows to learn from; numbers are standardised.
    stop
        Rows to stop by, few enough to be held in memory.
    scaler
        Of the vectors.
    recipe
        How.
    start
        What the network is added to, a map of the scaled vectors that stays as it is.
    on_epoch
        Called after each epoch.
    """
    device = resolve_device(recipe.device)
    # The seed of dropout cannot be given but globally; the caller's is put back.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        return _fit(train, stop, scaler, recipe, start, device, on_epoch)


def _fit(
    train: LabelledExamples,
    stop: LabelledExamples,
    scaler: Scaler,
    recipe: NetworkSettings,
    start: Affine | None,
    device: torch.device,
    on_epoch: EpochCallback | None,
) -> FittedNetwork:
    weights = _class_weights(train.targets, recipe.class_weight)
    objectives = [
        Objective(part.targets, device, weights=weights, label_smoothing=smoothing)
        for part, smoothing in ((train, recipe.label_smoothing), (stop, 0.0))
    ]
    n_scores = len(train.targets.classes) if train.targets.target_type in ("class", "multilabel") else 1
    body = FullNetwork((train.features.shape[1], *recipe.hidden, n_scores), dropout=recipe.dropout, start=start)
    cuts = _cut_points(train.targets)
    network = (body if cuts is None else nn.Sequential(body, cuts)).to(device)
    held = torch.from_numpy(scaler(vectors_at(stop.features, np.arange(len(stop)), n_features=len(scaler.mean))))
    held = held.to(device)

    @torch.inference_mode()
    def validate() -> float:
        total = 0.0
        for start in range(0, len(held), _VALID_ROWS):
            rows = np.arange(start, min(start + _VALID_ROWS, len(held)))
            total += len(rows) * float(objectives[1].loss(network(held[start : start + _VALID_ROWS]), rows))
        return total / len(held)

    def batches(epoch: int) -> Iterator[Batch]:
        generator = np.random.default_rng((recipe.seed, epoch))
        for rows, block in train.features.batches(READ_ROWS, seed=int(generator.integers(2**31))):
            order = generator.permutation(len(rows))
            for part in np.array_split(order, max(1, round(len(rows) / recipe.batch))):
                yield rows[part], torch.from_numpy(scaler(block[part])).to(device)

    history = descend(
        network,
        batches=batches,
        n_batches=-(-len(train) // recipe.batch),
        loss=objectives[0].loss,
        validate=validate,
        how=_descent(recipe, device),
        on_epoch=on_epoch,
    )
    layers = [(_array(layer.weight), _array(layer.bias)) for layer in body.layers]
    if cuts is None:
        return FittedNetwork(layers=layers, cut_points=np.zeros(0, np.float32), history=history)
    gain = np.float32(LEVEL_GAIN)
    layers[-1] = (gain * layers[-1][0], gain * layers[-1][1])
    return FittedNetwork(layers=layers, cut_points=gain * _array(cuts.values()), history=history)


def _cut_points(targets: Targets) -> CutPoints | None:
    if targets.target_type != "ordinal":
        return None
    counts = np.bincount(targets.require_codes(), minlength=len(targets.classes))
    return CutPoints(counts / counts.sum())


def _descent(recipe: NetworkSettings, device: torch.device) -> Descent:
    half = "bfloat16" if max(recipe.hidden, default=0) >= _BF16_WIDTH else None
    return Descent(
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        schedule=recipe.schedule,
        max_epochs=recipe.max_epochs,
        patience=recipe.patience,
        precision=DTYPES[resolve_precision(recipe.precision, device, half=half)],
    )


def _class_weights(targets: Targets, wanted: str | None) -> NDArray[np.float64] | None:
    """(C,) weights; those of classes have the mean 1 over rows."""
    if wanted is None or targets.target_type == "regression":
        return None
    if wanted != "balanced":
        raise InputError(f"class_weight is {wanted!r}; expected 'balanced', or nothing for equal rows.")
    if targets.target_type == "multilabel":
        has = np.asarray(targets.require_members().sum(axis=0), np.float64).ravel()
        weights: NDArray[np.float64] = (len(targets) - has) / np.maximum(has, 1)
        return np.clip(weights, 0.1, 100.0)
    counts = np.bincount(targets.require_codes(), minlength=len(targets.classes))
    return len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))


def _array(values: Tensor) -> Float32:
    return values.detach().cpu().numpy()


class FullNetwork(nn.Module):
    """Layers with rectifiers and dropout between them.

    Parameters
    ----------
    sizes
        Width of the input, of each hidden layer, and of the output.
    dropout
        Share of the hidden units that are left out in a step.
    start
        Weights and biases of a linear map that the output is added to, which is not learned. The network is 0 at first.
    """

    def __init__(self, sizes: Sequence[int], *, dropout: float, start: Affine | None = None) -> None:
        super().__init__()
        self.layers = [nn.Linear(narrow, wide) for narrow, wide in pairwise(sizes)]
        self._registered = nn.ModuleList(self.layers)
        self.dropout = nn.Dropout(dropout)
        for layer in self.layers[:-1]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.start: nn.Linear | None = None
        if start is not None:
            nn.init.zeros_(self.layers[-1].weight)
            nn.init.zeros_(self.layers[-1].bias)
            self.start = nn.Linear(sizes[0], sizes[-1]).requires_grad_(False)
            self.start.weight.copy_(torch.from_numpy(start[0]))
            self.start.bias.copy_(torch.from_numpy(start[1]))

    def forward(self, X: Tensor) -> Tensor:
        """(n, D) to (n, outputs)."""
        hidden = X
        for layer in self.layers[:-1]:
            hidden = self.dropout(functional.relu(layer(hidden)))
        out: Tensor = self.layers[-1](hidden)
        return out if self.start is None else out + self.start(X)


class CutPoints(nn.Module):
    """Turns one score into the logits of being above each level but the last: the proportional-odds model.

    After McCullagh 1980, "Regression models for ordinal data".
    """

    def __init__(self, shares: NDArray[np.float64]) -> None:
        super().__init__()
        below = np.clip(np.cumsum(shares)[:-1], 0.01, 0.99)
        start = np.log(below / (1 - below)) / LEVEL_GAIN
        steps = np.maximum(np.diff(start), 2 * _SMALLEST_STEP) - _SMALLEST_STEP
        self.first = nn.Parameter(torch.tensor(start[:1], dtype=torch.float32))
        self.steps = nn.Parameter(torch.tensor(np.log(np.expm1(steps)), dtype=torch.float32))

    def values(self) -> Tensor:
        """(C - 1,) ascending."""
        return torch.cat([self.first, self.first + (functional.softplus(self.steps) + _SMALLEST_STEP).cumsum(0)])

    def forward(self, score: Tensor) -> Tensor:
        """(n, 1) to (n, C - 1), descending in a row."""
        return LEVEL_GAIN * (score - self.values())


class Objective:
    """Mean loss of a batch from the outputs of the network.

    Parameters
    ----------
    targets
        Of all rows.
    device
        Where the outputs are.
    weights
        (C,) weight of each class in the loss; for several labels, of the rows that have one against those that have
        it not.
    label_smoothing
        Share of the probability that is spread over all classes.
    """

    def __init__(
        self, targets: Targets, device: torch.device, *, weights: NDArray[np.float64] | None, label_smoothing: float
    ) -> None:
        self._target_type = targets.target_type
        self._device = device
        self._members = targets.members
        self._smoothing = label_smoothing
        self._weights = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)
        self._targets = None
        if targets.target_type == "regression":
            self._targets = torch.tensor(targets.require_values(), dtype=torch.float32, device=device)
        elif targets.target_type != "multilabel":
            self._targets = torch.tensor(targets.require_codes(), device=device)

    def loss(self, outputs: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Mean over the batch of these rows."""
        if self._target_type == "multilabel":
            assert self._members is not None  # noqa: S101 - for mypy; sets of labels have members
            true = torch.tensor(self._members[rows].toarray(), dtype=torch.float32, device=self._device)
        else:
            assert self._targets is not None  # noqa: S101 - for mypy; all other kinds have one
            true = self._targets[torch.from_numpy(rows).to(self._device)]
        if self._target_type == "ordinal":
            losses = -_level_log_probability(outputs.float(), true)
            weights = torch.ones_like(losses) if self._weights is None else self._weights[true]
            return (weights * losses).sum() / weights.sum()
        return batch_loss(
            self._target_type,
            outputs,
            true,
            reduction="mean",
            weights=self._weights,
            label_smoothing=self._smoothing,
        )


def _level_log_probability(above: Tensor, level: Tensor) -> Tensor:
    """Logarithm of P(above level - 1) - P(above level), from descending logits, without cancellation."""
    far = torch.full_like(above[:, :1], 40.0)
    padded = torch.cat([far, above, -far], dim=1)
    upper = padded.gather(1, level[:, None])[:, 0]
    lower = padded.gather(1, level[:, None] + 1)[:, 0]
    gap = (upper - lower).clamp_min(_SMALLEST_STEP)
    return functional.logsigmoid(upper) + functional.logsigmoid(-lower) + torch.log(-torch.expm1(-gap))
