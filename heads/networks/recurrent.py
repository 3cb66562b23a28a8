"""Recurrent networks: the one of the Pfam comparison and DeepProtein's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from embedstore.errors import InputError
from heads.networks.batches import TokenBatch
from heads.networks.head import NetworkHead, require_positive
from heads.networks.layers import MaskedConvolution, OneHot, Predictor, Readout

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


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
        self.recurrent = CELLS[cell](widths[-1], hidden, num_layers=layers, batch_first=True, bidirectional=True)
        self.pool = Readout(readout)
        self.predictor = Predictor(2 * hidden, predictor, n_outputs, dropout=dropout)

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Logits of some proteins."""
        states = self.letters(batch)
        for convolution in self.convolutions:
            states = convolution(states, batch.mask).relu()
        # Packed, the backward direction starts at a protein's last residue and not in the padding.
        packed = pack_padded_sequence(states, batch.lengths, batch_first=True)
        states, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        logits: torch.Tensor = self.predictor(self.pool(states, batch.mask))
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
        require_positive(hidden=self.hidden, layers=self.layers)
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
        require_positive(hidden=self.hidden, layers=self.layers, predictor=tuple(self.predictor) or 1)
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
        require_positive(filters=self.filters, kernels=self.kernels, hidden=self.hidden, layers=self.layers)
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
