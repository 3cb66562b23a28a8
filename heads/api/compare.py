"""Any heads on any spaces, and whatever else predicts, on the same rows of one split: figures, tests, one page."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from typing import Any

import numpy as np

from embedstore.catalog import suggest_arguments
from embedstore.errors import EmbedstoreError, InputError
from embedstore.store.store import Store
from embedstore.types import Progress, ProgressCallback, null_progress
from heads.api.evaluate import (
    find_relatives,
    identity_table,
    n_unseen_of,
    reliability_bins,
    task_metric,
    worst_pairs_of,
)
from heads.evaluation.comparison_result import Comparison, ComparisonResult
from heads.evaluation.leakage import SAMPLE_ROWS, Relatives, leakage_report
from heads.evaluation.methods import Method, Settings, methods_of, taking_part
from heads.evaluation.metrics import N_RESAMPLES, ClassOutcomes, compare_paired
from heads.evaluation.metrics.average import average
from heads.evaluation.pair_classes import by_partners
from heads.evaluation.published_comparison import Published, compare_with_published
from heads.evaluation.published_methods import Entered, select_methods
from heads.evaluation.scoring import LOWER_IS_BETTER, Scores, main_metric, resampling_unit
from heads.features.vectors import StoreLike, as_store, store_if_any
from heads.tasks.data import TaskData
from heads.tasks.label_warnings import warn_about_labels
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection
from heads.tasks.training_fingerprint import training_sha256

_FAILURES = (EmbedstoreError, ValueError, TypeError, ArithmeticError, MemoryError, OSError, RuntimeError)
"""What a row may fail with without stopping the others, which may have taken hours."""

_PACKAGES = ("embedstore", "numpy", "scipy", "scikit-learn", "torch", "lightgbm")


@suggest_arguments
def compare(
    store: StoreLike = None,
    *,
    task: str | TaskSelection | None = None,
    labels: str | PathLike[str] | None = None,
    dataset: str | None = None,
    heads: Sequence[str] | None = None,
    spaces: Sequence[str] | None = None,
    table: str | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    small: bool = False,
    epochs: int | None = None,
    split: str = "test",
    seeds: int = 1,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
    relatives: str = "words",
    relatives_rows: int = 3 * SAMPLE_ROWS,
    methods: Sequence[Method] = (),
    on_result: Callable[[Comparison], Any] | None = None,
    progress: ProgressCallback = null_progress,
) -> Comparison:
    """Fit heads on the training rows of a task, and measure all of them on the same rows of a split.

    Parameters
    ----------
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``. Heads that read sequences need
        none where `labels` are given.
    task, labels, dataset
        Where labels come from, as in `heads.fit`.
    heads
        Names of the catalog; None for all heads on vectors that can predict the target type of the task.
    spaces
        Space ids or model names; None for all spaces of the store that fit the task. Heads that read sequences are
        fitted once, whatever the spaces.
    table
        Name of a published table, one of `heads.published.TABLES`: its methods in its order, with its settings, and
        its printed figures beside those measured here. With `heads`: those of its methods that use these heads, and
        then the heads that the table lacks.
    params
        Arguments of a head's constructor, by the head's name.
    small
        Whether heads take the catalog's settings for a quick trial (`heads.catalog.HeadSpec.small`) where neither
        `params` nor the published table says otherwise: smaller networks, few epochs.
    epochs
        Maximum number of epochs of heads that have that parameter; None: each head's own.
    split
        ``test`` or ``valid``.
    seeds
        Fits of each method, with seeds `seed`, `seed` + 1 …
    seed
        Also of the random split and of the bootstrap.
    n_resamples
        Of the bootstrap.
    relatives, relatives_rows
        As in `heads.evaluate`.
    methods
        Further methods, of any kind; see `heads.evaluation.methods.Method`.
    on_result
        Called after each method but the last with the comparison so far, so that it can be saved in case the others
        are never reached; `Comparison.pending` names these. An error that it raises ends the comparison.
    progress
        Called after each method.

    Returns
    -------
    Comparison
        With `to_frame`, `save_json` and `save_html`.

    Raises
    ------
    InputError
        If there is nothing to compare or no method worked, if the published table is of other tasks, and as
        `heads.fit` does for labels.
    UnknownNameError
        For an unknown table, head or space.

    Examples
    --------
    >>> import heads
    >>> comparison = heads.compare("proteins.zarr", task="pfam", heads=["linear", "knn"])  # doctest: +SKIP
    >>> comparison.save_html("pfam.html")  # doctest: +SKIP
    """
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; expected 1 or more.")
    selection = TaskSelection.of(task, labels=labels, dataset=dataset, seed=seed)
    opened = as_store(store) if selection.labels is None else store_if_any(store)
    data = read_task(selection, opened)
    warn_about_labels(data, selection)
    data.require_trained_classes(split)
    data.rows(split)
    settings = Settings(params=params or {}, small=small, epochs=epochs)
    published = None if table is None else select_methods(table, opened, data, heads, spaces, settings)
    if published is None:
        settings.require(taking_part(data, heads))
        compared = [*methods_of(opened, data, heads, spaces, settings), *methods]
    else:
        compared = [*(entry.contender for entry in published.entries), *methods]
    if not compared:
        raise InputError(
            f"No head can predict {data.target_type!r} of {data.input}s. Name heads (heads=, --heads) or "
            f"see `heads list`."
        )
    near = find_relatives(opened, data, split, method=relatives, limit=relatives_rows, seed=seed)
    metric = task_metric(selection.to_dict())
    about = _about(opened, data, split) | {
        "seeds": list(range(seed, seed + seeds)),
        "n_resamples": n_resamples,
        "small": small,
        "epochs": epochs,
        "sources": _sources(compared),
    }
    leakage = leakage_report(data.keys[data.rows(split)], data.keys[data.splits["train"]], near)

    def comparison(results: Sequence[ComparisonResult]) -> Comparison:
        main = main_metric(metric, data, next(result for result in results if not result.failure).metrics)
        return Comparison(
            task=data.name,
            target_type=data.target_type,
            input=data.input,
            split=split,
            main_metric=main,
            rows=_ranked(results, main),
            pending=tuple(method.name for method in compared[len(results) :]),
            audit=leakage,
            about=about,
            published=None if published is None else _published(published, data, split, selection.task, main, results),
        )

    results: list[ComparisonResult] = []
    for number, method in enumerate(compared):
        progress(Progress(stage="compare", done=number, total=len(compared), unit="methods", note=method.name))
        results.append(_row(method, data, split, near, range(seed, seed + seeds), n_resamples, metric))
        is_last = number == len(compared) - 1
        if on_result is not None and not is_last and not all(result.failure for result in results):
            on_result(comparison(results))
    progress(Progress(stage="compare", done=len(compared), total=len(compared), unit="methods"))
    if all(result.failure for result in results):
        raise InputError(
            f"No method of the comparison worked. The first, {results[0].name}, says: {results[0].failure}"
        )
    return comparison(results)


def _about(store: Store | None, data: TaskData, split: str) -> dict[str, Any]:
    """On what, and with what."""
    trained = data.splits["train"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "store": None if store is None else str(store.path),
        "data_set": data.source,
        "label_column": data.label_column,
        "split_rule": data.split_rule,
        "n_rows": {name: len(found) for name, found in data.splits.items()},
        "n_unlabelled": data.n_unlabelled,
        "n_left_out": data.n_left_out,
        "train_sha256": training_sha256(data.keys[trained], data.labels[trained]),
        "drawn": resampling_unit(data, data.rows(split)),
        "versions": _versions(),
        "machine": {"system": f"{platform.system()} {platform.machine()}", "python": platform.python_version()},
    }


def _published(
    followed: Entered, data: TaskData, split: str, task: str | None, metric: str, rows: Sequence[ComparisonResult]
) -> Published:
    one_of = data.target_type == "class" and data.input != "residue"
    classes = f", {len(np.unique(data.labels[data.splits['train']])):,} classes" if one_of else ""
    here = f"{len(data.rows(split)):,} {split} rows of {data.name}{classes}"
    reached = replace(followed, entries=followed.entries[: len(rows)])
    return compare_with_published(
        reached, task=task, metric=metric, here=here, settings={row.name: row.settings for row in rows}
    )


def _row(
    contender: Method,
    data: TaskData,
    split: str,
    near: Relatives | str | None,
    seeds: Sequence[int],
    n_resamples: int,
    metric: str | None,
) -> ComparisonResult:
    """Fit and judge with each seed; what fails says why."""
    empty = ComparisonResult(name=contender.name, head=contender.head, source=contender.source)
    fits, judged = [], []
    try:
        for one in seeds:
            fit_cost, found = contender.score(data, split, seed=one, n_resamples=n_resamples, draw_seed=seeds[0])
            fits.append(fit_cost)
            judged.append(found)
    except _FAILURES as error:
        return replace(empty, failure=str(error) or type(error).__name__)
    first: Scores = judged[0]
    outcomes = first.outcomes
    peaks = [cost.peak_bytes for cost in [*fits, *(one.cost for one in judged)] if cost.peak_bytes is not None]
    return replace(
        empty,
        metrics=average([one.measured for one in judged]),
        by_seed=tuple(one.measured[main_metric(metric, data, one.measured)].value for one in judged),
        fit_seconds=float(np.mean([cost.seconds for cost in fits])),
        predict_seconds=float(np.mean([one.cost.seconds for one in judged])),
        fit_cpu_seconds=float(np.mean([cost.cpu_seconds for cost in fits])),
        predict_cpu_seconds=float(np.mean([one.cost.cpu_seconds for one in judged])),
        peak_bytes=max(peaks, default=None),
        n_without_vector=first.n_without_vector,
        n_unseen=n_unseen_of(outcomes),
        reliability=reliability_bins(outcomes),
        by_identity=identity_table(first, data, near),
        by_partners=by_partners(
            first,
            data,
            split,
            near,
            metric=main_metric(metric, data, first.measured),
            n_resamples=n_resamples,
            seed=seeds[0],
        ),
        worst_pairs=worst_pairs_of(outcomes),
        settings=contender.settings(),
        # McNemar's test is for rows that are drawn one by one, of one fit.
        right=outcomes.right
        if isinstance(outcomes, ClassOutcomes) and first.groups is None and len(judged) == 1
        else None,
    )


def _ranked(rows: Sequence[ComparisonResult], metric: str) -> tuple[ComparisonResult, ...]:
    """Rows by a metric, the best first, each tested against the best; those that failed at the end."""
    sign: Callable[[float], float] = (lambda value: value) if metric in LOWER_IS_BETTER else (lambda value: -value)
    there = sorted((row for row in rows if not row.failure), key=lambda row: sign(row.metrics[metric].value))
    best, tested = there[0], []
    for row in there[1:]:
        if not len(row.metrics[metric].draws):
            tested.append(row)
            continue
        both = (best.right, row.right) if metric in ("accuracy", "error_rate") else (None, None)
        right = (both[0], both[1]) if both[0] is not None and both[1] is not None else None
        tested.append(replace(row, against_best=compare_paired(best.metrics[metric], row.metrics[metric], right)))
    order = sorted(range(len(tested)), key=lambda place: _p_value(tested[place]))
    highest = 0.0
    for rank, place in enumerate(order):
        row = tested[place]
        if row.against_best is not None:
            highest = max(highest, min(1.0, row.against_best.p_value * (len(order) - rank)))
            tested[place] = replace(row, p_holm=highest)
    return (best, *tested, *(row for row in rows if row.failure))


def _p_value(row: ComparisonResult) -> float:
    return row.against_best.p_value if row.against_best else 2.0


def _sources(entered: Sequence[Method]) -> list[dict[str, Any]]:
    found = {contender.source: contender.describe() for contender in entered}
    return list(found.values())


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


__all__ = ["Comparison", "ComparisonResult", "compare"]
