"""Fit a head on the stored vectors of a task."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from embedstore.catalog import suggest_arguments
from heads.api.load import FittedHead
from heads.api.tune import tune as tune_settings
from heads.base import Head, make_head
from heads.catalog import HEADS
from heads.evaluation.resources import measure_cost
from heads.evaluation.scoring import validation_predictions, validation_rows
from heads.features.sources import SEQUENCES, Source, StoreLike, as_store, get_source
from heads.tasks.data import TaskData
from heads.tasks.label_warnings import warn_about_labels
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection
from heads.tasks.training_fingerprint import n_contradictory, training_sha256


@suggest_arguments
def fit(
    store: StoreLike = None,
    *,
    task: str | TaskSelection | None = None,
    labels: str | PathLike[str] | None = None,
    dataset: str | None = None,
    head: str = "linear",
    space: str | None = None,
    params: Mapping[str, Any] | None = None,
    tune: int | None = None,
    out: str | PathLike[str] | None = None,
    seed: int = 0,
) -> FittedHead:
    """Fit a head on the training rows of a task; hyper-parameters are selected on the validation split only.

    Parameters
    ----------
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``.
    task, labels, dataset
        Which labelled rows, one of three: a task of `heads.TASKS` by name; a labelled file (CSV, TSV, Parquet, FASTA);
        a data set of the store that has a column of labels. For other columns, splits or target types `task` takes a
        `heads.tasks.TaskSelection`.
    head
        Name of a head in `heads.HEADS`.
    space
        Space id or model name; None where the store has one space.
    params
        Arguments of the head's constructor.
    tune
        Number of settings of the head to try on the validation split, its defaults first; the head is fitted with the
        best of them. What is given in `params` stays as it is. None: the defaults.
    out
        Directory to save to; None saves nothing.
    seed
        Of the random split, of the tuning, and of whatever the head draws.

    Returns
    -------
    FittedHead
        Ready to predict.

    Raises
    ------
    UnknownNameError
        For an unknown task, head, parameter or space.
    InputError
        If there are no labels, no training row, or fewer than two classes.
    StoreError
        If rows have no vector; the message has the command that makes them.

    Examples
    --------
    >>> import heads
    >>> fitted = heads.fit("proteins.zarr", task="pfam", head="knn", out="pfam-knn")  # doctest: +SKIP
    >>> own = heads.tasks.TaskSelection(labels="mine.csv", label_column="family")  # doctest: +SKIP
    >>> fitted = heads.fit("proteins.zarr", task=own)  # doctest: +SKIP
    """
    selection = TaskSelection.of(task, labels=labels, dataset=dataset, seed=seed)
    reads = HEADS[head].reads
    opened = None if reads == SEQUENCES and selection.labels is not None and store is None else as_store(store)
    data = read_task(selection, opened)
    model = make_head(head, params, target_type=data.target_type, input_=data.input, seed=seed)
    source = get_source(opened, data, space, reads=reads)
    fitted = fit_rows(model, head, source, data, selection, params=params, tune=tune)
    if out is not None:
        fitted.save(out)
    return fitted


def fit_rows(
    head: Head,
    name: str,
    source: Source,
    data: TaskData,
    selection: TaskSelection,
    *,
    params: Mapping[str, Any] | None = None,
    tune: int | None = None,
) -> FittedHead:
    """Fit a head on rows that were read already: what `fit` does between reading and saving.

    Parameters
    ----------
    head, name
        The unfitted head, and its name in the catalog.
    source, data
        Where its rows come from.
    selection
        How the task was named.
    params, tune
        As of `fit`.
    """
    warn_about_labels(data, selection)
    train = source.examples(data, data.rows("train"), what="train row")
    trained = data.rows("train")
    valid = validation_rows(source, data)
    learned = head.labelled(train.features, train.y, *(() if valid is None else (valid.features, valid.y)))
    tuned = None
    if tune is not None:
        given = params or {}

        def make(tried: Mapping[str, Any]) -> Head:
            return make_head(
                name, {**given, **tried}, target_type=data.target_type, input_=data.input, seed=selection.seed
            )

        tuned = tune_settings(make, *learned, n_trials=tune, seed=selection.seed, fixed=given)
        head = make(tuned.best)
    with measure_cost() as cost:
        head.fit_labelled(*learned)
    return FittedHead(
        head=head,
        head_name=name,
        task_name=data.name,
        task=selection.to_dict(),
        data_set=data.source,
        label_column=data.label_column,
        split_rule=data.split_rule,
        space_id=source.id,
        space_identity=source.identity,
        train_sha256=training_sha256(data.keys[trained], data.labels[trained]),
        n_rows={
            "train": len(train.rows),
            "valid": 0 if valid is None else len(valid.rows),
            "test": len(data.splits["test"]),
            "without_vector": train.n_without_vector + (valid.n_without_vector if valid else 0),
            "unlabelled": data.n_unlabelled,
            "unassigned": data.n_unassigned,
            "left_out": data.n_left_out,
            "unseen": data.n_unseen,
            "contradictory": n_contradictory(data.keys[trained], data.labels[trained]),
        },
        search=None if tuned is None else tuned.to_dict(),
        fit_seconds=cost.seconds,
        validation=validation_predictions(head, data, valid),
    )
