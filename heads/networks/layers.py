"""Parts that the networks share; none lets a protein depend on what it is batched with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from embedstore.errors import InputError
from heads.training.batches import TokenBatch

READOUTS = ("max", "mean")


class MaskedConvolution(nn.Module):
    """A convolution of residues (n, T, D) to (n, T, E) that sees zeros beyond the ends and leaves zeros there.

    It is computed as one of images of height 1: their layout with channels last is that of `states`, so that nothing
    is turned around in memory.
    """

    def __init__(self, n_in: int, n_out: int, kernel: int, *, dilation: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(n_in, n_out, kernel, dilation=dilation)
        wide = dilation * (kernel - 1)
        self._pads = (wide // 2, wide - wide // 2)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States after it, zero where `mask` (n, T) is False."""
        image = functional.pad(states, (0, 0, *self._pads)).transpose(1, 2)[:, :, None]
        weight, dilation = self.convolution.weight[:, :, None], (1, *self.convolution.dilation)
        convolved = functional.conv2d(image, weight, self.convolution.bias, dilation=dilation)
        return convolved[:, :, 0].transpose(1, 2) * mask[:, :, None].to(convolved.dtype)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation whose mean and variance are those of residues, padding left out.

    Parameters
    ----------
    size
        Features.
    momentum
        Least weight of a batch in the running mean and variance; the first ones count alike, so that the start, which
        means nothing, is forgotten at once.
    eps
        Added to the variance; TensorFlow's default, as in Bileschi et al.
    """

    def __init__(self, size: int, *, momentum: float = 0.1, eps: float = 1e-3) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.mean: torch.Tensor
        self.variance: torch.Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.n_batches: torch.Tensor
        self.register_buffer("n_batches", torch.zeros(1))
        self._momentum, self._eps = momentum, eps

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States (n, T, D) after it; what stands beyond the ends means nothing."""
        # One residue alone has no variance: it is seen with that of the batches before, and teaches none.
        if not self.training or int(mask.sum()) < 2:
            scale = self.weight / (self.variance + self._eps).sqrt()
            return states * scale + (self.bias - self.mean * scale)
        flat = states.flatten(0, 1)
        # A batch without padding needs no copy of its residues.
        places = None if bool(mask.all()) else mask.flatten().nonzero()[:, 0]
        real = flat if places is None else flat.index_select(0, places)
        self.n_batches += 1
        momentum = max(self._momentum, 1 / float(self.n_batches))
        normal = functional.batch_norm(
            real, self.mean, self.variance, self.weight, self.bias, True, momentum, self._eps
        )
        if places is None:
            return normal.view_as(states)
        return torch.zeros_like(flat, dtype=normal.dtype).index_copy(0, places, normal).view_as(states)


class Readout(nn.Module):
    """Residues (n, T, D) to proteins (n, D): the greatest or the mean of each feature over what `mask` marks."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind not in READOUTS:
            raise InputError(f"readout is {kind!r}; expected one of {', '.join(READOUTS)}.")
        self._kind = kind

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """One vector a protein."""
        here = mask[:, :, None]
        if self._kind == "max":
            return states.masked_fill(~here, -math.inf).amax(dim=1)
        return (states * here.to(states.dtype)).sum(dim=1) / here.sum(dim=1)


class Predictor(nn.Sequential):
    """Vectors to logits: hidden layers with ReLU and dropout before each layer, as DeepPurpose's and DeepProtein's."""

    def __init__(self, n_in: int, hidden: Sequence[int], n_outputs: int, *, dropout: float) -> None:
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(n_in, size), nn.ReLU(), nn.Dropout(dropout)]
            n_in = size
        super().__init__(*layers, nn.Linear(n_in, n_outputs))


class OneHot(nn.Module):
    """Letters as indicators, (n, T, 26) float32; zeros in padding."""

    size = 26

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Indicators of A to Z."""
        return functional.one_hot(batch.codes, self.size + 1)[:, :, 1:].float()
