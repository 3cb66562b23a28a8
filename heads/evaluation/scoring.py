"""Score predictions of every row of a split, in the order of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import Head
from heads.calibration.risk_control import ValidationPredictions
from heads.evaluation.metrics import N_RESAMPLES, BootstrapEstimate, ClassOutcomes, NumberOutcomes, Outcomes, measure
from heads.evaluation.metrics.bootstrap import Float64, Part, Sums
from heads.evaluation.outcomes import add_missing, predict_outcomes, subset
from heads.evaluation.resources import Cost, measure_cost
from heads.features.base import Features
from heads.features.sources import Source, SplitData
from heads.tasks.data import TaskData
from heads.tasks.keys import isin_keys
from heads.tasks.targets import encode

MAIN_METRICS: Mapping[str, str] = {
    "class": "accuracy",
    "multilabel": "micro_f1",
    "regression": "spearman",
    "ordinal": "quadratic_kappa",
}
"""The metric by which heads are compared where the task does not name one."""

LOWER_IS_BETTER = frozenset({"error_rate", "log_loss", "brier", "ece", "rmse", "mae", "mae_levels"})

SPLIT_WARNINGS: Mapping[str, str] = {
    "train": "Heads were trained on these rows: the metrics are too optimistic.",
    "valid": "Hyper-parameters were selected and probabilities calibrated on these rows: the metrics are too "
    "optimistic.",
}
"""Warnings for metrics on splits that are not held out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Predictions of the rows of a split, and their metrics.

    Attributes
    ----------
    outcomes
        In the order of the rows; for residues those with a label.
    metrics
        By name, with their resamples.
    groups
        (n,) int64 resampling group of each outcome; None where each is resampled by itself.
    has_vector
        (n,) bool, False for outcomes of rows without a vector.
    n_without_vector
        Number of rows without a vector; they count as errors.
    cost
        Of the predictions.
    """

    outcomes: Outcomes
    metrics: Mapping[str, BootstrapEstimate]
    groups: NDArray[np.int64] | None
    has_vector: NDArray[np.bool_]
    n_without_vector: int
    cost: Cost


def score_head(
    head: Head, source: Source, data: TaskData, split: str, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Scores:
    """Predict a split with a fitted head, and score it.

    Parameters
    ----------
    head
        Fitted on rows of `source`.
    source
        Where features are read.
    data, split
        The task, and ``train``, ``valid`` or ``test``.
    n_resamples, seed
        Of the bootstrap. The same seed resamples the same rows for every head.
    """
    rows = data.rows(split)
    present = source.available(data, rows)
    outcomes: Outcomes | None = None
    with measure_cost() as cost:
        if present.any():
            examples = source.examples(data, rows[present], what=f"{split} row")
            outcomes = predict_outcomes(head, examples.features, examples.y)
    if not present.all():
        fallback = 0.0
        if data.target_type == "regression":
            fallback = float(np.mean(data.targets(data.rows("train"))))
        outcomes = add_missing(outcomes, head, data.targets(rows[~present]), fallback=fallback)
        # Rows without a vector come last; put all into the order of the rows.
        row = np.repeat(np.arange(len(rows)), outcomes_per_row(data, rows))
        is_present = present[row]
        outcomes = subset(outcomes, np.argsort(np.concatenate([row[is_present], row[~is_present]]), kind="stable"))
    if outcomes is None:
        raise InputError(f"No {split} row of {data.source} has a vector in {source.id}.")
    return score_outcomes(data, rows, outcomes, cost, has_vector=present, n_resamples=n_resamples, seed=seed)


def score_outcomes(
    data: TaskData,
    rows: NDArray[np.int64],
    outcomes: Outcomes,
    cost: Cost,
    *,
    has_vector: NDArray[np.bool_] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Score outcomes, whatever predicted them.

    Parameters
    ----------
    data, rows
        The task, and (n,) int64 rows of it.
    outcomes
        In the order of the rows; for residues one for each, with or without a label.
    cost
        Of the predictions.
    has_vector
        (n,) bool, whether each row could be predicted; None for all.
    n_resamples, seed
        Of the bootstrap.
    """
    has_vector = np.ones(len(rows), np.bool_) if has_vector is None else has_vector
    n_without_vector = int((~has_vector).sum())
    groups = resampling_groups(data, rows)
    parts: list[Part] = []
    if data.input == "residue":
        lengths = outcomes_per_row(data, rows)
        if len(outcomes) != int(lengths.sum()):
            raise InputError(
                f"The vectors of {data.source} are shorter than the proteins: the space truncates long ones. Build one "
                "that takes them in windows (`embedstore build --residues --long window`), and fit on that."
            )
        labelled = np.flatnonzero(np.asarray(data.targets(rows)) != "")
        proteins = np.repeat(_numbered(data.keys[rows]), lengths)[labelled]
        groups = None if groups is None else _numbered(groups[labelled])
        outcomes = subset(outcomes, labelled)
        has_vector = np.repeat(has_vector, lengths)[labelled]
        if isinstance(outcomes, ClassOutcomes):
            parts.append(_accuracy_per_protein(outcomes, _numbered(proteins)))
    if not len(outcomes):
        raise InputError(f"No row of {data.source} in this split has a label.")
    metrics = measure([*outcomes.parts(), *parts], len(outcomes), groups=groups, n_resamples=n_resamples, seed=seed)
    if data.input == "residue" and isinstance(outcomes, ClassOutcomes) and outcomes.n_known in (3, 8):
        metrics[f"q{outcomes.n_known}"] = metrics["accuracy"]
    return Scores(
        outcomes=outcomes,
        metrics=metrics,
        groups=groups,
        has_vector=has_vector,
        n_without_vector=n_without_vector,
        cost=cost,
    )


def resampling_groups(data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """(n,) resampling group of each outcome, or None where each is resampled by itself.

    The group of the task (`heads.tasks.TaskData.groups`); for rows without one, the protein or the pair.
    """
    unit = _numbered(data.keys[rows])
    if data.groups is not None:
        group = data.groups[rows]
        unit = _numbered(np.where(group >= 0, group, int(data.groups.max()) + 1 + unit))
    if data.input != "residue" and len(np.unique(unit)) == len(rows):
        return None
    return np.repeat(unit, outcomes_per_row(data, rows))


def resampling_unit(data: TaskData, rows: NDArray[np.int64]) -> str:
    """What the bootstrap resamples, in words."""
    if data.groups is None:
        return "proteins" if data.input == "residue" else "rows"
    groups = resampling_groups(data, rows)
    return f"{len(rows) if groups is None else len(np.unique(groups)):,} groups of equal {data.group_column!r}"


def outcomes_per_row(data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) number of outcomes of each row: one, or one a residue."""
    if data.input != "residue":
        return np.ones(len(rows), np.int64)
    return np.fromiter((len(str(data.labels[row])) for row in rows.tolist()), np.int64, len(rows))


def validation_rows(source: Source, data: TaskData) -> SplitData | None:
    """Validation rows of a source, or None; for residues without the proteins that are in training, as in `fit`."""
    rows = data.splits["valid"]
    if data.input == "residue":
        rows = rows[~isin_keys(data.digests[rows], data.digests[data.splits["train"]])]
    return source.examples(data, rows, what="valid row") if len(rows) else None


def validation_predictions(head: Head, data: TaskData, valid: SplitData | None) -> ValidationPredictions | None:
    """Predictions of a fitted head on the validation rows whose keys are not in training; None where there are none."""
    if valid is None:
        return None
    is_new = ~isin_keys(data.keys[valid.rows], data.keys[data.splits["train"]])
    offsets = valid.features.offsets
    lengths = np.ones(len(valid.rows), np.int64) if offsets is None else np.diff(offsets)
    if not is_new.any():
        return None
    features, y = valid.features, valid.y
    if not is_new.all():
        # Residues of training proteins are left out by `validation_rows` already.
        indices = np.flatnonzero(np.repeat(is_new, lengths))
        features = features.subset(indices)
        y = [y[index] for index in indices.tolist()] if isinstance(y, list) else y[indices]
    proteins = np.repeat(_numbered(data.keys[valid.rows[is_new]]), lengths[is_new])
    if head.target_type == "multilabel":
        return _label_answers(head, features, y, proteins)
    outcomes = predict_outcomes(head, features, y)
    if isinstance(outcomes, NumberOutcomes):
        return ValidationPredictions(residuals=np.abs(outcomes.predicted - outcomes.true).astype(np.float32))
    assert isinstance(outcomes, ClassOutcomes)  # noqa: S101 - neither labels nor numbers
    # A residue without a label is not an example; a class that is not in training is a wrong answer.
    answered = outcomes.predicted >= 0
    if head.target_type == "class":
        answered &= np.asarray(y) != ""
    return ValidationPredictions(
        confidences=outcomes.confidence[answered], right=outcomes.right[answered], clusters=proteins[answered]
    )


def main_metric(named: str | None, data: TaskData, metrics: Mapping[str, Any]) -> str:
    """The metric to compare by: the task's own if it was measured, else the usual one of its target type."""
    return named if named is not None and named in metrics else MAIN_METRICS[data.target_type]


def _label_answers(head: Head, features: Features, y: Any, proteins: NDArray[np.int64]) -> ValidationPredictions:
    """Each predicted label as an answer of its own."""
    members = encode(y, target_type="multilabel", n_rows=len(proteins), classes=head.classes_).require_members()
    parts, start = [ValidationPredictions()], 0
    for probabilities in head.outputs(features):
        stop = start + len(probabilities)
        row, label = np.nonzero(head.decide(probabilities))
        parts.append(
            ValidationPredictions(
                confidences=probabilities[row, label],
                right=members[start:stop].toarray()[row, label].astype(np.bool_),
                clusters=proteins[start:stop][row],
            )
        )
        start = stop
    names = ("confidences", "right", "clusters")
    return ValidationPredictions(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _numbered(values: NDArray[Any]) -> NDArray[np.int64]:
    """A number from 0 for each distinct row."""
    return np.unique(values, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def _accuracy_per_protein(outcomes: ClassOutcomes, proteins: NDArray[np.int64]) -> Sums:
    """Mean over proteins of the share of correct residues."""
    share = 1 / np.bincount(proteins)[proteins]

    def statistic(sums: Float64) -> dict[str, Float64]:
        return {"accuracy_per_protein": sums[:, 0] / sums[:, 1]}

    return Sums(columns=np.stack([outcomes.right * share, share], axis=1), statistic=statistic)
