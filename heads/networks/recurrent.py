"""Recurrent networks: the one of the Pfam comparison and DeepProtein's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from embedstore.errors import InputError
from heads.networks.head import NetworkHead
from heads.networks.layers import MaskedConvolution, OneHot, Predictor, Readout
from heads.training.batches import TokenBatch
from heads.training.checks import require_share, require_sizes, require_whole

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class BothDirections(nn.Module):
    """Recurrent layers that read each protein from both its ends, whatever padding follows it.

    The second direction reads residues turned around within each protein's length. That is what PyTorch's packed
    sequences are for, but on a CPU batches of similar length do without them.
    """

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU], n_in: int, hidden: int, layers: int) -> None:
        super().__init__()
        widths = [n_in, *[2 * hidden] * (layers - 1)]
        self.forwards = nn.ModuleList(cell(width, hidden, batch_first=True) for width in widths)
        self.backwards = nn.ModuleList(cell(width, hidden, batch_first=True) for width in widths)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States (n, T, 2 hidden); what stands beyond the ends means nothing."""
        place = torch.arange(mask.shape[1], device=mask.device)
        turned = torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - place, place)[:, :, None]
        for forth, back in zip(self.forwards, self.backwards, strict=True):
            mirror = states.gather(1, turned.expand(-1, -1, states.shape[2]))
            left, right = forth(states)[0], back(mirror)[0]
            states = torch.cat((left, right.gather(1, turned.expand(-1, -1, right.shape[2]))), dim=2)
        return states


class Recurrent(nn.Module):
    """Letters, perhaps convolutions, a bidirectional recurrent net, a readout, a predictor.

    Parameters
    ----------
    n_outputs
        Logits.
    cell
        A key of `CELLS`.
    filters, kernels
        Of the convolutions before it; none where empty.
    hidden
        Units in each direction.
    layers
        Recurrent layers.
    readout
        See `heads.networks.layers.Readout`.
    predictor
        Hidden layers between readout and logits.
    dropout
        Between them.
    """

    def __init__(
        self,
        n_outputs: int,
        *,
        cell: str,
        filters: tuple[int, ...] = (),
        kernels: tuple[int, ...] = (),
        hidden: int,
        layers: int,
        readout: str,
        predictor: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise InputError(f"cell is {cell!r}; expected one of {', '.join(CELLS)}.")
        self.letters = OneHot()
        widths = (OneHot.size, *filters)
        self.convolutions = nn.ModuleList(
            MaskedConvolution(widths[number], widths[number + 1], kernel) for number, kernel in enumerate(kernels)
        )
        self.recurrent = BothDirections(CELLS[cell], widths[-1], hidden, layers)
        self.pool = Readout(readout)
        self.predictor = Predictor(2 * hidden, predictor, n_outputs, dropout=dropout)

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Logits of some proteins."""
        states = self.letters(batch)
        for convolution in self.convolutions:
            states = convolution(states, batch.mask).relu()
        logits: torch.Tensor = self.predictor(self.pool(self.recurrent(states, batch.mask), batch.mask))
        return logits


@dataclass(kw_only=True, eq=False)
class RnnHead(NetworkHead):
    """The bidirectional LSTM of the Pfam comparison, which does not print its sizes: one layer, a softmax on top.

    Parameters
    ----------
    hidden
        Units in each direction.
    layers
        Recurrent layers.
    readout
        ``"max"`` or ``"mean"`` over residues.
    """

    half: ClassVar[str | None] = None

    hidden: int = 256
    layers: int = 1
    readout: str = "max"
    learning_rate: float = 1e-3
    clip: float | str | None = 1.0

    def _build(self, n_outputs: int) -> nn.Module:
        require_whole(hidden=self.hidden, layers=self.layers)
        return Recurrent(
            n_outputs,
            cell="lstm",
            hidden=self.hidden,
            layers=self.layers,
            readout=self.readout,
            predictor=(),
            dropout=0.0,
        )


@dataclass(kw_only=True, eq=False)
class GruHead(NetworkHead):
    """DeepProtein's recurrent part alone: two bidirectional layers of 64 GRUs on letters, and its predictor.

    Parameters
    ----------
    hidden, layers
        Units in each direction, and layers.
    readout
        ``"max"`` or ``"mean"`` over residues.
    predictor
        Hidden layers before the logits.
    dropout
        Between them.
    """

    half: ClassVar[str | None] = None
    cell: ClassVar[str] = "gru"

    hidden: int = 64
    layers: int = 2
    readout: str = "max"
    predictor: tuple[int, ...] = (1024, 1024, 512)
    dropout: float = 0.1

    def _build(self, n_outputs: int) -> nn.Module:
        require_whole(hidden=self.hidden, layers=self.layers)
        require_sizes(empty=True, predictor=self.predictor)
        require_share(dropout=self.dropout)
        return Recurrent(
            n_outputs,
            cell=self.cell,
            hidden=self.hidden,
            layers=self.layers,
            readout=self.readout,
            predictor=tuple(self.predictor),
            dropout=self.dropout,
        )


@dataclass(kw_only=True, eq=False)
class LstmHead(GruHead):
    """As `GruHead`, with LSTMs."""

    cell: ClassVar[str] = "lstm"


@dataclass(kw_only=True, eq=False)
class ConvolutionRecurrentHead(NetworkHead):
    """DeepProtein's CNN-RNN: three convolutions, then two bidirectional layers of 64 GRUs or LSTMs.

    There, all positions of a protein cut or padded to 1,000 residues are flattened into one linear layer, and the
    first state is random at prediction too. Here the greatest value of each unit is taken, whatever the length, and
    the first state is zero.

    Parameters
    ----------
    cell
        ``"gru"`` or ``"lstm"``.
    filters, kernels
        Of the convolutions.
    hidden, layers
        Recurrent units in each direction, and layers.
    readout
        ``"max"`` or ``"mean"`` over residues.
    embedding
        Width of the layer after the readout.
    predictor
        Hidden layers before the logits.
    dropout
        Between them.
    """

    half: ClassVar[str | None] = None

    cell: str = "gru"
    filters: tuple[int, ...] = (32, 64, 96)
    kernels: tuple[int, ...] = (4, 8, 12)
    hidden: int = 64
    layers: int = 2
    readout: str = "max"
    embedding: int = 256
    predictor: tuple[int, ...] = (1024, 1024, 512)
    dropout: float = 0.1

    def _build(self, n_outputs: int) -> nn.Module:
        require_sizes(filters=self.filters, kernels=self.kernels)
        require_whole(hidden=self.hidden, layers=self.layers, embedding=self.embedding)
        require_sizes(empty=True, predictor=self.predictor)
        require_share(dropout=self.dropout)
        if len(self.filters) != len(self.kernels):
            raise InputError(f"There are {len(self.filters)} filters and {len(self.kernels)} kernels; give one each.")
        return Recurrent(
            n_outputs,
            cell=self.cell,
            filters=tuple(self.filters),
            kernels=tuple(self.kernels),
            hidden=self.hidden,
            layers=self.layers,
            readout=self.readout,
            predictor=(self.embedding, *self.predictor),
            dropout=self.dropout,
        )
