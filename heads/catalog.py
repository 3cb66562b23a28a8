"""The head catalog: one row a head; listing it imports none of them."""

from __future__ import annotations

from dataclasses import dataclass

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
    summary: str
    citation: str


HEADS: Catalog[HeadSpec] = Catalog(
    "head",
    (
        HeadSpec(
            name="linear",
            target="heads.linear:LinearHead",
            kinds=KINDS,
            summary="linear discriminant or ridge regression, one pass over the vectors",
            citation="Friedman 1989, Regularized discriminant analysis, JASA 84:165",
        ),
        HeadSpec(
            name="knn",
            target="heads.knn:NeighboursHead",
            kinds=KINDS,
            summary="weighted vote of the nearest training proteins by cosine similarity",
            citation="Dudani 1976, The distance-weighted k-nearest-neighbor rule, IEEE SMC 6:325",
        ),
        HeadSpec(
            name="mlp",
            target="heads.mlp:NetworkHead",
            kinds=KINDS,
            summary="multi-layer perceptron on standardised vectors, stopped by validation",
            citation="Rumelhart, Hinton and Williams 1986, Nature 323:533; Loshchilov and Hutter 2019, ICLR",
        ),
        HeadSpec(
            name="gbm",
            target="heads.gbm:BoostedHead",
            kinds=KINDS,
            summary="boosted trees on principal components; above 50 classes they rank candidates of linear and knn",
            citation="Ke et al. 2017, LightGBM, NeurIPS; Burges 2010, From RankNet to LambdaRank to LambdaMART",
        ),
        HeadSpec(
            name="ensemble",
            target="heads.ensemble:EnsembleHead",
            kinds=KINDS,
            summary="several heads blended by weights chosen on validation",
            citation="Wolpert 1992, Stacked generalization, Neural Networks 5:241",
        ),
        HeadSpec(
            name="auto",
            target="heads.auto:AutoHead",
            kinds=KINDS,
            summary="fits several heads and keeps the best on validation, or a blend",
            citation="Caruana et al. 2004, Ensemble selection from libraries of models, ICML",
        ),
        HeadSpec(
            name="cnn",
            target="heads.cnn:ConvolutionHead",
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
            name="centroid",
            target="heads.centroid:CentroidHead",
            kinds=("class", "multilabel"),
            summary="cosine similarity to the mean of each class; for classes with few members",
            citation="Snell et al. 2017, Prototypical networks for few-shot learning, NeurIPS 30",
        ),
    ),
    group="embedstore.heads",
)
"""Every head by name."""
