"""Fine-tune a model on a task, and keep what comes out as a model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any

from embedstore.catalog import suggest_arguments
from embedstore.types import ProgressCallback, null_progress
from heads.api.fit import fit_rows
from heads.api.load import FittedHead
from heads.base import make_head
from heads.features.sources import SequenceSource, StoreLike, as_store
from heads.finetuning.head import FinetuneHead
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection
from heads.training.checkpoint import CHECKPOINT_FILE

NAME = "finetune"
"""What the head is called in the catalog."""


@suggest_arguments
def finetune(
    store: StoreLike = None,
    *,
    task: str | TaskSelection | None = None,
    labels: str | PathLike[str] | None = None,
    dataset: str | None = None,
    model: str | PathLike[str] | None = None,
    method: str | None = None,
    params: Mapping[str, Any] | None = None,
    out: str | PathLike[str] | None = None,
    restart: bool = False,
    seed: int = 0,
    progress: ProgressCallback = null_progress,
) -> FittedHead:
    """Train a model's encoder and a head on the training rows of a task; the best epoch on validation rows is kept.

    A training with ``out`` that was killed goes on where it was when it is started again. Beside ``out`` stands a
    folder ``<out>.training`` with its checkpoints and with event files for TensorBoard.

    Parameters
    ----------
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``. No vectors are needed.
    task, labels, dataset
        Which labelled rows, as in `heads.fit`.
    model
        Name of a catalog model, or the directory of a checkpoint; None: the preset's, else ``mini``.
    method
        Which weights are trained: ``lora``, ``full``, ``last`` layers or ``frozen``; None: the preset's, else ``lora``.
    params
        Further arguments of `heads.finetuning.head.FinetuneHead`, such as ``preset``, ``max_epochs`` or ``device``.
    out
        Folder for the model; None keeps it in memory alone.
    restart
        Forget an unfinished training.
    seed
        Of the random split, and of all that the training draws.
    progress
        Called after each step, in steps.

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
    selection = TaskSelection.of(task, labels=labels, dataset=dataset, seed=seed)
    data = read_task(selection, None if selection.labels is not None and store is None else as_store(store))
    settings: dict[str, Any] = dict(params or {})
    if model is not None:
        settings["model"] = str(model)
    if method is not None:
        settings["method"] = method
    if data.input == "pair":
        settings.setdefault("pairing", data.pairing)
    head = make_head(NAME, settings, target_type=data.target_type, input_=data.input, seed=seed)
    assert isinstance(head, FinetuneHead)  # noqa: S101 - for mypy: that is what the catalog's row names
    head.progress = progress
    if out is None:
        return fit_rows(head, NAME, SequenceSource(), data, selection, params=settings)
    with _training_folder(Path(out), restart=restart) as head.folder:
        head.model_name = Path(out).name
        fitted = fit_rows(head, NAME, SequenceSource(), data, selection, params=settings)
        if is_first_process():
            fitted.save(out)
    return fitted


def is_first_process() -> bool:
    """Whether this process is the one that writes."""
    from os import environ

    return environ.get("RANK", "0") == "0"


@contextmanager
def _training_folder(out: Path, *, restart: bool) -> Iterator[Path]:
    """The folder of checkpoints and logs; when all went well, the logs alone stay, and of nothing nothing."""
    folder = out.with_name(f"{out.name}.training")
    if restart and is_first_process():
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # There is something in it.
            folder.rmdir()
        raise
    if is_first_process():
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
