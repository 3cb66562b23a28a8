"""Heads on sequences that are networks: trained from scratch, or language models trained further."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heads.catalog.spec import HeadSpec


def _network(name: str, target: str, summary: str, citation: str, small: Mapping[str, Any] | None = None) -> HeadSpec:
    """A row of a network that is trained from scratch on sequences."""
    return HeadSpec(
        name=name,
        target=f"heads.networks.{target}",
        target_types=("class", "multilabel", "regression", "ordinal"),
        inputs=("protein",),
        reads="sequences",
        small={"epochs": 20, "learning_rate": 3e-3, **(small or {})},
        summary=summary,
        citation=citation,
    )


_BILESCHI = "Bileschi et al. 2022, Using deep learning to annotate the protein universe, Nat Biotechnol 40:932"
_DEEPPROTEIN = "Xie et al. 2025, DeepProtein: deep learning library for protein sequence learning, Bioinformatics 41"
_PREDICTOR: Mapping[str, Any] = {"predictor": (64,), "batch_size": 16}
_GRAPH: Mapping[str, Any] = {**_PREDICTOR, "graph": "residues", "hidden": 32}

NETWORKS = (
    _network(
        "protcnn",
        "protcnn:ProtCNNHead",
        "dilated residual convolutions, 1,100 filters, of the Pfam comparison",
        _BILESCHI,
        {"width": 32, "warmup_steps": 0},
    ),
    _network(
        "protenn",
        "protcnn:ProtENNHead",
        "majority of several ProtCNNs",
        _BILESCHI,
        {"width": 32, "warmup_steps": 0, "members": 2},
    ),
    _network(
        "rnn",
        "recurrent:RnnHead",
        "bidirectional LSTM, as in the Pfam comparison",
        _BILESCHI,
        {"hidden": 32, "learning_rate": 1e-2, "clip": 1.0},
    ),
    _network(
        "deepprotein_cnn",
        "convolution:ConvolutionHead",
        "three convolutions and a global maximum",
        _DEEPPROTEIN,
        {**_PREDICTOR, "batch_size": 8, "epochs": 30, "learning_rate": 2e-3},
    ),
    _network(
        "deepprotein_cnn_rnn",
        "recurrent:ConvolutionRecurrentHead",
        "three convolutions, then two layers of GRUs or LSTMs",
        _DEEPPROTEIN,
        {**_PREDICTOR, "hidden": 16, "learning_rate": 5e-3, "clip": 1.0},
    ),
    _network(
        "deepprotein_gru",
        "recurrent:GruHead",
        "two layers of bidirectional GRUs",
        _DEEPPROTEIN,
        {**_PREDICTOR, "hidden": 32, "learning_rate": 1e-2, "clip": 1.0},
    ),
    _network(
        "deepprotein_lstm",
        "recurrent:LstmHead",
        "two layers of bidirectional LSTMs",
        _DEEPPROTEIN,
        {**_PREDICTOR, "hidden": 32, "learning_rate": 1e-2, "clip": 1.0},
    ),
    _network(
        "deepprotein_transformer",
        "transformer:TransformerHead",
        "two layers of attention on sub-words",
        _DEEPPROTEIN,
        {**_PREDICTOR, "n_subwords": 60},
    ),
    *(
        _network(name, f"graph_heads:{target}", f"{summary}, on atoms or residues", citation, _GRAPH)
        for name, target, summary, citation in (
            ("gcn", "GcnHead", "graph convolutions", "Kipf and Welling 2017, ICLR"),
            ("gat", "GatHead", "graph attention", "Veličković et al. 2018, ICLR"),
            ("mpnn", "MpnnHead", "message passing", "Gilmer et al. 2017, ICML"),
            ("neural_fp", "NeuralFingerprintHead", "neural fingerprints", "Duvenaud et al. 2015, NeurIPS"),
            (
                "attentive_fp",
                "AttentiveFingerprintHead",
                "attentive fingerprints",
                "Xiong et al. 2020, J Med Chem 63:8749",
            ),
            ("graph_transformer", "GraphTransformerHead", "attention along edges", "Shi et al. 2021, IJCAI"),
        )
    ),
)
"""Networks trained from scratch; "deepprotein" stands before what would else be called as the architecture alone."""

FINETUNING = (
    HeadSpec(
        name="finetune",
        target="heads.finetuning.head:FinetuneHead",
        target_types=("class", "multilabel", "regression", "ordinal"),
        reads="sequences",
        small={"method": "frozen", "head_rate": 0.05, "epochs": 8},
        summary="a language model trained with its head: frozen, low-rank adapters, last layers or whole",
        citation="Schmirler et al. 2024, Fine-tuning protein language models boosts predictions across diverse "
        "tasks, Nature Communications 15:7407, doi:10.1038/s41467-024-51844-2",
    ),
)
"""A language model trained together with its head."""
