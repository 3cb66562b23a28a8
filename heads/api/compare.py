"""Compare heads on spaces, or any other methods, on the same rows of one split: metrics, tests, one page."""

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
from heads.evaluation.methods import Method, Settings, compared_heads, head_methods
from heads.evaluation.metrics import N_RESAMPLES, ClassOutcomes, average, compare_paired
from heads.evaluation.pair_classes import by_partners
from heads.evaluation.published_comparison import (
    PublishedComparison,
    SelectedMethods,
    compare_with_published,
    select_methods,
)
from heads.evaluation.scoring import LOWER_IS_BETTER, main_metric, resampling_unit
from heads.features.sources import StoreLike, as_store, store_if_any
from heads.tasks.data import TaskData
from heads.tasks.label_warnings import warn_about_labels
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection
from heads.tasks.training_fingerprint import training_sha256

_FAILURES = (EmbedstoreError, ValueError, TypeError, ArithmeticError, MemoryError, OSError, RuntimeError)
"""Errors of a method that do not stop the comparison."""

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
        settings.check(compared_heads(data, heads))
        compared = [*head_methods(opened, data, heads, spaces, settings), *methods]
    else:
        compared = [*(method for method, _ in published.methods), *methods]
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
            results=_ranked(results, main),
            pending=tuple(method.name for method in compared[len(results) :]),
            leakage=leakage,
            about=about,
            published=None
            if published is None
            else _with_published(published, data, split, selection.task, main, results),
        )

    results: list[ComparisonResult] = []
    for number, method in enumerate(compared):
        progress(Progress(stage="compare", done=number, total=len(compared), unit="methods", note=method.name))
        results.append(_score(method, data, split, near, range(seed, seed + seeds), n_resamples, metric))
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
    """The store, the rows, the versions and the machine."""
    trained = data.splits["train"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "store": None if store is None else str(store.path),
        "data_set": data.source,
        "label_column": data.label_column,
        "split_rule": data.split_rule,
        "n_rows": {name: len(rows) for name, rows in data.splits.items()},
        "n_unlabelled": data.n_unlabelled,
        "n_left_out": data.n_left_out,
        "train_sha256": training_sha256(data.keys[trained], data.labels[trained]),
        "resampling_unit": resampling_unit(data, data.rows(split)),
        "versions": _versions(),
        "machine": {"system": f"{platform.system()} {platform.machine()}", "python": platform.python_version()},
    }


def _with_published(
    selected: SelectedMethods,
    data: TaskData,
    split: str,
    task: str | None,
    metric: str,
    results: Sequence[ComparisonResult],
) -> PublishedComparison:
    classes = ""
    if data.target_type == "class" and data.input != "residue":
        classes = f", {len(np.unique(data.labels[data.splits['train']])):,} classes"
    return compare_with_published(
        replace(selected, methods=selected.methods[: len(results)]),
        task=task,
        metric=metric,
        measured_on=f"{len(data.rows(split)):,} {split} rows of {data.name}{classes}",
        settings={result.name: result.settings for result in results},
    )


def _score(
    method: Method,
    data: TaskData,
    split: str,
    near: Relatives | str | None,
    seeds: Sequence[int],
    n_resamples: int,
    metric: str | None,
) -> ComparisonResult:
    """Fit and score a method with each seed; a failure is part of the result."""
    empty = ComparisonResult(name=method.name, head=method.head, source=method.source)
    fits, scores = [], []
    try:
        for seed in seeds:
            fit_cost, seed_scores = method.score(data, split, seed=seed, n_resamples=n_resamples, draw_seed=seeds[0])
            fits.append(fit_cost)
            scores.append(seed_scores)
    except _FAILURES as error:
        return replace(empty, failure=str(error) or type(error).__name__)
    predictions, first = [part.cost for part in scores], scores[0]
    peaks = [cost.peak_bytes for cost in [*fits, *predictions] if cost.peak_bytes is not None]
    main = main_metric(metric, data, first.metrics)
    # McNemar's test applies to one fit without resampling groups.
    has_right = isinstance(first.outcomes, ClassOutcomes) and first.groups is None and len(scores) == 1
    return replace(
        empty,
        metrics=average([part.metrics for part in scores]),
        by_seed=tuple(part.metrics[main_metric(metric, data, part.metrics)].value for part in scores),
        fit_seconds=float(np.mean([cost.seconds for cost in fits])),
        predict_seconds=float(np.mean([cost.seconds for cost in predictions])),
        fit_cpu_seconds=float(np.mean([cost.cpu_seconds for cost in fits])),
        predict_cpu_seconds=float(np.mean([cost.cpu_seconds for cost in predictions])),
        peak_bytes=max(peaks, default=None),
        n_without_vector=first.n_without_vector,
        n_unseen=n_unseen_of(first.outcomes),
        reliability=reliability_bins(first.outcomes),
        by_identity=identity_table(first, data, near),
        by_partners=by_partners(first, data, split, near, metric=main, n_resamples=n_resamples, seed=seeds[0]),
        worst_pairs=worst_pairs_of(first.outcomes),
        settings=method.settings(),
        right=first.outcomes.right if has_right and isinstance(first.outcomes, ClassOutcomes) else None,
    )


def _ranked(results: Sequence[ComparisonResult], metric: str) -> tuple[ComparisonResult, ...]:
    """Results by a metric, the best first, each tested against the best; failures at the end."""
    sign = 1 if metric in LOWER_IS_BETTER else -1
    succeeded = (result for result in results if not result.failure)
    best, *others = sorted(succeeded, key=lambda result: sign * result.metrics[metric].value)
    tested = []
    for result in others:
        if len(result.metrics[metric].draws):
            right = None
            if metric in ("accuracy", "error_rate") and best.right is not None and result.right is not None:
                right = best.right, result.right
            paired = compare_paired(best.metrics[metric], result.metrics[metric], right)
            result = replace(result, against_best=paired)
        tested.append(result)
    order = sorted(range(len(tested)), key=lambda index: _p_value(tested[index]))
    highest = 0.0
    for rank, index in enumerate(order):
        result = tested[index]
        if result.against_best is not None:
            highest = max(highest, min(1.0, result.against_best.p_value * (len(order) - rank)))
            tested[index] = replace(result, p_holm=highest)
    return (best, *tested, *(result for result in results if result.failure))


def _p_value(result: ComparisonResult) -> float:
    return result.against_best.p_value if result.against_best else 2.0


def _sources(methods: Sequence[Method]) -> list[dict[str, Any]]:
    return list({method.source: method.describe() for method in methods}.values())


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


__all__ = ["Comparison", "ComparisonResult", "compare"]
