"""DeepProtein's transformer on sub-words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from embedstore.errors import InputError
from heads.networks.head import NetworkHead
from heads.networks.layers import READOUTS, Predictor, Readout
from heads.networks.subwords import LETTERS, MOST_SUBWORDS, count_subwords, encode_subwords, learn_subwords
from heads.training.batches import TokenBatch
from heads.training.checks import require_share, require_sizes, require_whole
from heads.training.tokens import Tokens


class _Layer(nn.Module):
    """Attention and two linear layers, each followed by a layer norm of the sum, as in BERT."""

    def __init__(self, size: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self._heads, self._dropout = heads, dropout
        self.triple, self.joined = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.inner, self.outer = nn.Linear(size, inner), nn.Linear(inner, size)
        self.norms = nn.ModuleList((nn.LayerNorm(size), nn.LayerNorm(size)))
        self.drop = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        n, length, size = states.shape
        parts = self.triple(states).view(n, length, 3, self._heads, size // self._heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            parts[0], parts[1], parts[2], attn_mask=attended, dropout_p=self._dropout if self.training else 0.0
        )
        attended = self.drop(self.joined(attended.transpose(1, 2).flatten(2)))
        states = self.norms[0](states + attended)
        result: torch.Tensor = self.norms[1](states + self.drop(self.outer(self.inner(states).relu())))
        return result


class Transformer(nn.Module):
    """Sub-words with places, layers of attention, a readout, a predictor.

    Parameters
    ----------
    n_outputs
        Logits.
    n_subwords
        Sub-words; 0 is padding.
    size, heads, layers, inner
        Of the states, attention heads, layers, and width between the two linear ones.
    readout
        ``"first"``, ``"max"`` or ``"mean"``.
    predictor
        Hidden layers before the logits.
    dropout
        Everywhere.
    """

    def __init__(
        self,
        n_outputs: int,
        *,
        n_subwords: int,
        size: int,
        heads: int,
        layers: int,
        inner: int,
        readout: str,
        predictor: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.subwords = nn.Embedding(n_subwords + 1, size)
        self.norm, self.drop = nn.LayerNorm(size), nn.Dropout(dropout)
        self.layers = nn.ModuleList(_Layer(size, heads, inner, dropout) for _ in range(layers))
        self.pool = None if readout == "first" else Readout(readout)
        self.predictor = Predictor(size, predictor, n_outputs, dropout=dropout)

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Logits of some proteins."""
        states = self.subwords(batch.codes)
        states = self.drop(self.norm(states + _places(states.shape[1], states.shape[2], states)))
        attended = batch.mask[:, None, None, :]
        for layer in self.layers:
            states = layer(states, attended)
        pooled = states[:, 0] if self.pool is None else self.pool(states, batch.mask)
        logits: torch.Tensor = self.predictor(pooled)
        return logits


def _places(length: int, size: int, like: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of each place, (length, size), after Vaswani et al. 2017."""
    rates = torch.exp(torch.arange(0, size, 2, device=like.device) * (-math.log(10_000.0) / size))
    angles = torch.arange(length, device=like.device)[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=1)[:, :size].to(like.dtype)


@dataclass(kw_only=True, eq=False)
class TransformerHead(NetworkHead):
    """DeepProtein's transformer: sub-words, states of 64, 4 heads, 2 layers, the state of the first sub-word.

    Its list of sub-words (ESPF, Huang et al. 2019) is not shipped: as many are learned by byte-pair encoding from the
    training rows. Places are sines and not learned, so that no protein is cut after 545 sub-words.

    Parameters
    ----------
    n_subwords
        Most sub-words; ESPF has 4,114 for proteins. 26 reads letters.
    subword_rows
        Most training proteins that they are learned from.
    size, heads, layers, inner
        Of the states, attention heads, layers, width between the two linear ones of a layer.
    readout
        ``"first"`` as published, ``"max"`` or ``"mean"`` over sub-words.
    predictor
        Hidden layers before the logits.
    dropout
        Everywhere.

    Attributes
    ----------
    subwords_
        The sub-words, as JSON of the package tokenizers.
    """

    n_subwords: int = 4114
    subword_rows: int = 20_000
    size: int = 64
    heads: int = 4
    layers: int = 2
    inner: int = 256
    readout: str = "first"
    predictor: tuple[int, ...] = (1024, 1024, 512)
    dropout: float = 0.1

    def _prepare(self, residues: Sequence[str]) -> None:
        require_whole(n_subwords=self.n_subwords, subword_rows=self.subword_rows)
        if not len(LETTERS) <= self.n_subwords <= MOST_SUBWORDS:
            raise InputError(f"n_subwords is {self.n_subwords}; expected a number from 26 to {MOST_SUBWORDS:,}.")
        self.subwords_: str = learn_subwords(
            residues, n_subwords=self.n_subwords, n_rows=self.subword_rows, seed=self.seed
        )

    def _tokenise(self, residues: Sequence[str], *, first_row: int = 0) -> Tokens:
        return encode_subwords(self.subwords_, residues, max_length=self.max_length, first_row=first_row)

    def _build(self, n_outputs: int) -> nn.Module:
        require_whole(size=self.size, heads=self.heads, layers=self.layers, inner=self.inner)
        require_sizes(empty=True, predictor=self.predictor)
        require_share(dropout=self.dropout)
        if self.size % (2 * self.heads):
            raise InputError(f"size is {self.size} and heads {self.heads}; expected a multiple of twice the heads.")
        if self.readout not in ("first", *READOUTS):
            raise InputError(f"readout is {self.readout!r}; expected one of first, {', '.join(READOUTS)}.")
        return Transformer(
            n_outputs,
            n_subwords=count_subwords(self.subwords_),
            size=self.size,
            heads=self.heads,
            layers=self.layers,
            inner=self.inner,
            readout=self.readout,
            predictor=tuple(self.predictor),
            dropout=self.dropout,
        )

    def texts(self) -> dict[str, str]:
        """The sub-words."""
        return {"subwords": self.subwords_}

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.subwords_ = texts["subwords"]
        super()._restore(arrays, settings, texts)
