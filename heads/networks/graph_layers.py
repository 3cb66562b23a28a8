"""The graph networks of DeepProtein, on torch_geometric's layers; imported when one is built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from heads.networks.graphs import GraphBatch
from heads.networks.layers import MaskedBatchNorm, Predictor
from heads.networks.optional import require_graph

_GEOMETRIC: Any = require_graph("torch_geometric.nn")

ATTENTION_HEADS = 4
READOUT_STEPS = 2


class _Joined(nn.Module):
    """Nodes (V, D) to proteins (n, 2 D): the sum of each feature, and the greatest."""

    def __init__(self, size: int, *, weighted: bool) -> None:
        super().__init__()
        self.weigh = nn.Linear(size, 1) if weighted else None

    def forward(self, states: torch.Tensor, batch: GraphBatch) -> torch.Tensor:
        shares = states if self.weigh is None else states * self.weigh(states).sigmoid()
        total = _GEOMETRIC.global_add_pool(shares, batch.protein, batch.n_proteins)
        most = _GEOMETRIC.global_max_pool(states, batch.protein, batch.n_proteins)
        return torch.cat((total, most), dim=1)


class GraphNetwork(nn.Module):
    """Layers on a graph, a readout, a linear layer, a predictor.

    Parameters
    ----------
    body
        Takes a batch and the features of its edges, gives (V, D) nodes, or (n, D) proteins where `readout` is None.
    readout
        Nodes to proteins.
    width
        What comes out of the readout.
    edge_features
        (types, F) of each type of edge.
    embedding, predictor, dropout
        Width of the linear layer, hidden layers before the logits, dropout between them.
    """

    def __init__(
        self,
        n_outputs: int,
        body: nn.Module,
        readout: nn.Module | None,
        width: int,
        edge_features: NDArray[np.float32],
        *,
        embedding: int,
        predictor: tuple[int, ...],
        dropout: float,
    ) -> None:
        super().__init__()
        self.edge_features: torch.Tensor
        self.register_buffer("edge_features", torch.from_numpy(edge_features), persistent=False)
        self.body, self.readout = body, readout
        self.embed = nn.Linear(width, embedding)
        self.predictor = Predictor(embedding, predictor, n_outputs, dropout=dropout)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Logits of some proteins."""
        states = self.body(batch, self.edge_features)
        if self.readout is not None:
            states = self.readout(states, batch)
        logits: torch.Tensor = self.predictor(self.embed(states))
        return logits


class _Norm(MaskedBatchNorm):
    """Batch normalisation of nodes (V, D)."""

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Nodes after it; there is no padding among them."""
        return super().forward(states[None], torch.ones(1, len(states), dtype=torch.bool))[0]


class _Stack(nn.Module):
    """Convolutions of a graph, each with ReLU, a sum with its input, and a batch norm, as DGL-LifeSci's GCN."""

    def __init__(self, n_in: int, hidden: int, layers: int, make: Callable[[int, int], Any]) -> None:
        super().__init__()
        widths = [n_in, *[hidden] * layers]
        self.convolutions = nn.ModuleList(make(widths[number], hidden) for number in range(layers))
        self.skips = nn.ModuleList(nn.Linear(widths[number], hidden) for number in range(layers))
        self.norms = nn.ModuleList(_Norm(hidden) for _ in range(layers))

    def forward(self, batch: GraphBatch, edge_features: torch.Tensor) -> torch.Tensor:
        states = batch.nodes
        for convolution, skip, norm in zip(self.convolutions, self.skips, self.norms, strict=True):
            states = norm(convolution(states, batch.edges).relu() + skip(states).relu())
        return states


class _Attention(nn.Module):
    """Graph attention of several heads, joined, and averaged in the last layer."""

    def __init__(self, n_in: int, hidden: int, layers: int) -> None:
        super().__init__()
        widths = [n_in, *[ATTENTION_HEADS * hidden] * (layers - 1)]
        self.convolutions = nn.ModuleList(
            _GEOMETRIC.GATConv(width, hidden, heads=ATTENTION_HEADS, concat=number < layers - 1)
            for number, width in enumerate(widths)
        )

    def forward(self, batch: GraphBatch, edge_features: torch.Tensor) -> torch.Tensor:
        states = batch.nodes
        for convolution in self.convolutions:
            states = functional.elu(convolution(states, batch.edges))
        return states


class _Fingerprint(nn.Module):
    """Neural fingerprints: the sum of a node and its neighbours through weights for its number of neighbours."""

    def __init__(self, n_in: int, hidden: int, layers: int) -> None:
        super().__init__()
        widths = [n_in, *[hidden] * layers]
        self.convolutions = nn.ModuleList(_GEOMETRIC.MFConv(widths[number], hidden) for number in range(layers))
        self.norms = nn.ModuleList(_Norm(hidden) for _ in range(layers))
        self.last = nn.Linear(hidden, hidden)

    def forward(self, batch: GraphBatch, edge_features: torch.Tensor) -> torch.Tensor:
        states = batch.nodes
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            states = norm(convolution(states, batch.edges).relu())
        return cast(torch.Tensor, self.last(states).tanh())


class _Messages(nn.Module):
    """Message passing of Gilmer et al. 2017: a matrix for each edge from its features, a GRU for each node."""

    def __init__(self, n_in: int, n_edge: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_in, hidden)
        self.edge = nn.Sequential(nn.Linear(n_edge, hidden), nn.ReLU(), nn.Linear(hidden, hidden * hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.cell = nn.GRUCell(hidden, hidden)
        self._hidden, self._steps = hidden, layers

    def forward(self, batch: GraphBatch, edge_features: torch.Tensor) -> torch.Tensor:
        states = self.first(batch.nodes).relu()
        # Edges are of a dozen types: a matrix is made for each type, and not, as usual, for each edge.
        matrices = self.edge(edge_features).view(-1, self._hidden, self._hidden).permute(1, 0, 2).flatten(1)
        source, target = batch.edges
        for _ in range(self._steps):
            each = (states @ matrices).view(len(states) * len(edge_features), self._hidden)
            messages = each.index_select(0, source * len(edge_features) + batch.edge_types)
            summed = torch.zeros_like(states).index_add(0, target, messages) + self.bias
            states = self.cell(summed.relu(), states)
        return cast(torch.Tensor, states)


class _Attentive(nn.Module):
    """Attentive fingerprints of Xiong et al. 2020, readout among them."""

    def __init__(self, n_in: int, n_edge: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.model = _GEOMETRIC.AttentiveFP(
            n_in, hidden, hidden, edge_dim=n_edge, num_layers=layers, num_timesteps=READOUT_STEPS
        )

    def forward(self, batch: GraphBatch, edge_features: torch.Tensor) -> torch.Tensor:
        features = edge_features[batch.edge_types]
        return cast(torch.Tensor, self.model(batch.nodes, batch.edges, features, batch.protein))


class _GraphTransformer(nn.Module):
    """Attention along edges with keys and values from their features (Shi et al. 2021), norms and gated sums."""

    def __init__(self, n_in: int, n_edge: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_in, hidden)
        self.convolutions = nn.ModuleList(
            _GEOMETRIC.TransformerConv(
                hidden, hidden // ATTENTION_HEADS, heads=ATTENTION_HEADS, edge_dim=n_edge, beta=True
            )
            for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))

    def forward(self, batch: GraphBatch, edge_features: torch.Tensor) -> torch.Tensor:
        states = self.first(batch.nodes)
        features = edge_features[batch.edge_types]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            states = norm(convolution(states, batch.edges, features)).relu()
        return cast(torch.Tensor, states)


def build(
    architecture: str,
    n_outputs: int,
    *,
    n_in: int,
    edge_features: NDArray[np.float32],
    hidden: int,
    layers: int,
    embedding: int,
    predictor: tuple[int, ...],
    dropout: float,
) -> GraphNetwork:
    """A graph network by name: ``gcn``, ``gat``, ``neural_fp``, ``mpnn``, ``attentive_fp``, ``graph_transformer``."""
    n_edge = edge_features.shape[1]
    weighted = architecture in ("gcn", "gat", "graph_transformer")
    readout: nn.Module | None = None if architecture == "attentive_fp" else _Joined(hidden, weighted=weighted)
    bodies: dict[str, Callable[[], nn.Module]] = {
        "gcn": lambda: _Stack(n_in, hidden, layers, _GEOMETRIC.GCNConv),
        "gat": lambda: _Attention(n_in, hidden, layers),
        "neural_fp": lambda: _Fingerprint(n_in, hidden, layers),
        "mpnn": lambda: _Messages(n_in, n_edge, hidden, layers),
        "attentive_fp": lambda: _Attentive(n_in, n_edge, hidden, layers),
        "graph_transformer": lambda: _GraphTransformer(n_in, n_edge, hidden, layers),
    }
    return GraphNetwork(
        n_outputs,
        bodies[architecture](),
        readout,
        hidden if readout is None else 2 * hidden,
        edge_features,
        embedding=embedding,
        predictor=predictor,
        dropout=dropout,
    )
