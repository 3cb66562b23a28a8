"""Searches the settings that a head declares, on validation rows alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embedstore.errors import InputError, MissingPackageError
from heads.base import Head, LabelledExamples
from heads.catalog.param_space import FloatRange, IntRange, Range
from heads.tasks.splitting import hold_out
from heads.vectors.losses import head_loss

if TYPE_CHECKING:
    from optuna import Trial

_WARM_TRIALS = 5
_WARM_EPOCHS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningResult:
    """What a search tried.

    Attributes
    ----------
    best
        Settings of least validation loss; none where the head's own defaults were the best.
    trials
        Of each trial its settings, its validation loss (None where it was stopped early or could not be fitted), its
        state (``"done"``, ``"stopped"``, ``"failed"``) and the seconds that it took. The first has the defaults.
    metric
        What the loss is.
    seed
        Of the search.
    held_out
        Training rows that were set aside to choose on; 0 with a validation split.
    """

    best: dict[str, Any]
    trials: list[dict[str, Any]]
    metric: str
    seed: int
    held_out: int

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def tune(
    make: Callable[[Mapping[str, Any]], Head],
    train: LabelledExamples,
    valid: LabelledExamples | None,
    *,
    n_trials: int,
    seed: int,
    fixed: Mapping[str, Any] | None = None,
) -> TuningResult:
    """Try settings of a head and find those of least loss on validation rows.

    The first trial has the defaults, so that the best is never worse than they are. The others are drawn by a
    tree-structured Parzen estimator (Bergstra et al. 2011); a head that learns in epochs is stopped where it stands
    worse than the median of the earlier trials at that epoch.

    Parameters
    ----------
    make
        Makes an unfitted head from settings.
    train, valid
        Rows to learn from and to choose on. Without the latter a tenth of the former, drawn by key, is set aside.
    n_trials
        How many settings to try, the defaults among them.
    seed
        Of the estimator.
    fixed
        Settings that the caller chose; they are not searched.

    Raises
    ------
    MissingPackageError
        If Optuna is not installed.
    InputError
        If the head declares nothing to search, or nothing could be fitted.
    """
    if n_trials < 1:
        raise InputError(f"search is {n_trials}; expected the number of settings to try, 1 or more (--search).")
    optuna = _optuna()
    space = {name: what for name, what in make({}).search_space.items() if name not in (fixed or {})}
    if not space:
        raise InputError(
            f"{type(make({})).__name__} declares nothing to search{' besides what was given' if fixed else ''}. "
            "Leave the search out (search=, --search)."
        )
    held_out = 0
    if valid is None:
        learning, aside = hold_out(train.features.group_keys, train.targets, seed=seed)
        if not len(aside):
            raise InputError(f"{len(train)} training rows are too few to set any aside for a search. Leave it out.")
        train, valid, held_out = train.subset(learning), train.subset(aside), len(aside)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_WARM_TRIALS)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=_WARM_TRIALS, n_warmup_steps=_WARM_EPOCHS)
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    rows = [_try(make, {}, train, valid, None)]
    for _ in range(n_trials - 1):
        trial = study.ask()
        params = {name: _suggest(trial, name, what) for name, what in space.items()}
        row = _try(make, params, train, valid, trial)
        rows.append(row)
        states = {"done": optuna.trial.TrialState.COMPLETE, "stopped": optuna.trial.TrialState.PRUNED}
        study.tell(trial, row["valid_loss"], state=states.get(row["state"], optuna.trial.TrialState.FAIL))
    done = [row for row in rows if row["valid_loss"] is not None]
    if not done:
        raise InputError(f"None of the {n_trials} settings could be fitted; the first: {rows[0]['reason']}")
    best = min(done, key=lambda row: row["valid_loss"])
    metric = "rmse" if train.targets.target_type == "regression" else "log_loss"
    return TuningResult(best=best["params"], trials=rows, metric=metric, seed=seed, held_out=held_out)


class _StoppedError(Exception):
    """A trial stands worse than the median."""


def _try(
    make: Callable[[Mapping[str, Any]], Head],
    params: dict[str, Any],
    train: LabelledExamples,
    valid: LabelledExamples,
    trial: Trial | None,
) -> dict[str, Any]:
    """Fit a head with these settings: what came of it, for the table."""
    head = make(params)

    def report(epoch: int, loss: float) -> None:
        if trial is not None:
            trial.report(loss, epoch)
            if trial.should_prune():
                raise _StoppedError

    head.on_epoch = report
    started = time.perf_counter()
    loss, state, reason = None, "done", None
    try:
        loss = head_loss(head.fit_labelled(train, valid), valid)
        if not np.isfinite(loss):
            loss, state, reason = None, "failed", f"the validation loss is {loss}"
    except _StoppedError:
        state = "stopped"
    except InputError as error:
        state, reason = "failed", str(error)
    took = time.perf_counter() - started
    return {"params": params, "valid_loss": loss, "state": state, "seconds": took, "reason": reason}


def _suggest(trial: Trial, name: str, what: Range) -> Any:
    if isinstance(what, FloatRange):
        return trial.suggest_float(name, what.low, what.high, log=what.log)
    if isinstance(what, IntRange):
        return trial.suggest_int(name, what.low, what.high, log=what.log)
    # Optuna keeps numbers and texts; the widths of layers are neither.
    return _as_list(what.options[trial.suggest_categorical(name, list(range(len(what.options))))])


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingPackageError(
            "A search needs Optuna, which is not installed: `pip install 'embedstore[search]'`."
        ) from error
    # It announces every trial on stderr.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
