"""Linear heads from one pass over the vectors: the discriminant, ridge regression, and both for labels and levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.numerics import sigmoid, softmax
from heads.base import Head, LabelledExamples, as_tuple
from heads.calibration.temperature import LevelCuts
from heads.catalog.param_space import FloatRange, Range
from heads.features.base import Features, Float32, checked_blocks
from heads.tasks.splitting import hold_out
from heads.tasks.targets import KINDS
from heads.vectors.fit_lda import fit_class
from heads.vectors.fit_ridge import Descent, FitResult, LinearFit, fit_multilabel, fit_ordinal, fit_regression
from heads.vectors.gradient_refine import MAX_EPOCHS
from heads.vectors.scaling import L2NormalisedFeatures
from heads.vectors.sufficient_statistics import Statistics, balanced_weights, target_statistics

SHRINKAGES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 0.9)
MEAN_SHRINKAGES = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Tried on the validation split."""

_LOGIT_ROWS = 1024
_LEAST_HELD = 30
"""Rows that are worth choosing on; with fewer the defaults are taken."""

_LENGTH_ROWS, _LEAST_VARIATION = 2**12, 0.05
"""Vectors whose lengths, of so many rows, vary by less than this share of their mean are left as they are."""

_TRIED_ROWS, _TRIED_CLASSES = 2**16, 2**11
"""Whether to normalise is found out on at most so many training rows, of at most so many classes."""


class LinearHead(Head):
    """A linear map of the vectors, found from sums over one pass whatever the number of targets.

    ``"class"``: linear discriminant analysis, Gaussian classes with one covariance S that is shrunk towards a multiple
    of the identity, ``(1 - s) S + s trace(S) / D``, as in scikit-learn's ``LinearDiscriminantAnalysis(shrinkage=s)``,
    and whose means, since few rows tell little of them, are drawn towards the mean of all rows (see
    `heads.vectors.discriminant.DiscriminantSpectrum`).
    ``"regression"``: ridge, as scikit-learn's ``Ridge(alpha)``. ``"multilabel"``: ridge to the indicators of all
    labels at once, and a logistic curve for each. ``"ordinal"``: ridge on the ranks of the levels, and the cut points
    of proportional odds. One eigendecomposition serves every s and every alpha. Classes and labels may be refined by a
    softmax or logistic regression that starts there.

    Parameters
    ----------
    shrinkage
        s for ``"class"``, from 0 to 1. None: the one of `shrinkages` with the least log-loss on the validation rows.
        Without such rows a tenth of the training rows, drawn by key, is set aside to choose everything on, and all are
        learned from in the end; 0.1, and 1 for m, where those are fewer than 30.
    mean_shrinkage
        m for ``"class"``, at least 0: how little the rows of a class are taken to tell of its mean. 0 takes the mean of
        the rows, as scikit-learn does; 1 takes them for independent. None: the one of `mean_shrinkages` that is best.
    shrinkages, mean_shrinkages
        What to choose from.
    normalize
        Whether all vectors are scaled to one length first: those of low complexity, say, can be many times as long as
        others, and would rule the covariance. ``"auto"``: whichever is better on the validation rows, where there are
        any and the lengths vary by 5% or more.
        Costs a second pass over the vectors, at most 65,536 of them.
    alpha
        Ridge penalty for the other kinds, not negative. None: the one of `alphas` that is best on the validation rows;
        without them by generalised cross-validation.
    alphas
        What to choose from. None: 25, around the mean of the Gram matrix's eigenvalues.
    class_weight
        ``"balanced"`` lets all classes count the same, for ``"multilabel"`` the rows with and without each label.
    refine
        Whether classes and labels are refined by gradient descent, stopped on the validation rows and kept only if the
        log-loss is lower there and no fewer rows are right. ``"auto"``: where there are such rows and an epoch takes
        about a second at most.
    max_epochs
        Passes over the training rows at most, of a refinement.
    seed
        Picks the rows to choose on where there are too many for all, and the order of a refinement.
    target_type
        What is predicted.

    Attributes
    ----------
    shrinkage_, mean_shrinkage_, alpha_, normalize_
        What was used.
    n_epochs_
        Of the refinement that was kept; 0 without one.
    temperature_
        For ``"class"``: what the logits are divided by; 1 where there were no rows to choose on.
    valid_log_loss_
        Log-loss on the validation rows, or those set aside, in nats, for ``"multilabel"`` the mean over labels; None
        without such rows.
    held_out_
        Training rows that were set aside to choose on; only where they were.
    valid_rmse_
        For ``"regression"``: root mean squared error on the validation rows, or of the cross-validation without them.
    coef_, intercept_, mean_, cuts_
        (K, D), (K,), (D,) and, for ``"ordinal"``, (C - 1,) float32.
    """

    target_types: ClassVar[tuple[str, ...]] = KINDS
    search_space: ClassVar[Mapping[str, Range]] = {
        "shrinkage": FloatRange(low=1e-4, high=0.9, log=True),
        "mean_shrinkage": FloatRange(low=0.1, high=100.0, log=True),
    }

    coef_: Float32
    intercept_: Float32
    mean_: Float32
    cuts_: Float32
    shrinkage_: float
    mean_shrinkage_: float
    normalize_: bool
    alpha_: float
    n_epochs_: int
    temperature_: float
    valid_log_loss_: float | None
    valid_rmse_: float

    def __init__(
        self,
        *,
        shrinkage: float | None = None,
        shrinkages: Sequence[float] = SHRINKAGES,
        mean_shrinkage: float | None = None,
        mean_shrinkages: Sequence[float] = MEAN_SHRINKAGES,
        normalize: bool | str = "auto",
        alpha: float | None = None,
        alphas: Sequence[float] | None = None,
        class_weight: str | None = None,
        refine: bool | str = "auto",
        max_epochs: int = MAX_EPOCHS,
        seed: int = 0,
        target_type: str = "class",
    ) -> None:
        self.shrinkage = shrinkage
        self.shrinkages = shrinkages
        self.mean_shrinkage = mean_shrinkage
        self.mean_shrinkages = mean_shrinkages
        self.normalize = normalize
        self.alpha = alpha
        self.alphas = alphas
        self.class_weight = class_weight
        self.refine = refine
        self.max_epochs = max_epochs
        self.seed = seed
        self.target_type = target_type

    def _fit(self, train: LabelledExamples, valid: LabelledExamples | None) -> None:
        self._check()
        if self.refine is True and valid is None:
            raise InputError(
                "refine is True, and there are no validation rows to stop on (of known classes and other proteins). "
                "Give some, or leave it at 'auto'."
            )
        weights = None
        if self.class_weight is not None and self.target_type == "class":
            weights = balanced_weights(train.targets.require_codes(), len(train.targets.classes))
        if (
            self.target_type == "class"
            and valid is None
            and self.shrinkage is None
            and self._fit_with_rows_aside(train)
        ):
            return
        choices: tuple[bool, ...] = (self.normalize is True,)
        if self.normalize == "auto" and valid is not None and _lengths_vary(train, seed=self.seed):
            choices = False, True
        if valid is not None and len(choices) > 1 and len(train) > _TRIED_ROWS:
            choices = (self._is_better_even(train, valid, weights),)
        tried = [self._tried(train, valid, even, weights) for even in choices]
        self._keep(min(tried, key=lambda one: one.found.loss))

    def _fit_with_rows_aside(self, train: LabelledExamples) -> bool:
        """Choose on training rows that are set aside, then learn from all of them; not where those are too few."""
        learn, held = hold_out(train.features.group_keys, train.targets, seed=self.seed)
        if len(held) < _LEAST_HELD:
            return False
        aside = train.subset(held)
        first = LinearHead(**self.get_params()).fit_labelled(train.subset(learn), aside)
        chosen = {
            "shrinkage": first._settings["shrinkage"],
            "mean_shrinkage": first._settings["mean_shrinkage"],
            "normalize": first._settings["normalize"],
        }
        n_epochs = first._settings["n_epochs"]
        refinement = {"refine": n_epochs > 0, "max_epochs": max(n_epochs, 1)}
        # As many epochs as were best; where to stop cannot be seen on rows that are learned from.
        last = LinearHead(**{**self.get_params(), **chosen, **refinement})
        last.fit_labelled(train, aside if n_epochs else None)
        self.mean_ = last.mean_
        told = {name: first._settings[name] for name in ("temperature", "valid_log_loss")}
        settings = {**last._settings, **told, "held_out": len(held)}
        self._adopt(LinearFit(coef=last.coef_, intercept=last.intercept_, cuts=last.cuts_, settings=settings))
        return True

    def fit_statistics(self, statistics: Statistics, valid: LabelledExamples | None = None) -> Self:
        """Learn from statistics that were summed before, perhaps elsewhere and merged.

        With ``normalize=True`` they are those of `heads.vectors.scaling.L2NormalisedFeatures`.

        Raises
        ------
        InputError
            For a shrinkage outside 0 to 1, or levels without validation rows.
        """
        self._check()
        self.classes_, self.n_features_in_ = statistics.classes, len(statistics.origin)
        even = self.normalize is True
        self._keep(_Tried(even, statistics, self._found(statistics, None, _evened(valid, even), None)))
        return self

    def _is_better_even(
        self, train: LabelledExamples, valid: LabelledExamples, class_weights: NDArray[np.float64] | None
    ) -> bool:
        """Whether vectors of one length are better, found out on a sample of the training rows with few settings."""
        if self.target_type == "class":
            drawn = np.sort(np.random.default_rng(self.seed).permutation(len(self.classes_))[:_TRIED_CLASSES])
            train, valid = _of_classes(train, drawn), _of_classes(valid, drawn)
            class_weights = None if class_weights is None else class_weights[drawn]
        sample = train.random_subset(_TRIED_ROWS, seed=self.seed)
        known = valid.of_known_classes(sample)
        if known is None:
            return False
        quick = LinearHead(**{**self.get_params(), "shrinkages": self._shrinkages()[::3], "mean_shrinkages": (1.0,)})
        quick.classes_ = sample.targets.classes
        tried = [quick._tried(sample, known, even, class_weights) for even in (False, True)]
        return min(tried, key=lambda one: one.found.loss).even

    def _tried(
        self,
        train: LabelledExamples,
        valid: LabelledExamples | None,
        even: bool,
        class_weights: NDArray[np.float64] | None,
    ) -> _Tried:
        train, valid = _evened(train, even), _evened(valid, even)
        statistics = target_statistics(train.features, train.targets, class_weights)
        return _Tried(even, statistics, self._found(statistics, train, valid, class_weights))

    def _keep(self, tried: _Tried) -> None:
        statistics, fit = tried.statistics, tried.found.refined()
        self.mean_ = (statistics.origin + statistics.mean()).astype(np.float32)
        self._adopt(replace(fit, settings=fit.settings | {"normalize": tried.even}))

    def _found(
        self,
        statistics: Statistics,
        train: LabelledExamples | None,
        valid: LabelledExamples | None,
        class_weights: NDArray[np.float64] | None,
    ) -> FitResult:
        alphas, descent = self._alphas(), Descent(asked=self.refine, max_epochs=self.max_epochs)
        if self.target_type == "class":
            return fit_class(
                statistics, train, valid, self._shrinkages(), self._mean_shrinkages(),
                class_weights=class_weights, descent=descent, seed=self.seed,
            )  # fmt: skip
        if self.target_type == "regression":
            return fit_regression(statistics, valid, alphas, seed=self.seed)
        if self.target_type == "ordinal":
            return fit_ordinal(statistics, train, valid, alphas, seed=self.seed)
        balanced = self.class_weight is not None
        return fit_multilabel(statistics, train, valid, alphas, balanced=balanced, descent=descent, seed=self.seed)

    def _check(self) -> None:
        if self.class_weight not in (None, "balanced"):
            raise InputError(f"class_weight is {self.class_weight!r}; expected None or 'balanced'.")
        if self.class_weight is not None and self.target_type not in ("class", "multilabel"):
            raise InputError(
                f"class_weight is {self.class_weight!r}, and target_type {self.target_type!r} has no classes to weigh. "
                "Leave it out."
            )
        if self.normalize not in (True, False, "auto"):
            raise InputError(f"normalize is {self.normalize!r}; expected True, False or 'auto'.")
        if self.refine not in (True, False, "auto"):
            raise InputError(f"refine is {self.refine!r}; expected True, False or 'auto'.")
        if self.max_epochs < 1:
            raise InputError(f"max_epochs is {self.max_epochs!r}; expected a whole number of at least 1.")
        self._shrinkages()
        self._mean_shrinkages()
        self._alphas()

    def _shrinkages(self) -> tuple[float, ...]:
        candidates = as_tuple(self.shrinkages) if self.shrinkage is None else (self.shrinkage,)
        if not candidates or not all(isinstance(s, int | float) and 0 <= s <= 1 for s in candidates):
            raise InputError(f"shrinkage is {candidates}; expected numbers from 0 to 1.")
        return candidates

    def _mean_shrinkages(self) -> tuple[float, ...]:
        candidates = as_tuple(self.mean_shrinkages) if self.mean_shrinkage is None else (self.mean_shrinkage,)
        if not candidates or not all(isinstance(m, int | float) and 0 <= m < np.inf for m in candidates):
            raise InputError(f"mean_shrinkage is {candidates}; expected numbers of at least 0.")
        return candidates

    def _alphas(self) -> tuple[float, ...] | None:
        if self.alpha is None and self.alphas is None:
            return None
        candidates = as_tuple(self.alphas) if self.alpha is None else (self.alpha,)
        if not candidates or not all(isinstance(a, int | float) and 0 <= a < np.inf for a in candidates):
            raise InputError(f"alpha is {candidates}; expected numbers of at least 0.")
        return candidates

    def _adopt(self, fit: LinearFit) -> None:
        self.coef_, self.intercept_, self.cuts_ = fit.coef, fit.intercept, fit.cuts
        self._settings = dict(fit.settings)
        for name, value in fit.settings.items():
            setattr(self, f"{name}_", value)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"coef": self.coef_, "intercept": self.intercept_, "mean": self.mean_, "cuts": self.cuts_}

    def settings(self) -> dict[str, Any]:
        """What was chosen, and how well it does on validation."""
        return self._settings

    def _restore(
        self, arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any], texts: Mapping[str, str]
    ) -> None:
        self.mean_, self.n_features_in_ = arrays["mean"], len(arrays["mean"])
        cuts = arrays.get("cuts", np.zeros(0, np.float32))
        # Heads of the first release say nothing of lengths: they took vectors as they are.
        known = {"normalize": False, **settings}
        self._adopt(LinearFit(coef=arrays["coef"], intercept=arrays["intercept"], cuts=cuts, settings=known))

    def _outputs(self, X: Features) -> Iterator[Float32]:
        features = L2NormalisedFeatures(X) if self.normalize_ else X
        for _, block in checked_blocks(features, n_features=self.n_features_in_):
            for start in range(0, len(block), _LOGIT_ROWS):
                scores = np.matmul(block[start : start + _LOGIT_ROWS] - self.mean_, self.coef_.T, dtype=np.float32)
                scores += self.intercept_
                yield self._shares(scores)

    def _shares(self, scores: Float32) -> Float32:
        """Outputs from the linear map; `scores` is used up."""
        if self.target_type == "class":
            scores /= np.float32(self.temperature_)
            return softmax(scores)
        if self.target_type == "multilabel":
            return sigmoid(scores)
        if self.target_type == "ordinal":
            cuts = LevelCuts(slope=1.0, cuts=self.cuts_.astype(np.float64), log_loss=0.0)
            return cuts.apply(scores[:, 0])
        return scores


class _Tried(NamedTuple):
    """A fit of vectors as they are or of one length."""

    even: bool
    statistics: Statistics
    found: FitResult


@overload
def _evened(rows: LabelledExamples, even: bool) -> LabelledExamples: ...
@overload
def _evened(rows: None, even: bool) -> None: ...
@overload
def _evened(rows: LabelledExamples | None, even: bool) -> LabelledExamples | None: ...
def _evened(rows: LabelledExamples | None, even: bool) -> LabelledExamples | None:
    return replace(rows, features=L2NormalisedFeatures(rows.features)) if even and rows is not None else rows


def _lengths_vary(train: LabelledExamples, *, seed: int) -> bool:
    blocks = train.random_subset(_LENGTH_ROWS, seed=seed).features.blocks()
    lengths = np.concatenate([np.linalg.norm(block, axis=1) for _, block in blocks])
    return bool(lengths.std() > _LEAST_VARIATION * lengths.mean())


def _of_classes(rows: LabelledExamples, codes: NDArray[np.int64]) -> LabelledExamples:
    """The rows of some classes, ascending, which are then all the classes there are."""
    own = rows.targets.require_codes()
    some = rows.subset(np.flatnonzero(np.isin(own, codes)))
    found = np.searchsorted(codes, some.targets.require_codes())
    return replace(some, targets=replace(some.targets, classes=some.targets.classes[codes], codes=found))
