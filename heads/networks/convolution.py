"""DeepProtein's convolutional network on letters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from embedstore.errors import InputError
from heads.networks.head import NetworkHead
from heads.networks.layers import MaskedConvolution, OneHot, Predictor, Readout
from heads.training.batches import TokenBatch
from heads.training.checks import require_share, require_sizes, require_whole


class Convolutions(nn.Module):
    """Letters, convolutions with ReLU, the greatest value of each filter, a linear layer, a predictor."""

    def __init__(
        self,
        n_outputs: int,
        *,
        filters: tuple[int, ...],
        kernels: tuple[int, ...],
        embedding: int,
        predictor: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.letters = OneHot()
        widths = (OneHot.size, *filters)
        self.convolutions = nn.ModuleList(
            MaskedConvolution(widths[number], widths[number + 1], kernel) for number, kernel in enumerate(kernels)
        )
        self.pool = Readout("max")
        self.embed = nn.Linear(widths[-1], embedding)
        self.predictor = Predictor(embedding, predictor, n_outputs, dropout=dropout)

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Logits of some proteins."""
        states = self.letters(batch)
        for convolution in self.convolutions:
            states = convolution(states, batch.mask).relu()
        logits: torch.Tensor = self.predictor(self.embed(self.pool(states, batch.mask)))
        return logits


@dataclass(kw_only=True, eq=False)
class ConvolutionHead(NetworkHead):
    """DeepProtein's (and DeepPurpose's) CNN: filters 32, 64, 96 of 4, 8, 12 residues, global maximum, 256.

    There, every protein is cut or padded to 1,000 residues and the padding takes part; here it does not, and nothing
    is cut: convolutions keep the length, with zeros beyond the ends.

    Parameters
    ----------
    filters, kernels
        Of the convolutions.
    embedding
        Width of the layer after the maximum.
    predictor
        Hidden layers before the logits.
    dropout
        Between them.
    """

    filters: tuple[int, ...] = (32, 64, 96)
    kernels: tuple[int, ...] = (4, 8, 12)
    embedding: int = 256
    predictor: tuple[int, ...] = (1024, 1024, 512)
    dropout: float = 0.1

    def _build(self, n_outputs: int) -> nn.Module:
        require_sizes(filters=self.filters, kernels=self.kernels)
        require_whole(embedding=self.embedding)
        require_sizes(empty=True, predictor=self.predictor)
        require_share(dropout=self.dropout)
        if len(self.filters) != len(self.kernels):
            raise InputError(f"There are {len(self.filters)} filters and {len(self.kernels)} kernels; give one each.")
        return Convolutions(
            n_outputs,
            filters=tuple(self.filters),
            kernels=tuple(self.kernels),
            embedding=self.embedding,
            predictor=tuple(self.predictor),
            dropout=self.dropout,
        )
