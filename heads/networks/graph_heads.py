"""Graph networks as heads: DeepProtein's, on atoms as there, or on residues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from embedstore.errors import InputError
from heads.networks.atoms import AtomGraphs
from heads.networks.graphs import ResidueGraphs, read_contacts
from heads.networks.head import NetworkHead
from heads.networks.optional import require_graph
from heads.training.checks import require_share, require_sizes, require_whole

GRAPHS = ("atoms", "residues")
_ATTENTION_HEADS = 4


@dataclass(kw_only=True, eq=False)
class GraphHead(NetworkHead):
    """A network on a protein's graph; needs `embedstore[graph]` (torch_geometric, and RDKit for atoms).

    Parameters
    ----------
    graph
        ``"atoms"``: heavy atoms and bonds of the protein's SMILES, as DeepProtein; there is no structure in it.
        ``"residues"``: residues, joined to those near along the chain, and to those that touch.
    n_nearest
        Of ``"residues"``: how many neighbours along the chain, to each side.
    contacts
        Of ``"residues"``: a file that says which residues of each protein touch: see
        `heads.networks.graphs.read_contacts`. It is read anew where the head predicts.
    hidden, layers
        Width of the nodes, and layers (of message passing: steps).
    embedding
        Width of the layer after the readout.
    predictor
        Hidden layers before the logits.
    dropout
        Between them.
    """

    half: ClassVar[str | None] = None
    # Nodes are never padded, so that batches need no rows of one length.
    pool_batches: ClassVar[int] = 1
    architecture: ClassVar[str]

    graph: str = "atoms"
    n_nearest: int = 2
    contacts: str | None = None
    hidden: int = 64
    layers: int = 3
    embedding: int = 256
    predictor: tuple[int, ...] = (1024, 1024, 512)
    dropout: float = 0.1
    learning_rate: float = 1e-5

    def _prepare(self, residues: Sequence[str]) -> None:
        require_whole(n_nearest=self.n_nearest, hidden=self.hidden, layers=self.layers, embedding=self.embedding)
        require_sizes(empty=True, predictor=self.predictor)
        require_share(dropout=self.dropout)
        if self.graph not in GRAPHS:
            raise InputError(f"graph is {self.graph!r}; expected one of {', '.join(GRAPHS)}.")
        if self.contacts is not None and self.graph != "residues":
            raise InputError("contacts are given and graph is 'atoms'; set graph='residues', or leave contacts out.")
        if self.hidden % _ATTENTION_HEADS:
            raise InputError(f"hidden is {self.hidden}; expected a multiple of {_ATTENTION_HEADS}.")

    def _collate(self) -> AtomGraphs | ResidueGraphs:
        if self.graph == "atoms":
            return AtomGraphs()
        contacts = None if self.contacts is None else read_contacts(self.contacts)
        return ResidueGraphs(n_nearest=self.n_nearest, contacts=contacts)

    def _build(self, n_outputs: int) -> nn.Module:
        layers: Any = require_graph("heads.networks.graph_layers")
        # What joins nodes does not decide how wide they are: the file of contacts is not read for it.
        graphs = AtomGraphs() if self.graph == "atoms" else ResidueGraphs(n_nearest=self.n_nearest)
        network: nn.Module = layers.build(
            self.architecture,
            n_outputs,
            n_in=graphs.n_features,
            edge_features=graphs.edge_features,
            hidden=self.hidden,
            layers=self.layers,
            embedding=self.embedding,
            predictor=tuple(self.predictor),
            dropout=self.dropout,
        )
        return network


@dataclass(kw_only=True, eq=False)
class GcnHead(GraphHead):
    """Graph convolutions (Kipf and Welling 2017)."""

    architecture: ClassVar[str] = "gcn"


@dataclass(kw_only=True, eq=False)
class GatHead(GraphHead):
    """Graph attention (Veličković et al. 2018), four heads."""

    architecture: ClassVar[str] = "gat"


@dataclass(kw_only=True, eq=False)
class MpnnHead(GraphHead):
    """Message passing (Gilmer et al. 2017)."""

    architecture: ClassVar[str] = "mpnn"


@dataclass(kw_only=True, eq=False)
class NeuralFingerprintHead(GraphHead):
    """Neural fingerprints (Duvenaud et al. 2015)."""

    architecture: ClassVar[str] = "neural_fp"


@dataclass(kw_only=True, eq=False)
class AttentiveFingerprintHead(GraphHead):
    """Attentive fingerprints (Xiong et al. 2020)."""

    architecture: ClassVar[str] = "attentive_fp"


@dataclass(kw_only=True, eq=False)
class GraphTransformerHead(GraphHead):
    """A transformer along the edges of the graph (Shi et al. 2021), for DeepProtein's PAGTN and Graphormer."""

    architecture: ClassVar[str] = "graph_transformer"
