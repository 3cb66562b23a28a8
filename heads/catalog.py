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
            name="finetune",
            target="heads.finetuning.head:FinetuneHead",
            kinds=("class", "multilabel", "regression", "ordinal"),
            reads="sequences",
            summary="a language model trained with its head: frozen, low-rank adapters, last layers or whole",
            citation="Schmirler et al. 2024, Fine-tuning protein language models boosts predictions across diverse "
            "tasks, Nature Communications 15:7407, doi:10.1038/s41467-024-51844-2",
        ),
        HeadSpec(
            name="cnn",
            target="heads.cnn:ConvolutionHead",
            inputs=("residue",),
            summary="two convolutions along the protein, a class for each residue",
            citation="Elnaggar et al. 2022, ProtTrans, IEEE TPAMI 44:7112",
        ),
    ),
    group="embedstore.heads",
)
"""Every head by name."""
