"""What a network is trained for: the loss of each kind of target, and outputs from logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from embedstore.errors import InputError
from embedstore.numerics import softmax
from heads.features.base import Float32
from heads.tasks.targets import Targets


def batch_loss(
    target_type: str,
    logits: torch.Tensor,
    y: torch.Tensor,
    *,
    reduction: str,
    weights: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Squared error, or log-loss in nats (of several labels, their mean), over the rows of a batch in float32.

    Parameters
    ----------
    target_type
        ``"regression"``, ``"multilabel"`` or ``"class"``; other kinds of codes are taken for classes.
    logits
        (n, C); of regression the first column counts.
    y
        (n,) numbers or codes, or (n, C) 0 and 1.
    reduction
        ``"sum"`` or ``"mean"``; the mean over rows of classes is weighted.
    weights
        (C,) weight of each class; for several labels, of the rows that have one against those that lack it.
    label_smoothing
        Share of the probability that is spread over all classes.
    """
    logits = logits.float()
    if target_type == "regression":
        return functional.mse_loss(logits[:, 0], y, reduction=reduction)
    if target_type == "multilabel":
        if reduction == "mean":
            return functional.binary_cross_entropy_with_logits(logits, y, pos_weight=weights)
        each = functional.binary_cross_entropy_with_logits(logits, y, pos_weight=weights, reduction="none")
        return each.mean(dim=1).sum()
    return functional.cross_entropy(logits, y, weight=weights, label_smoothing=label_smoothing, reduction=reduction)


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """The loss of one kind of target.

    Attributes
    ----------
    target_type
        One of `heads.tasks.targets.KINDS`.
    n_outputs
        Width of the logits.
    weights
        (C,) weight of each class, None for equal ones; for ``"multilabel"`` of each label's members.
    mean, scale
        Of the training rows' numbers, for ``"regression"``: the network learns ``(y - mean) / scale``.
    """

    target_type: str
    n_outputs: int
    weights: Float32 | None = None
    mean: float = 0.0
    scale: float = 1.0

    def targets(self, targets: Targets, rows: NDArray[np.int64]) -> torch.Tensor:
        """Targets of some rows as the loss takes them."""
        if self.target_type == "regression":
            standard = (targets.require_values()[rows] - self.mean) / self.scale
            return torch.from_numpy(standard.astype(np.float32))
        if self.target_type == "multilabel":
            return torch.from_numpy(targets.require_members()[rows].toarray().astype(np.float32))
        return torch.from_numpy(targets.require_codes()[rows])

    def loss(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Sum over rows of the squared error, or of the log-loss in nats (of several labels, their mean)."""
        weights = None if self.weights is None else torch.from_numpy(self.weights).to(logits.device)
        return batch_loss(self.target_type, logits, y, weights=weights, reduction="sum")

    def outputs(self, logits: Float32, temperature: float) -> Float32:
        """What a head gives: probabilities, or numbers of the scale that was learned from."""
        if self.target_type == "regression":
            return (logits.astype(np.float64) * self.scale + self.mean).astype(np.float32)
        logits = logits / np.float32(temperature)
        if self.target_type == "multilabel":
            return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
        return softmax(logits)

    def settings(self) -> dict[str, Any]:
        """Fields for JSON."""
        return {"target_type": self.target_type, "n_outputs": self.n_outputs, "mean": self.mean, "scale": self.scale}


def make_objective(targets: Targets, *, class_weights: str | None) -> Objective:
    """The objective for some training targets.

    Parameters
    ----------
    targets
        Of the training rows.
    class_weights
        None, or ``"balanced"``: every class weighs the same in sum, as scikit-learn's option of that name; for
        several labels a member of a rare one weighs as much as all its other rows, up to a hundredfold.

    Raises
    ------
    InputError
        For another name, or weights where there are no classes.
    """
    if class_weights not in (None, "balanced"):
        raise InputError(f"class_weights is {class_weights!r}; expected None or 'balanced'.")
    if targets.target_type == "regression":
        if class_weights:
            raise InputError("class_weights is 'balanced' and numbers are predicted, which have no classes. Use None.")
        values = targets.require_values()
        return Objective("regression", 1, mean=float(values.mean()), scale=float(values.std()) or 1.0)
    n_classes, weights = targets.n_outputs, None
    if class_weights and targets.target_type == "multilabel":
        counts = np.asarray(targets.require_members().sum(axis=0), np.float64).ravel()
        weights = np.clip((len(targets) - counts) / np.maximum(counts, 1), 0.01, 100)
    elif class_weights:
        sizes = np.bincount(targets.require_codes(), minlength=n_classes)
        weights = len(targets) / (n_classes * np.maximum(sizes, 1))
    return Objective(targets.target_type, n_classes, weights=None if weights is None else weights.astype(np.float32))
