"""Evaluate a fitted head on a split of its task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError, MissingFileError, SpaceMismatchError
from embedstore.store.spaces import Space
from embedstore.store.store import Store
from heads.features import SpaceFeatures, StoreLike, as_store, with_vectors
from heads.leakage import n_shared_keys
from heads.metrics import N_RESAMPLES, Metric, classification_metrics
from heads.persist import FittedHead, FittedLike, as_fitted
from heads.tasks.base import TaskData, TaskSelection, check_seed
from heads.tasks.readers import read_task
from heads.tasks.training import training_sha256

NO_PREDICTION = ""
"""What stands for the label of a row that has no vector: wrong, but no class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a head does on a split.

    Attributes
    ----------
    task, head, data_set, space, split, split_rule
        What was evaluated, on which vectors and rows.
    metrics
        ``accuracy``, ``error_rate`` and ``macro_f1``, each with its 95% interval.
    n_rows
        Rows of the split; all of them are in the metrics.
    n_classes
        Classes that the head knows.
    n_classes_in_split
        Classes among the rows.
    n_unseen
        Rows whose class the head was not trained on: always wrong.
    n_without_vector
        Rows that the build skipped: counted as wrong.
    n_keys_in_train
        Distinct sequences of the split that stand in the training rows too.
    training_changed
        Whether the training rows are other ones today than those that the head was fitted on.
    n_resamples, seed
        Of the bootstrap.
    seconds
        Time of the predictions.
    """

    task: str
    head: str
    data_set: str
    space: str
    split: str
    split_rule: str
    metrics: Mapping[str, Metric]
    n_rows: int
    n_classes: int
    n_classes_in_split: int
    n_unseen: int
    n_without_vector: int
    n_keys_in_train: int
    training_changed: bool
    n_resamples: int
    seed: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON: each metric under its own name, as value, low and high."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "metrics"}
        return plain | {name: metric.to_dict() for name, metric in self.metrics.items()}


def evaluate(
    fitted: FittedLike,
    store: StoreLike = None,
    *,
    split: str = "test",
    space: str | None = None,
    labels: str | PathLike[str] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Report:
    """Measure a head on the stored vectors of a split of the task that it was fitted on.

    Parameters
    ----------
    fitted
        A fitted head, or its directory.
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``.
    split
        ``train``, ``valid`` or ``test``.
    space
        Checked to be the head's own, where given.
    labels
        Where the labelled file is now, for a head that was fitted on one.
    n_resamples, seed
        Of the bootstrap.

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
    chosen, opened = as_fitted(fitted), as_store(store)
    vectors = _own_space(chosen, opened, space)
    data = read_task(_selection(chosen, labels), opened)
    rows = data.rows(split)
    true = data.labels[rows]
    trained = data.splits["train"]
    started = time.perf_counter()
    predicted = _predicted(chosen, vectors, data, rows)
    seconds = time.perf_counter() - started
    return Report(
        task=chosen.task_name,
        head=chosen.head_name,
        data_set=data.source,
        space=vectors.id,
        split=split,
        split_rule=data.split_rule,
        metrics=classification_metrics(
            true, predicted, no_prediction=NO_PREDICTION, n_resamples=n_resamples, seed=seed
        ),
        n_rows=len(rows),
        n_classes=len(chosen.head.classes_),
        n_classes_in_split=len(np.unique(true)),
        n_unseen=int((~np.isin(true, chosen.head.classes_)).sum()),
        n_without_vector=int((predicted == NO_PREDICTION).sum()),
        n_keys_in_train=n_shared_keys(data.digests[rows], data.digests[trained]),
        training_changed=training_sha256(data.digests[trained], data.labels[trained]) != chosen.train_sha256,
        n_resamples=n_resamples,
        seed=seed,
        seconds=seconds,
    )


def _own_space(fitted: FittedHead, store: Store, named: str | None) -> Space:
    if named is not None:
        fitted.require_space(store.space(named).id)
    if fitted.space_id not in store.spaces():
        there = ", ".join(store.spaces()) or "no space"
        raise SpaceMismatchError(
            f"This is a head of another space: it was fitted on {fitted.space_id}, and the store at {store.path} has "
            f"{there}. Build that space there, or fit a head on one that it has."
        )
    return store.space(fitted.space_id)


def _selection(fitted: FittedHead, labels: str | PathLike[str] | None) -> TaskSelection:
    stored = dict(fitted.task)
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


def _predicted(fitted: FittedHead, space: Space, data: TaskData, rows: NDArray[np.int64]) -> NDArray[np.str_]:
    """Label of each row, `NO_PREDICTION` where it has no vector."""
    digests = data.digests[rows]
    present = with_vectors(space, digests, source=data.source)
    found = np.full(len(rows), NO_PREDICTION, dtype=object)
    found[present] = fitted.head.predict(SpaceFeatures(space, digests[present]))
    return found.astype(np.str_)
