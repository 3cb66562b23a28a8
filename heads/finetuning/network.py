"""An encoder, its pooling and a small head as one module; what it gives, and what it loses, for each kind of target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from embedstore.models.trainable import TrainableEncoder
from heads.tasks.targets import Targets


def combine(first: torch.Tensor, second: torch.Tensor, pairing: Sequence[str]) -> torch.Tensor:
    """What a head sees of pairs: (n, parts x D) of two (n, D), each row first at a root mean square of 1.

    The same as `heads.features.vectors.PairFeatures` makes of stored vectors.
    """
    first, second = (side / side.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-12) for side in (first, second))
    made = {
        "concatenation": lambda: torch.cat([first, second], dim=1),
        "sum": lambda: first + second,
        "product": lambda: first * second,
        "difference": lambda: (first - second).abs(),
    }
    return torch.cat([made[part]() for part in pairing], dim=1)


class HeadLayers(nn.Module):
    """Normalisation, inner layers, and a last linear one.

    Parameters
    ----------
    n_inputs, n_outputs
        Widths.
    hidden
        Widths of the inner layers.
    dropout
        Before each linear layer.
    norm
        Whether the input is normalised first.
    ordered
        Whether the outputs are the rising shares of levels: one number and its thresholds.
    """

    def __init__(
        self, n_inputs: int, n_outputs: int, *, hidden: Sequence[int], dropout: float, norm: bool, ordered: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.LayerNorm(n_inputs)] if norm else []
        width = n_inputs
        for inner in hidden:
            layers += [nn.Dropout(dropout), nn.Linear(width, inner), nn.GELU()]
            width = inner
        layers += [nn.Dropout(dropout), nn.Linear(width, 1 if ordered else n_outputs)]
        self.layers = nn.Sequential(*layers)
        self.steps = nn.Parameter(torch.linspace(-1.0, 1.0, n_outputs)) if ordered else None

    def before_last(self, states: torch.Tensor) -> torch.Tensor:
        """What the last linear layer reads, dropout aside, of a head without inner layers: (n, D) float32."""
        first = self.layers[0]
        return cast(torch.Tensor, first(states)) if isinstance(first, nn.LayerNorm) else states

    def set_last(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Set the last linear layer: (outputs, D) and (outputs,)."""
        last = cast(nn.Linear, self.layers[-1])
        with torch.no_grad():
            last.weight.copy_(torch.from_numpy(weight))
            last.bias.copy_(torch.from_numpy(bias))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(n, D) float32 to (n, outputs)."""
        scores = self.layers(states)
        if self.steps is None:
            return cast(torch.Tensor, scores)
        # Thresholds rise by construction: the first is free, and each other is a positive step above it.
        rises = torch.cat([self.steps[:1], functional.softplus(self.steps[1:])])
        return cast(torch.Tensor, scores - rises.cumsum(0))


class Network(nn.Module):
    """From tokens to outputs: ``(n, outputs)`` for proteins, ``(sum of lengths, outputs)`` for residues."""

    def __init__(self, encoder: TrainableEncoder, head: HeadLayers, *, input_: str, pairing: Sequence[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.input = input_
        self.pairing = tuple(pairing)

    def states(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What the encoder gives: a row a residue, or a row a protein."""
        if self.input == "residue":
            return cast(torch.Tensor, self.encoder(tokens, mask))
        return self.encoder.means(tokens, mask)

    def forward(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        first: torch.Tensor | None = None,
        second: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Outputs of a batch of proteins; ``first`` and ``second`` as of :meth:`outputs`."""
        return self.outputs(self.states(tokens, mask), first, second)

    def inputs(
        self, states: torch.Tensor, first: torch.Tensor | None = None, second: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the head reads, (n, D) float32, from the encoder's states.

        ``first`` has the number of each row's protein among the states, ``second`` that of its partner; None: a row
        each, in their order.
        """
        if first is not None:
            units = states[first]
            states = units if second is None else combine(units, states[second], self.pairing)
        return states.float()

    def outputs(
        self, states: torch.Tensor, first: torch.Tensor | None = None, second: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Outputs from the encoder's states; ``first`` and ``second`` as of :meth:`inputs`."""
        with torch.autocast(states.device.type, enabled=False):
            return cast(torch.Tensor, self.head(self.inputs(states, first, second)))


def head_widths(targets: Targets, *, dim: int, input_: str, pairing: Sequence[str]) -> tuple[int, int]:
    """Inputs and outputs of the head."""
    n_parts = len(pairing) + ("concatenation" in pairing) if input_ == "pair" else 1
    if targets.target_type == "ordinal":
        return dim * n_parts, len(targets.classes) - 1
    return dim * n_parts, targets.n_outputs


class Objective:
    """What is to be learnt of some rows, as tensors, and how far outputs are from it.

    Numbers are learnt as multiples of the training rows' standard deviation from their mean.

    Parameters
    ----------
    targets
        Of all rows.
    centre, scale
        Mean and standard deviation of the training rows' numbers; 0 and 1 elsewhere.
    """

    def __init__(self, targets: Targets, *, centre: float = 0.0, scale: float = 1.0) -> None:
        self.target_type = targets.target_type
        self.known = targets.known
        self.n_classes = len(targets.classes)
        self._targets, self._centre, self._scale = targets, centre, scale

    def loss(self, outputs: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
        """The sum of the losses of the rows whose target is known."""
        device = outputs.device
        known = torch.from_numpy(self.known[rows]).to(device)
        if not bool(known.any()):
            return outputs.sum() * 0.0
        outputs, rows = outputs[known], rows[self.known[rows]]
        if self.target_type == "class":
            codes = torch.from_numpy(self._targets.require_codes()[rows]).to(device)
            return functional.cross_entropy(outputs, codes, reduction="sum")
        if self.target_type == "multilabel":
            members = torch.from_numpy(self._targets.require_members()[rows].toarray().astype(np.float32)).to(device)
            each = functional.binary_cross_entropy_with_logits(outputs, members, reduction="none")
            return each.mean(dim=1).sum()
        if self.target_type == "ordinal":
            codes = torch.from_numpy(self._targets.require_codes()[rows]).to(device)
            above = (codes[:, None] > torch.arange(self.n_classes - 1, device=device)).float()
            return functional.binary_cross_entropy_with_logits(outputs, above, reduction="none").mean(dim=1).sum()
        values = (self._targets.require_values()[rows] - self._centre) / self._scale
        wanted = torch.from_numpy(values.astype(np.float32)).to(device)
        return ((outputs[:, 0] - wanted) ** 2).sum()

    def score(self, outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> float:
        """Accuracy of classes and residues; Spearman's correlation of numbers and levels; micro-F1 of sets of labels.

        Of rows whose target is known; ``outputs`` are as :func:`finished` gives them.
        """
        from scipy.stats import rankdata

        known = self.known[rows]
        outputs, rows = outputs[known], rows[known]
        if self.target_type == "class":
            return float((outputs.argmax(axis=1) == self._targets.require_codes()[rows]).mean())
        if self.target_type == "multilabel":
            true, said = self._targets.require_members()[rows].toarray(), outputs >= 0.5
            return float(2 * (true & said).sum() / max(1, true.sum() + said.sum()))
        values = self._targets.require_values()[rows]
        guessed = outputs[:, 0] if self.target_type == "regression" else outputs @ np.arange(self.n_classes)
        a, b = rankdata(values) - (len(rows) + 1) / 2, rankdata(guessed) - (len(rows) + 1) / 2
        size = float(np.sqrt((a**2).sum() * (b**2).sum()))
        return float((a * b).sum() / size) if size else 0.0

    def codes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Classes of some rows, -1 for none."""
        return self._targets.require_codes()[rows]

    def finished(self, outputs: torch.Tensor) -> NDArray[np.float32]:
        """Outputs as heads give them: probabilities, or numbers in the targets' own unit."""
        return finished(outputs, self.target_type, centre=self._centre, scale=self._scale)


def finished(outputs: torch.Tensor, target_type: str, *, centre: float, scale: float) -> NDArray[np.float32]:
    """Outputs as heads give them: probabilities, or numbers in the targets' own unit."""
    outputs = outputs.detach().float()
    if target_type == "class":
        made = outputs.softmax(dim=1)
    elif target_type == "multilabel":
        made = outputs.sigmoid()
    elif target_type == "ordinal":
        above = outputs.sigmoid()
        ends = above.new_ones(len(above), 1), above.new_zeros(len(above), 1)
        made = torch.cat([ends[0], above], dim=1) - torch.cat([above, ends[1]], dim=1)
    else:
        made = outputs * scale + centre
    array: Any = made.cpu().numpy()
    return cast("NDArray[np.float32]", array)
