"""The batteries for heads find what they are there to find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from heads.base import Head, LabelledExamples
from heads.features.base import Features, Float32, checked_blocks
from heads.tasks.targets import KINDS, Targets
from heads.testing.kind_contract import KindContract


class Remembering(Head):
    """The target of the nearest row that it remembers, mixed with the mean of all.

    Parameters
    ----------
    claim
        Share of the remembered target in the mixture.
    validation
        Whether it remembers validation rows too, as no head should.
    """

    target_types: ClassVar[tuple[str, ...]] = KINDS

    def __init__(self, *, claim: float, validation: bool = False, target_type: str = "multilabel") -> None:
        self.claim = claim
        self.validation = validation
        self.target_type = target_type

    def settings(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        parts = [train, valid] if valid is not None and self.validation else [train]
        self._vectors = np.concatenate([block for part in parts for _, block in part.features.blocks()])
        self._targets = np.concatenate([_numbers(part.targets) for part in parts])
        self._mean = _numbers(train.targets).mean(axis=0)

    def _outputs(self, X: Features) -> Iterator[Float32]:
        for _, block in checked_blocks(X, n_features=self.n_features_in_):
            distance = ((block[:, None] - self._vectors) ** 2).sum(axis=2)
            nearest = self._targets[distance.argmin(axis=1)]
            yield (self.claim * nearest + (1 - self.claim) * self._mean).astype(np.float32)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        raise NotImplementedError


def _numbers(targets: Targets) -> NDArray[np.float64]:
    """(N, C) what a head that knows the targets gives."""
    if targets.target_type == "multilabel":
        return targets.require_members().toarray().astype(np.float64)
    if targets.target_type == "ordinal":
        return np.eye(len(targets.classes))[targets.require_codes()]
    return targets.require_values()[:, None]


@pytest.mark.parametrize("target_type", [target_type for target_type in KINDS if target_type != "class"])
def test_the_battery_without_a_signal_passes_modest_heads_and_no_others(target_type: str) -> None:
    battery = KindContract().test_targets_without_a_signal_are_not_learned
    battery(Remembering(claim=0.05, target_type=target_type))
    with pytest.raises(AssertionError):
        battery(Remembering(claim=0.9, target_type=target_type))
    with pytest.raises(AssertionError):
        battery(Remembering(claim=0.05, validation=True, target_type=target_type))
