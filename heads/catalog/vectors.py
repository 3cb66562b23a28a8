"""Heads on vectors."""

from __future__ import annotations

from heads.catalog.spec import HeadSpec
from heads.tasks.targets import KINDS

_FEW = {"members": ("linear", "knn"), "params": {"knn": {"k": 10, "sharpness": 20.0, "whiten": False}}}

ON_VECTORS = (
    HeadSpec(
        name="linear",
        target="heads.vectors.linear:LinearHead",
        target_types=KINDS,
        summary="linear discriminant or ridge regression, from one or two passes over the vectors",
        citation="Friedman 1989, Regularized discriminant analysis, JASA 84:165",
    ),
    HeadSpec(
        name="mlp",
        target="heads.vectors.mlp:NetworkHead",
        target_types=KINDS,
        summary="multi-layer perceptron on standardised vectors, stopped by validation",
        citation="Rumelhart, Hinton and Williams 1986, Nature 323:533; Loshchilov and Hutter 2019, ICLR",
    ),
    HeadSpec(
        name="gbm",
        target="heads.vectors.gbm:BoostedHead",
        target_types=KINDS,
        summary="boosted trees on principal components; above 50 classes they rank candidates of linear and knn",
        citation="Ke et al. 2017, LightGBM, NeurIPS; Burges 2010, From RankNet to LambdaRank to LambdaMART",
    ),
    HeadSpec(
        name="knn",
        target="heads.vectors.knn:NeighboursHead",
        target_types=KINDS,
        summary="weighted vote of the nearest training proteins by cosine similarity",
        citation="Dudani 1976, The distance-weighted k-nearest-neighbor rule, IEEE SMC 6:325",
    ),
    HeadSpec(
        name="centroid",
        target="heads.vectors.centroid:CentroidHead",
        target_types=("class", "multilabel"),
        summary="cosine similarity to the mean of each class; for classes with few members",
        citation="Snell et al. 2017, Prototypical networks for few-shot learning, NeurIPS 30",
    ),
    HeadSpec(
        name="ensemble",
        target="heads.vectors.ensemble:EnsembleHead",
        target_types=KINDS,
        small=_FEW,
        summary="several heads blended by weights chosen on validation",
        citation="Wolpert 1992, Stacked generalization, Neural Networks 5:241",
    ),
    HeadSpec(
        name="auto",
        target="heads.vectors.auto:AutoHead",
        target_types=KINDS,
        small=_FEW,
        summary="fits several heads and keeps the best on validation, or a blend",
        citation="Caruana et al. 2004, Ensemble selection from libraries of models, ICML",
    ),
    HeadSpec(
        name="hybrid",
        target="heads.vectors.hybrid:HybridHead",
        target_types=("class", "multilabel", "regression"),
        inputs=("protein",),
        reads="both",
        small={**_FEW, "members": ("linear", "kmer")},
        summary="heads on vectors and heads on sequences, an alignment say, blended by weights chosen on validation",
        citation="Wolpert 1992, Stacked generalization, Neural Networks 5:241",
    ),
    HeadSpec(
        name="cnn",
        target="heads.vectors.cnn:ConvolutionHead",
        inputs=("residue",),
        summary="two convolutions along the protein, a class for each residue",
        citation="Elnaggar et al. 2022, ProtTrans, IEEE TPAMI 44:7112",
    ),
)
"""Heads that read vectors of a space."""
