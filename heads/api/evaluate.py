"""Evaluate a fitted head on a split of its task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.catalog import suggest_arguments
from embedstore.errors import InputError, MissingFileError, SpaceMismatchError
from embedstore.exchange.atomic_files import finite
from embedstore.store.store import Store
from heads.api.load import FittedHead, FittedLike, as_fitted
from heads.catalog import HEADS
from heads.evaluation.guarantees import GuaranteeCheck, check_guarantees
from heads.evaluation.leakage import (
    SAMPLE_ROWS,
    IdentityBin,
    LeakageReport,
    Relatives,
    by_identity,
    leakage_report,
    sample_relatives,
)
from heads.evaluation.learning_curve import CurvePoint, learning_curve
from heads.evaluation.metrics import N_RESAMPLES, Bin, ClassOutcomes, Interval, LabelOutcomes, Outcomes, reliability
from heads.evaluation.metrics.reliability import reliability_of
from heads.evaluation.pair_classes import PartnerClass, by_partners
from heads.evaluation.scoring import SPLIT_WARNINGS, Scores, main_metric, resampling_unit, score_head
from heads.features.sources import (
    BOTH,
    SEQUENCES,
    SequenceSource,
    Source,
    StoreLike,
    VectorsAndSequences,
    VectorSource,
    as_store,
)
from heads.tasks.catalog import TASKS
from heads.tasks.data import TaskData
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection, check_seed
from heads.tasks.training_fingerprint import training_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a head does on a split.

    Attributes
    ----------
    task, head, data_set, space, split, split_rule
        What was evaluated, on which vectors and rows.
    kind, input
        What is predicted, and of what.
    main_metric
        The one to compare heads by.
    metrics
        Each with its 95% interval.
    n_rows
        Rows of the split; all of them are in the metrics.
    n_classes
        Classes that the head knows; 0 for numbers.
    n_classes_in_split
        Classes among the rows.
    n_unseen
        Rows (residues, where rows are proteins of which each residue is predicted) whose class, or one of whose labels,
        the head was not trained on: always wrong.
    n_without_vector
        Rows that the build skipped: counted as wrong; for numbers the mean of the training rows is taken.
    n_keys_in_train
        Distinct sequences of the split that stand in the training rows too.
    training_changed
        Whether the training rows are other ones today than those that the head was fitted on.
    leakage
        Leakage, near duplicates included.
    by_identity
        Right rows (or the mean absolute error) by identity to the nearest training protein; empty where not looked for.
    by_partners
        For pairs: the main metric by how many of the two proteins were trained on.
    reliability
        Bins of the calibration plot; empty for numbers.
    guarantees
        Whether what the validation rows guarantee holds on this split; empty for training and validation rows.
    worst_pairs
        The most frequent confusions.
    curve
        The main metric of heads fitted on parts of the training rows; empty where not asked for.
    n_resamples, seed
        Of the bootstrap.
    resampling_unit
        What the bootstrap resamples, in words: rows, proteins, groups of a column.
    seconds, peak_bytes
        Of the predictions: see `heads.evaluation.resources.Cost`.
    fit_seconds
        Of the fit; None for a head that was saved by an older release.
    """

    task: str
    head: str
    data_set: str
    space: str
    split: str
    split_rule: str
    target_type: str
    input: str
    main_metric: str
    metrics: Mapping[str, Interval]
    n_rows: int
    n_classes: int
    n_classes_in_split: int
    n_unseen: int
    n_without_vector: int
    n_keys_in_train: int
    training_changed: bool
    leakage: LeakageReport
    by_identity: tuple[IdentityBin, ...]
    by_partners: tuple[PartnerClass, ...]
    reliability: tuple[Bin, ...]
    guarantees: tuple[GuaranteeCheck, ...]
    worst_pairs: tuple[Mapping[str, Any], ...]
    curve: tuple[CurvePoint, ...]
    n_resamples: int
    seed: int
    resampling_unit: str
    seconds: float
    peak_bytes: int | None
    fit_seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON: each metric under its own name, as value, low and high."""
        plain = asdict(self)
        metrics: dict[str, Any] = plain.pop("metrics")
        document: dict[str, Any] = finite(plain | metrics | {"seen": SPLIT_WARNINGS.get(self.split)})
        return document


@suggest_arguments
def evaluate(
    store: StoreLike,
    head: FittedLike,
    *,
    split: str = "test",
    space: str | None = None,
    labels: str | PathLike[str] | None = None,
    group_column: str | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    relatives: str = "words",
    relatives_rows: int = SAMPLE_ROWS,
    fractions: Sequence[float] = (),
) -> Report:
    """Measure a head on the stored vectors of a split of the task that it was fitted on.

    Parameters
    ----------
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``.
    head
        A fitted head, or its directory.
    split
        ``train``, ``valid`` or ``test``.
    space
        Checked to be the head's own, where given.
    labels
        Where the labelled file is now, for a head that was fitted on one.
    group_column
        Column whose equal texts make rows relatives of each other, which intervals draw together; ``"none"`` for rows
        on their own; None for what the head was fitted with, else for what the task says.
    n_resamples, seed
        Of the bootstrap.
    relatives
        How the nearest training protein is found: ``"words"`` (seconds), ``"mmseqs"`` (alignment, minutes), ``"auto"``
        (MMseqs2 where it is installed), or ``"none"``.
    relatives_rows
        Rows of the split for which it is.
    fractions
        Shares of the training rows to fit the same head on, for a learning curve: ``(0.1, 0.3)``.

    Raises
    ------
    SpaceMismatchError
        If the store does not hold the head's space, or `space` is another.
    InputError
        If the split has no labelled row.
    StoreError
        If rows have no vector; the message has the command that makes them.
    """
    check_seed(seed)
    fitted = as_fitted(head)
    without_store = fitted.space_id == SEQUENCES and fitted.task["labels"] is not None and store is None
    opened = None if without_store else as_store(store)
    source = _own_source(fitted, opened, space)
    data = read_task(_selection(fitted, labels, group_column), opened)
    rows, trained = data.rows(split), data.splits["train"]
    data.require_trained_classes(split)
    scores = score_head(fitted.head, source, data, split, n_resamples=n_resamples, seed=seed)
    best_by = main_metric(task_metric(fitted.task), data, scores.metrics)
    near = find_relatives(opened, data, split, method=relatives, limit=relatives_rows, seed=seed)
    leakage = leakage_report(data.keys[rows], data.keys[trained], near)
    curve = learning_curve(fitted.head, source, data, split, fractions=fractions, metric=best_by, seed=seed)
    return Report(
        task=fitted.task_name,
        head=fitted.head_name,
        data_set=data.source,
        space=source.id,
        split=split,
        split_rule=data.split_rule,
        target_type=data.target_type,
        input=data.input,
        main_metric=best_by,
        metrics={name: estimate.interval for name, estimate in scores.metrics.items()},
        n_rows=len(rows),
        n_classes=len(fitted.head.classes_),
        n_classes_in_split=n_classes_among(scores.outcomes),
        n_unseen=n_unseen_of(scores.outcomes),
        n_without_vector=scores.n_without_vector,
        n_keys_in_train=leakage.n_exact,
        training_changed=training_sha256(data.keys[trained], data.labels[trained]) != fitted.train_sha256,
        leakage=leakage,
        by_identity=identity_table(scores, data, near),
        by_partners=by_partners(scores, data, split, near, metric=best_by, n_resamples=n_resamples, seed=seed),
        reliability=reliability_bins(scores.outcomes),
        guarantees=()
        if split in SPLIT_WARNINGS
        else check_guarantees(fitted.validation, scores, n_resamples=n_resamples, seed=seed),
        worst_pairs=worst_pairs_of(scores.outcomes),
        curve=curve,
        n_resamples=n_resamples,
        seed=seed,
        resampling_unit=resampling_unit(data, rows),
        seconds=scores.cost.seconds,
        peak_bytes=scores.cost.peak_bytes,
        fit_seconds=fitted.fit_seconds,
    )


def task_metric(task: Mapping[str, Any]) -> str | None:
    """Main metric of a task of the catalog; None for other labelled rows."""
    return TASKS[task["task"]].main_metric if task["task"] in TASKS else None


def find_relatives(
    store: Store | None, data: TaskData, split: str, *, method: str, limit: int, seed: int
) -> Relatives | str | None:
    """The nearest training protein of rows of a split; None where it was not asked for."""
    if method == "none":
        return None
    if store is None:
        return "not searched for: there is no store that holds the sequences"
    rows, trained = data.rows(split), data.splits["train"]
    proteins = [data.digests] if data.partners is None else [data.digests, data.partners]
    return sample_relatives(
        store,
        [keys[rows] for keys in proteins],
        [keys[trained] for keys in proteins],
        method=method,
        limit=limit,
        seed=seed,
    )


def identity_table(scores: Scores, data: TaskData, near: Relatives | str | None) -> tuple[IdentityBin, ...]:
    """Results by identity; of residues none, of which a protein has many."""
    if not isinstance(near, Relatives) or data.input == "residue":
        return ()
    return by_identity(scores.outcomes, near)


def reliability_bins(outcomes: Outcomes) -> tuple[Bin, ...]:
    """Bins of the calibration plot."""
    if isinstance(outcomes, ClassOutcomes):
        given = outcomes.predicted >= 0
        return tuple(reliability(outcomes.confidence[given], outcomes.right[given]))
    if isinstance(outcomes, LabelOutcomes):
        return tuple(reliability_of(*outcomes.bins.astype(np.float64).sum(axis=0)))
    return ()


def worst_pairs_of(outcomes: Outcomes, n: int = 20) -> tuple[Mapping[str, Any], ...]:
    """The most frequent confusions."""
    return tuple(outcomes.worst_pairs(n)) if isinstance(outcomes, ClassOutcomes | LabelOutcomes) else ()


def n_classes_among(outcomes: Outcomes) -> int:
    """Classes, or labels that the head knows, of the rows."""
    if isinstance(outcomes, ClassOutcomes):
        return len(np.unique(outcomes.true))
    if isinstance(outcomes, LabelOutcomes):
        return int((np.asarray(outcomes.true.sum(axis=0)).ravel() > 0).sum())
    return 0


def n_unseen_of(outcomes: Outcomes) -> int:
    """Rows of a class, or with a label, that the head does not know."""
    if isinstance(outcomes, ClassOutcomes):
        return int((outcomes.true >= outcomes.n_known).sum())
    return int((outcomes.n_unseen > 0).sum()) if isinstance(outcomes, LabelOutcomes) else 0


def _own_source(fitted: FittedHead, store: Store | None, named: str | None) -> Source:
    if fitted.space_id == SEQUENCES or store is None:
        return SequenceSource()
    if named is not None:
        fitted.require_space(store.any_space(named).id)
    if fitted.space_id not in store.spaces():
        stored = ", ".join(store.spaces()) or "no space"
        raise SpaceMismatchError(
            f"This is a head of another space: it was fitted on {fitted.space_id}, and the store at {store.path} has "
            f"{stored}. Build that space there, or fit a head on one that it has."
        )
    reads = VectorsAndSequences if HEADS[fitted.head_name].reads == BOTH else VectorSource
    return reads(store.any_space(fitted.space_id))


def _selection(fitted: FittedHead, labels: str | PathLike[str] | None, group_column: str | None) -> TaskSelection:
    stored = dict(fitted.task) | ({} if group_column is None else {"group_column": group_column})
    if labels is not None:
        if stored["labels"] is None:
            raise InputError(
                f"This head was fitted on {fitted.task_name!r} in the store; labels= (--labels) is for heads of a "
                "labelled file. Leave it out."
            )
        stored["labels"] = fspath(labels)
    elif stored["labels"] is not None and not Path(stored["labels"]).exists():
        raise MissingFileError(
            f"The labelled file of this head is gone from {stored['labels']}. Say where it is now (labels=, --labels)."
        )
    return TaskSelection(**stored)
