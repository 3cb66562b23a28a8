"""LightGBM: boosted trees grown with settings that do not diverge, stopped by validation, kept as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from heads.features.base import Float32

STEADY = {"max_delta_step": 1.0, "lambda_l2": 0.1}
"""Without a bound on its steps, LightGBM's softmax diverges without a word at some 100 classes."""

LEAST_GAIN = 1e-4
"""A smaller gain on validation, in nats or of standardised numbers, is none to go on for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Rows for trees: (n, K) features, (n,) targets, and for ranks the sizes of the groups."""

    X: Float32
    y: NDArray[Any]
    groups: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None


def train_booster(
    train: Part, stop: Part, params: Mapping[str, Any], *, max_rounds: int, patience: int
) -> tuple[lightgbm.Booster, int]:
    """Boosted trees up to the round that was best on `stop`, and the number of that round.

    Parameters
    ----------
    train, stop
        Rows to learn from and to stop by.
    params
        LightGBM's own, the objective among them.
    max_rounds
        Most rounds.
    patience
        Rounds without a gain after which it stops.
    """
    fixed = {"verbosity": -1, "deterministic": True, "force_col_wise": True, "first_metric_only": True}
    learn = lightgbm.Dataset(train.X, train.y, group=train.groups, weight=train.weights, free_raw_data=True)
    watch = lightgbm.Dataset(stop.X, stop.y, group=stop.groups, weight=stop.weights, reference=learn)
    booster = lightgbm.train(
        {**fixed, **params},
        learn,
        num_boost_round=max_rounds,
        valid_sets=[watch],
        callbacks=[lightgbm.early_stopping(patience, verbose=False, min_delta=LEAST_GAIN)],
    )
    best = booster.best_iteration or booster.current_iteration()
    return read(booster.model_to_string(num_iteration=best)), best


def read(text: str) -> lightgbm.Booster:
    """The trees of a text that `write` gave."""
    return lightgbm.Booster(model_str=text)


def write(booster: lightgbm.Booster) -> str:
    """Trees as LightGBM's own text."""
    text: str = booster.model_to_string()
    return text


def scores(booster: lightgbm.Booster, X: Float32) -> NDArray[np.float64]:
    """Raw scores, (n,), or (n, C) of a softmax."""
    return np.asarray(booster.predict(X, raw_score=True), np.float64)
