"""Fine-tune a model on a task, and keep what comes out as a model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.errors import InputError
from embedstore.store.store import Store
from embedstore.types import ProgressCallback, no_progress
from heads.base import Float32
from heads.features import StoreLike, as_store
from heads.finetuning.head import FinetuneHead
from heads.finetuning.sequences import SequenceRows, sequence_rows
from heads.fitting import make_head
from heads.persist import FittedHead, FittedLike, as_fitted
from heads.tasks.base import TaskData, TaskSelection
from heads.tasks.readers import read_task
from heads.tasks.training import n_contradictory, training_sha256

NAME = "finetune"
"""What the head is called in the catalog."""


def finetune(
    store: StoreLike = None,
    *,
    task: str | None = None,
    labels: str | PathLike[str] | None = None,
    dataset: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    id_column: str | None = None,
    sequence_column: str | None = None,
    kind: str | None = None,
    label_separator: str | None = None,
    out: str | PathLike[str] | None = None,
    restart: bool = False,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
    **settings: Any,
) -> FittedHead:
    """Train a model's encoder and a head on the training rows of a task; the best epoch on validation rows is kept.

    A training with ``out`` that was killed goes on where it was when it is started again. Beside ``out`` stands a
    folder ``<out>.training`` with its checkpoints and with event files for TensorBoard.

    Parameters
    ----------
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``. No vectors are needed.
    task, labels, dataset, label_column, split_column, id_column, sequence_column, kind, label_separator
        Which rows, as `heads.fit` takes them.
    out
        Folder for the model; None keeps it in memory alone.
    restart
        Forget an unfinished training.
    seed
        Of the random split, and of all that the training draws.
    progress
        Called after each step, in steps.
    **settings
        ``model``, ``method``, ``preset`` and the others of `heads.finetuning.head.FinetuneHead`.

    Returns
    -------
    FittedHead
        Ready to predict; its head is a `heads.finetuning.head.FinetuneHead`.

    Raises
    ------
    UnknownNameError
        For an unknown task, model or setting.
    InputError
        If settings do not go together or do not suit the model or the task.
    OutOfMemoryError, NonFiniteError
        If one protein does not fit, or the loss is NaN.
    MissingPackageError
        If peft, accelerate or tensorboard are needed and not installed.

    Examples
    --------
    >>> import heads
    >>> fitted = heads.finetune("proteins.zarr", task="pfam", model="mini", out="pfam-mini")  # doctest: +SKIP
    """
    selection = TaskSelection(
        task=task,
        labels=None if labels is None else str(Path(labels).absolute()),
        dataset=dataset,
        label_column=label_column,
        split_column=split_column,
        id_column=id_column,
        sequence_column=sequence_column,
        seed=seed,
        kind=kind,
        label_separator=label_separator,
    )
    opened = as_store(store)
    data = read_task(selection, opened)
    if data.pairing and "pairing" not in settings:
        settings["pairing"] = data.pairing
    head = make_head(NAME, settings, kind=data.kind, input_=data.input, seed=seed)
    assert isinstance(head, FinetuneHead)  # noqa: S101 - for mypy: that is what the catalog's row names
    if out is None:
        return finetune_rows(opened, data, selection, head, progress=progress)
    with _training_folder(Path(out), restart=restart) as head.folder:
        head.model_name = Path(out).name
        fitted = finetune_rows(opened, data, selection, head, progress=progress)
        if is_first_process():
            fitted.save(out)
    return fitted


def finetune_rows(
    store: Store,
    data: TaskData,
    selection: TaskSelection,
    head: FinetuneHead,
    *,
    progress: ProgressCallback = no_progress,
) -> FittedHead:
    """Train a head on rows that were read already: what `finetune` does between reading and saving."""
    head.progress = progress
    train = _required(sequence_rows(store, data, selection, "train"))
    valid = sequence_rows(store, data, selection, "valid")
    head.fit(train.features, train.y, *(() if valid is None else (valid.features, valid.y)))
    trained = data.rows("train")
    noted = head.settings()
    return FittedHead(
        head=head,
        head_name=NAME,
        task_name=data.name,
        task=selection.to_dict(),
        data_set=data.source,
        label_column=data.label_column,
        split_rule=data.split_rule,
        space_id="",
        space_identity=head.base_model().identity(),
        train_sha256=training_sha256(data.keys[trained], data.labels[trained]),
        n_rows={
            "train": len(train.rows),
            "valid": 0 if valid is None else len(valid.rows),
            "test": len(data.splits["test"]),
            "without_vector": 0,
            "skipped": noted["n_skipped"],
            "cropped": noted["n_cropped"],
            "unlabelled": data.n_unlabelled,
            "unassigned": data.n_unassigned,
            "contradictory": n_contradictory(data.keys[trained], data.labels[trained]),
        },
    )


def split_outputs(fitted: FittedLike, store: StoreLike = None, *, split: str = "test") -> tuple[SequenceRows, Float32]:
    """The rows of a split of the task that a model was fine-tuned on, and what it gives for them.

    Returns
    -------
    rows : SequenceRows
        Sequences and targets.
    outputs : numpy.ndarray
        (n, C) float32, as `heads.base.Head.outputs`; a row a residue for residues.
    """
    chosen, opened = as_fitted(fitted), as_store(store)
    selection = TaskSelection(**chosen.task)
    rows = _required(sequence_rows(opened, read_task(selection, opened), selection, split))
    return rows, np.concatenate(list(chosen.head.outputs(rows.features)))


def is_first_process() -> bool:
    """Whether this process is the one that writes."""
    from os import environ

    return environ.get("RANK", "0") == "0"


def _required(rows: SequenceRows | None) -> SequenceRows:
    if rows is None:
        raise InputError("There is no row to use. Look at the splits: `heads tasks`.")
    return rows


@contextmanager
def _training_folder(out: Path, *, restart: bool) -> Iterator[Path]:
    """The folder of checkpoints and logs; when all went well, the logs alone stay."""
    folder = out.with_name(f"{out.name}.training")
    if restart and is_first_process():
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    if is_first_process():
        for path in (folder / "checkpoint", folder / ".checkpoint.old"):
            shutil.rmtree(path, ignore_errors=True)
