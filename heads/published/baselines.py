"""Simple baselines that are added to published tables."""

from __future__ import annotations

from heads.published.table import PublishedRow

COMPOSITION = PublishedRow(
    name="amino acids and dipeptides",
    head="composition",
    baseline=True,
    note="logistic or ridge regression on the composition",
)

KMER = PublishedRow(
    name="1- to 3-mers", head="kmer", baseline=True, note="tf-idf of k-mers in logistic or ridge regression"
)

ON_VARIANTS = (
    PublishedRow(
        name="one-hot ridge",
        head="one_hot_ridge",
        baseline=True,
        variants=True,
        note="ridge regression on the residue at each position",
    ),
    PublishedRow(
        name="position means + BLOSUM62",
        head="position_means",
        baseline=True,
        variants=True,
        note="position means, BLOSUM62 and residues in boosted trees",
    ),
)
"""For variants of one protein, which are aligned position by position."""
