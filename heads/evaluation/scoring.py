"""One protocol for whatever predicts: all rows of a split, none left out, each outcome in the order of the rows."""

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
from heads.evaluation.outcomes import outcomes_of, take, with_missing
from heads.evaluation.resources import Cost, measure_cost
from heads.features.base import Features
from heads.features.load import SplitData
from heads.features.sources import Source
from heads.tasks.data import TaskData
from heads.tasks.leakage import isin_keys
from heads.tasks.targets import encode

MAIN_METRICS: Mapping[str, str] = {
    "class": "accuracy",
    "multilabel": "micro_f1",
    "regression": "spearman",
    "ordinal": "quadratic_kappa",
}
"""What to compare heads by where the task does not say it."""

LOWER_IS_BETTER = frozenset({"error_rate", "log_loss", "brier", "ece", "rmse", "mae", "mae_levels"})
"""Metrics of which less is better."""

SEEN: Mapping[str, str] = {
    "train": "Heads were trained on these rows: the figures flatter.",
    "valid": "Heads chose their settings on these rows, and were calibrated on them: the figures flatter.",
}
"""What has to be said of figures on a split that is not held out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """What something predicted of the rows of a split, measured.

    Attributes
    ----------
    outcomes
        In the order of the rows; of residues those that have a label.
    measured
        Every metric by name, with its resamples.
    groups
        (n,) int64 rows that are drawn together: those of one protein, or of one group of the task; None where every row
        is drawn by itself.
    with_vector
        (n,) bool: outcomes of rows for which something could be predicted.
    n_without_vector
        Rows of the split for which nothing could be: wrong.
    cost
        Of the predictions.
    """

    outcomes: Outcomes
    measured: Mapping[str, BootstrapEstimate]
    groups: NDArray[np.int64] | None
    with_vector: NDArray[np.bool_]
    n_without_vector: int
    cost: Cost


def score_head(
    head: Head, source: Source, data: TaskData, split: str, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Scores:
    """Let a fitted head predict a split, and measure it.

    Parameters
    ----------
    head
        Fitted on rows of `source`.
    source
        Where the rows are read.
    data
        The task.
    split
        ``train``, ``valid`` or ``test``.
    n_resamples, seed
        Of the bootstrap. With equal ones the resamples of two heads are of the same rows.
    """
    rows = data.rows(split)
    present = source.present(data, rows)
    found: Outcomes | None = None
    with measure_cost() as cost:
        if present.any():
            there = source.rows(data, rows[present], what=f"{split} row")
            found = outcomes_of(head, there.features, there.y)
    if not present.all():
        missing = data.targets(rows[~present])
        found = with_missing(found, head, missing, fallback=_fallback(data))
        lengths = row_lengths(data, rows)
        found = take(found, _back(lengths, present))
    if found is None:
        raise InputError(f"No {split} row of {data.source} has a vector in {source.id}.")
    return score_outcomes(data, rows, found, cost, with_vector=present, n_resamples=n_resamples, seed=seed)


def score_outcomes(
    data: TaskData,
    rows: NDArray[np.int64],
    found: Outcomes,
    cost: Cost,
    *,
    with_vector: NDArray[np.bool_] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Measure outcomes, however they came about.

    Parameters
    ----------
    data, rows
        The task, and (n,) int64 rows of it.
    found
        Their outcomes, in that order; for residues one a residue, those without a label among them.
    cost
        Of the predictions.
    with_vector
        (n,) bool: rows for which there was a prediction; None for all.
    n_resamples, seed
        Of the bootstrap.
    """
    with_vector = np.ones(len(rows), np.bool_) if with_vector is None else with_vector
    n_without_vector = int((~with_vector).sum())
    groups = groups_of(data, rows)
    parts: list[Part] = []
    if data.input == "residue":
        labelled = np.flatnonzero(np.asarray(data.targets(rows)) != "")
        proteins = np.repeat(_numbered(data.keys[rows]), row_lengths(data, rows))[labelled]
        if groups is not None:
            groups = _numbered(groups[labelled])
        if len(found) != int(row_lengths(data, rows).sum()):
            raise InputError(
                f"The vectors of {data.source} stop before the proteins do: the space cuts long ones off. Build one "
                "that takes them in windows (`embedstore build --residues --long window`), and fit on that."
            )
        found = take(found, labelled)
        with_vector = np.repeat(with_vector, row_lengths(data, rows))[labelled]
        if isinstance(found, ClassOutcomes):
            parts.append(_per_protein(found, _numbered(proteins)))
    if not len(found):
        raise InputError(f"No row of {data.source} in this split has a label.")
    figures = measure([*found.parts(), *parts], len(found), groups=groups, n_resamples=n_resamples, seed=seed)
    if data.input == "residue" and isinstance(found, ClassOutcomes) and found.n_known in (3, 8):
        figures[f"q{found.n_known}"] = figures["accuracy"]
    return Scores(
        outcomes=found,
        measured=figures,
        groups=groups,
        with_vector=with_vector,
        n_without_vector=n_without_vector,
        cost=cost,
    )


def groups_of(data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """(n,) which outcomes are drawn together, or None where each is drawn by itself.

    Those of one group of the task (`heads.tasks.TaskData.groups`), and where a row has none, those of one protein or
    pair.
    """
    unit = _numbered(data.keys[rows])
    if data.groups is not None:
        named = data.groups[rows]
        unit = _numbered(np.where(named >= 0, named, int(data.groups.max()) + 1 + unit))
    if data.input != "residue" and len(np.unique(unit)) == len(rows):
        return None
    return np.repeat(unit, row_lengths(data, rows))


def resampling_unit(data: TaskData, rows: NDArray[np.int64]) -> str:
    """What intervals on some rows draw, in words."""
    if data.groups is None:
        return "proteins" if data.input == "residue" else "rows"
    units = groups_of(data, rows)
    return f"{len(rows) if units is None else len(np.unique(units)):,} groups of equal {data.group_column!r}"


def row_lengths(data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) outcomes that each row has: one, or one a residue."""
    if data.input != "residue":
        return np.ones(len(rows), np.int64)
    return np.fromiter((len(str(data.labels[row])) for row in rows.tolist()), np.int64, len(rows))


def validation_rows(source: Source, data: TaskData) -> SplitData | None:
    """Validation rows of a source, or None; of residues without proteins that were trained on, as in fitting."""
    rows = data.splits["valid"]
    if data.input == "residue":
        rows = rows[~isin_keys(data.digests[rows], data.digests[data.splits["train"]])]
    return source.rows(data, rows, what="valid row") if len(rows) else None


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
        features = features.select(indices)
        y = [y[index] for index in indices.tolist()] if isinstance(y, list) else y[indices]
    proteins = np.repeat(_numbered(data.keys[valid.rows[is_new]]), lengths[is_new])
    if head.target_type == "multilabel":
        return _label_answers(head, features, y, proteins)
    outcomes = outcomes_of(head, features, y)
    if isinstance(outcomes, NumberOutcomes):
        return ValidationPredictions(residuals=np.abs(outcomes.predicted - outcomes.true).astype(np.float32))
    assert isinstance(outcomes, ClassOutcomes)  # noqa: S101 - what is neither labels nor numbers
    # A residue without a label is not an example; a class that is not in training is a wrong answer.
    answered = outcomes.predicted >= 0
    if head.target_type == "class":
        answered &= np.asarray(y) != ""
    return ValidationPredictions(
        confidences=outcomes.confidence[answered], right=outcomes.right[answered], clusters=proteins[answered]
    )


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


def main_metric(named: str | None, data: TaskData, figures: Mapping[str, Any]) -> str:
    """The metric to compare by: the task's own if it was measured, else the usual one of its kind."""
    return named if named is not None and named in figures else MAIN_METRICS[data.target_type]


def _numbered(values: NDArray[Any]) -> NDArray[np.int64]:
    """A number from 0 for each distinct row."""
    return np.unique(values, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def _fallback(data: TaskData) -> float:
    """What is taken to be predicted of a row without a vector: the mean of the training rows."""
    return float(np.mean(data.targets(data.rows("train")))) if data.target_type == "regression" else 0.0


def _back(lengths: NDArray[np.int64], present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Order that puts outcomes of the rows with a vector, then of the others, into the order of the rows."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    there = np.repeat(present, lengths)
    return np.argsort(np.concatenate([owner[there], owner[~there]]), kind="stable")


def _per_protein(found: ClassOutcomes, groups: NDArray[np.int64]) -> Sums:
    """Mean over proteins of the share of right residues."""
    share = 1 / np.bincount(groups)[groups]

    def statistic(sums: Float64) -> dict[str, Float64]:
        return {"accuracy_per_protein": sums[:, 0] / sums[:, 1]}

    return Sums(columns=np.stack([found.right * share, share], axis=1), statistic=statistic)
