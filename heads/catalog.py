"""The head catalog: one row a head; listing it imports none of them."""

from __future__ import annotations

from dataclasses import dataclass

from embedstore.registry import Catalog


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
            summary="linear discriminant with shrinkage, one pass over the vectors",
            citation="Friedman 1989, Regularized discriminant analysis, JASA 84:165",
        ),
        HeadSpec(
            name="knn",
            target="heads.knn:NeighboursHead",
            summary="weighted vote of the nearest training proteins by cosine similarity",
            citation="Dudani 1976, The distance-weighted k-nearest-neighbor rule, IEEE SMC 6:325",
        ),
        HeadSpec(
            name="mlp",
            target="heads.mlp:NetworkHead",
            kinds=("class", "multilabel", "regression", "ordinal"),
            summary="multi-layer perceptron on standardised vectors, stopped by validation",
            citation="Rumelhart, Hinton and Williams 1986, Nature 323:533; Loshchilov and Hutter 2019, ICLR",
        ),
        HeadSpec(
            name="gbm",
            target="heads.gbm:BoostedHead",
            kinds=("class", "multilabel", "regression", "ordinal"),
            summary="boosted trees on principal components; above 50 classes they rank candidates of linear and knn",
            citation="Ke et al. 2017, LightGBM, NeurIPS; Burges 2010, From RankNet to LambdaRank to LambdaMART",
        ),
        HeadSpec(
            name="ensemble",
            target="heads.ensemble:EnsembleHead",
            kinds=("class", "multilabel", "regression", "ordinal"),
            summary="several heads blended by weights chosen on validation",
            citation="Wolpert 1992, Stacked generalization, Neural Networks 5:241",
        ),
        HeadSpec(
            name="auto",
            target="heads.auto:AutoHead",
            kinds=("class", "multilabel", "regression", "ordinal"),
            summary="fits several heads and keeps the best on validation, or a blend",
            citation="Caruana et al. 2004, Ensemble selection from libraries of models, ICML",
        ),
    ),
    group="embedstore.heads",
)
"""Every head by name."""
