"""The head catalog: one row a head; listing it imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embedstore.registry import Catalog
from heads.targets import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """A row of the head catalog.

    Attributes
    ----------
    name
        What the head is called on the command line and in a saved head.
    target
        ``"module:Class"`` of a `heads.base.Head`.
    kinds
        What it predicts: some of `heads.targets.KINDS`.
    inputs
        What its rows may be: some of `heads.tasks.base.INPUTS`.
    reads
        ``"vectors"`` of a space, or ``"sequences"``.
    small
        Arguments for a quick trial on a laptop, a few hundred proteins in seconds, where the defaults are made for
        large data: ``HEADS.load(name)(**row.small)``.
    summary
        One line for a list.
    citation
        Where the method was published.
    """

    name: str
    target: str
    kinds: tuple[str, ...] = ("class",)
    inputs: tuple[str, ...] = ("protein", "residue", "pair")
    reads: str = "vectors"
    small: Mapping[str, Any] = field(default_factory=dict)
    summary: str
    citation: str


def _network(name: str, target: str, summary: str, citation: str, small: Mapping[str, Any] | None = None) -> HeadSpec:
    """A row of a network that is trained from scratch on sequences."""
    return HeadSpec(
        name=name,
        target=f"heads.networks.{target}",
        kinds=("class", "multilabel", "regression", "ordinal"),
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

HEADS: Catalog[HeadSpec] = Catalog(
    "head",
    (
        HeadSpec(
            name="linear",
            target="heads.vectors.linear:LinearHead",
            kinds=KINDS,
            summary="linear discriminant or ridge regression, one pass over the vectors",
            citation="Friedman 1989, Regularized discriminant analysis, JASA 84:165",
        ),
        HeadSpec(
            name="knn",
            target="heads.vectors.knn:NeighboursHead",
            kinds=KINDS,
            summary="weighted vote of the nearest training proteins by cosine similarity",
            citation="Dudani 1976, The distance-weighted k-nearest-neighbor rule, IEEE SMC 6:325",
        ),
        HeadSpec(
            name="mlp",
            target="heads.vectors.mlp:NetworkHead",
            kinds=KINDS,
            summary="multi-layer perceptron on standardised vectors, stopped by validation",
            citation="Rumelhart, Hinton and Williams 1986, Nature 323:533; Loshchilov and Hutter 2019, ICLR",
        ),
        HeadSpec(
            name="gbm",
            target="heads.vectors.gbm:BoostedHead",
            kinds=KINDS,
            summary="boosted trees on principal components; above 50 classes they rank candidates of linear and knn",
            citation="Ke et al. 2017, LightGBM, NeurIPS; Burges 2010, From RankNet to LambdaRank to LambdaMART",
        ),
        HeadSpec(
            name="ensemble",
            target="heads.vectors.ensemble:EnsembleHead",
            kinds=KINDS,
            summary="several heads blended by weights chosen on validation",
            citation="Wolpert 1992, Stacked generalization, Neural Networks 5:241",
        ),
        HeadSpec(
            name="auto",
            target="heads.vectors.auto:AutoHead",
            kinds=KINDS,
            summary="fits several heads and keeps the best on validation, or a blend",
            citation="Caruana et al. 2004, Ensemble selection from libraries of models, ICML",
        ),
        HeadSpec(
            name="finetune",
            target="heads.finetuning.head:FinetuneHead",
            kinds=("class", "multilabel", "regression", "ordinal"),
            reads="sequences",
            small={"method": "frozen", "head_rate": 0.05, "epochs": 8},
            summary="a language model trained with its head: frozen, low-rank adapters, last layers or whole",
            citation="Schmirler et al. 2024, Fine-tuning protein language models boosts predictions across diverse "
            "tasks, Nature Communications 15:7407, doi:10.1038/s41467-024-51844-2",
        ),
        HeadSpec(
            name="cnn",
            target="heads.vectors.cnn:ConvolutionHead",
            inputs=("residue",),
            summary="two convolutions along the protein, a class for each residue",
            citation="Elnaggar et al. 2022, ProtTrans, IEEE TPAMI 44:7112",
        ),
        HeadSpec(
            name="kmer",
            target="heads.homology.kmer:KmerHead",
            kinds=("class", "multilabel", "regression"),
            inputs=("protein",),
            reads="sequences",
            summary="tf-idf of words of one to three residues in logistic or ridge regression",
            citation="Leslie et al. 2002, The spectrum kernel, PSB 7:564",
        ),
        HeadSpec(
            name="composition",
            target="heads.homology.composition:CompositionHead",
            kinds=("class", "multilabel", "regression"),
            inputs=("protein",),
            reads="sequences",
            summary="amino-acid and dipeptide composition in logistic or ridge regression",
            citation="Bhasin and Raghava 2004, Classification of nuclear receptors, JBC 279:23262",
        ),
        HeadSpec(
            name="length",
            target="heads.homology.length:LengthHead",
            kinds=("class", "multilabel"),
            inputs=("protein",),
            reads="sequences",
            summary="the length alone in logistic regression: what no method should be near",
            citation="none: a check on benchmarks",
        ),
        HeadSpec(
            name="one_hot_ridge",
            target="heads.homology.one_hot_ridge:OneHotRidgeHead",
            kinds=("regression",),
            inputs=("protein",),
            reads="sequences",
            summary="ridge regression on the residue at each position, for variants of one protein",
            citation="Hsu et al. 2022, Learning protein fitness models, Nat Biotechnol 40:1114",
        ),
        HeadSpec(
            name="position_means",
            target="heads.homology.position_means:PositionMeansHead",
            kinds=("regression",),
            inputs=("protein",),
            reads="sequences",
            summary="position means, BLOSUM62 and residues in boosted trees, for variants of one protein",
            citation="Henikoff and Henikoff 1992, Amino acid substitution matrices from protein blocks, PNAS 89:10915",
        ),
        HeadSpec(
            name="blastp",
            target="heads.homology.blastp:BlastpHead",
            kinds=("class", "multilabel"),
            inputs=("protein",),
            reads="sequences",
            summary="label of NCBI BLAST+'s best hit",
            citation="Altschul et al. 1997, Gapped BLAST and PSI-BLAST, NAR 25:3389",
        ),
        HeadSpec(
            name="diamond",
            target="heads.homology.diamond:DiamondHead",
            kinds=("class", "multilabel"),
            inputs=("protein",),
            reads="sequences",
            summary="label of DIAMOND's best hit, ultra-sensitive",
            citation="Buchfink et al. 2021, Sensitive protein alignments at tree-of-life scale, Nat Methods 18:366",
        ),
        HeadSpec(
            name="mmseqs",
            target="heads.homology.mmseqs:MMseqsHead",
            kinds=("class", "multilabel"),
            inputs=("protein",),
            reads="sequences",
            summary="label of MMseqs2's best hit, sensitivity 7.5",
            citation="Steinegger and Söding 2017, MMseqs2, Nat Biotechnol 35:1026",
        ),
        HeadSpec(
            name="smith_waterman",
            target="heads.homology.smith_waterman:SmithWatermanHead",
            kinds=("class", "multilabel"),
            inputs=("protein",),
            reads="sequences",
            summary="label of the best local alignment, all pairs tried",
            citation="Smith and Waterman 1981, Identification of common molecular subsequences, JMB 147:195",
        ),
        HeadSpec(
            name="phmmer",
            target="heads.homology.phmmer:PhmmerHead",
            kinds=("class", "multilabel"),
            inputs=("protein",),
            reads="sequences",
            summary="label of phmmer's best hit",
            citation="Eddy 2011, Accelerated profile HMM searches, PLoS Comput Biol 7:e1002195",
        ),
        HeadSpec(
            name="hmm_top_pick",
            target="heads.homology.hmm_top_pick:HmmTopPickHead",
            kinds=("class",),
            inputs=("protein",),
            reads="sequences",
            summary="the family whose profile HMM scores best",
            citation="Bileschi et al. 2022, Deep learning to annotate the protein universe, Nat Biotechnol 40:932",
        ),
        HeadSpec(
            name="centroid",
            target="heads.vectors.centroid:CentroidHead",
            kinds=("class", "multilabel"),
            summary="cosine similarity to the mean of each class; for classes with few members",
            citation="Snell et al. 2017, Prototypical networks for few-shot learning, NeurIPS 30",
        ),
        *NETWORKS,
    ),
    group="embedstore.heads",
)
"""Every head by name."""
