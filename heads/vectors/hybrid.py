"""Vectors and alignments as one: heads on either, their outputs put together by weights chosen on validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from embedstore.errors import MissingPackageError
from heads.base import LabelledExamples
from heads.catalog import HEADS
from heads.features.base import sequences_of
from heads.vectors.ensemble import EnsembleHead

ON_VECTORS = ("linear", "knn")
OF_NUMBERS = (*ON_VECTORS, "mlp")
ALIGNERS = ("blastp", "mmseqs", "diamond", "smith_waterman")
"""In the order in which they are looked for."""


class HybridHead(EnsembleHead):
    """A blend of heads on vectors and heads on sequences, which all learn from the same proteins.

    An alignment is sure of close relatives and says nothing of the others; vectors say something of every protein. A
    protein that an aligner finds nothing for is left to the other members. Weights are chosen as in
    `heads.vectors.ensemble.EnsembleHead`.

    Parameters
    ----------
    members
        Names of heads of the catalog, two or more. None: linear, knn, and the first aligner of `ALIGNERS` that is
        installed; for numbers linear, knn, mlp, and position_means where all proteins are of one length, as variants
        of one are, else kmer.
    params, method, seed, target_type
        As of `heads.vectors.ensemble.EnsembleHead`.
    """

    target_types: ClassVar[tuple[str, ...]] = ("class", "multilabel", "regression")
    reads_sequences: ClassVar[bool] = True

    def __init__(
        self,
        *,
        members: Sequence[str] | None = None,
        params: Mapping[str, Mapping[str, Any]] | None = None,
        method: str | None = None,
        seed: int = 0,
        target_type: str = "class",
    ) -> None:
        super().__init__(members=members, params=params, method=method, seed=seed, target_type=target_type)

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        self._of_one_length = len(set(map(len, sequences_of(train.features).residues))) == 1
        super()._fit(train, valid)

    def _asked(self) -> tuple[str, ...]:
        if self.members is not None:
            return super()._asked()
        if self.target_type == "regression":
            return (*OF_NUMBERS, "position_means" if self._of_one_length else "kmer")
        return (*ON_VECTORS, _installed())


def _installed() -> str:
    lacking = {name: HEADS.load(name).missing() for name in ALIGNERS}
    for name, why in lacking.items():
        if why is None:
            return name
    raise MissingPackageError(f"No aligner is installed: {' '.join(str(why) for why in lacking.values())}")
