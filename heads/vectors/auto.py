"""Fits several heads and keeps the best on validation, or a blend where that is better beyond chance."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from embedstore.errors import InputError
from heads.base import Head, LabelledExamples, as_tuple
from heads.catalog import HEADS
from heads.features.base import Float32
from heads.tasks.targets import Targets
from heads.vectors.blending import Blend, choose
from heads.vectors.ensemble import EnsembleHead, unseen_outputs
from heads.vectors.losses import blockwise_losses, summary_loss

CANDIDATES = ("linear", "centroid", "knn", "mlp", "gbm")
"""Heads that are tried, in this order."""

_MLP_CELLS = 5 * 10**9
_GBM_CELLS = 2 * 10**6
_GBM_RANK_ROWS = 100_000
_DIRECT_CLASSES = 50


class AutoHead(EnsembleHead):
    """Fits each of several heads, and keeps the one of least validation loss, or a blend of them.

    A blend is kept where its loss is below that of the best head by more than one standard error of the difference
    over rows. Without validation rows, losses are those of cross-fitting, as in `heads.vectors.ensemble.EnsembleHead`.

    Parameters
    ----------
    members
        Names of the heads to try. None: linear, centroid, knn, mlp and gbm, as far as they can predict that kind, and
        those that take long (mlp with very many classes and rows, gbm) only where they do not.
    params
        Arguments of their constructors: ``{"knn": {"k": 5}}``.
    method
        How to blend: ``"blend"``, ``"stack"``, or None for the better.
    seed
        Of each head, and of the parts of cross-fitting.
    target_type
        What is predicted.

    Attributes
    ----------
    tried_
        Of each head its validation loss, its accuracy (Spearman's rho for numbers), and the seconds of its fit.
    chosen_
        Name of the head that was kept, or ``"blend"``.
    """

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
        self._check_method()
        names = usual_members(train) if self.members is None else as_tuple(self.members)
        if not names or "auto" in names or "ensemble" in names:
            raise InputError(f"members is {names}; expected names of heads, other than 'auto' and 'ensemble'.")
        makers = [self._maker(name) for name in names]
        self._heads, seconds = [], []
        for make in makers:
            started = time.perf_counter()
            self._heads.append(make().fit_labelled(train, valid))
            seconds.append(time.perf_counter() - started)
        outputs, targets = unseen_outputs(makers, self._heads, train, valid, seed=self.seed)
        losses = [blockwise_losses([each], targets) for each in outputs]
        self.tried_ = [
            {
                "head": name,
                "valid_loss": summary_loss(loss, self.target_type),
                **_score(head, each, targets),
                "fit_s": took,
            }
            for name, head, each, loss, took in zip(names, self._heads, outputs, losses, seconds, strict=True)
        ]
        best = int(np.argmin([loss.mean() for loss in losses]))
        blend = choose(outputs, targets, method=self.method) if len(names) > 1 else None
        if blend is not None and _is_better(blend.apply(outputs, self.target_type), losses[best], targets):
            self.chosen_ = "blend"
            self.tried_.append({"head": "blend", "valid_loss": blend.loss})
        else:
            self.chosen_ = names[best]
            alone = tuple(float(number == best) for number in range(len(names)))
            blend = Blend(method="blend", weights=alone, loss=summary_loss(losses[best], self.target_type))
        self._adopt(names, blend, outputs, targets)

    def settings(self) -> dict[str, Any]:
        """What was tried and what was chosen, besides what an ensemble says."""
        return {"chosen": self.chosen_, "tried": self.tried_, **super().settings()}

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        super()._restore(arrays, settings, texts)
        self.chosen_, self.tried_ = settings["chosen"], settings["tried"]


def usual_members(train: LabelledExamples) -> tuple[str, ...]:
    """Heads to try on such rows: those that can predict that kind, and that do not take hours."""
    n_rows, n_classes = len(train), max(1, len(train.targets.classes))
    target_type = train.targets.target_type
    affordable = {
        "mlp": n_rows * n_classes <= _MLP_CELLS,
        "gbm": n_rows <= _GBM_RANK_ROWS
        if target_type == "class" and n_classes > _DIRECT_CLASSES
        else n_rows * n_classes <= _GBM_CELLS and n_classes <= _DIRECT_CLASSES,
    }
    return tuple(
        name
        for name in CANDIDATES
        if name in HEADS and target_type in HEADS[name].target_types and affordable.get(name, True)
    )


def _score(head: Head, outputs: Float32, targets: Targets) -> dict[str, float]:
    """Accuracy of classes and levels, Spearman's rho of numbers."""
    if targets.target_type == "regression":
        varies = np.ptp(outputs) > 0 and np.ptp(targets.require_values()) > 0
        return {"spearman": float(spearmanr(outputs[:, 0], targets.require_values()).statistic) if varies else 0.0}
    if targets.target_type == "multilabel":
        return {}
    true = targets.classes[targets.require_codes()]
    return {"accuracy": float((head.decide(outputs) == true).mean())}


def _is_better(blended: Float32, best: NDArray[np.float64], targets: Targets) -> bool:
    """Whether a blend's losses are below by more than one standard error of the mean difference."""
    gain = best - blockwise_losses([blended], targets)
    return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))
