"""Fitted heads joined into one ensemble: same labels, same training rows, vectors of one space at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from numpy.typing import NDArray

from embedstore.catalog import suggest_arguments
from embedstore.errors import InputError, SpaceMismatchError
from heads.api.load import FittedHead, FittedLike, as_fitted
from heads.base import LabelledExamples
from heads.features.sources import BOTH, SEQUENCES, StoreLike, as_store, get_source
from heads.tasks.keys import isin_keys
from heads.tasks.readers import read_task
from heads.tasks.selection import TaskSelection
from heads.tasks.targets import encode
from heads.vectors.ensemble import EnsembleHead
from heads.vectors.hybrid import HybridHead


@suggest_arguments
def join(
    store: StoreLike,
    members: Sequence[FittedLike],
    *,
    method: str | None = None,
    out: str | PathLike[str] | None = None,
    seed: int = 0,
) -> FittedHead:
    """Join fitted heads; the weights are chosen on the validation rows of their task.

    Parameters
    ----------
    store
        The store, or its path; None for ``$EMBEDSTORE``, else ``./embedstore.zarr``.
    members
        Two or more fitted heads, or their directories.
    method
        As of `heads.vectors.ensemble.EnsembleHead`.
    out
        Directory to save to; None saves nothing.
    seed
        Of the sample of validation rows, where there are too many for all.

    Raises
    ------
    SpaceMismatchError
        If they read vectors of different spaces.
    InputError
        If they are fewer than two, were fitted on different rows or for different labels, or their task has no
        validation rows.
    """
    # One on vectors first: the whole is then a head of its space.
    fitted = sorted((as_fitted(path) for path in members), key=lambda member: member.space_id == SEQUENCES)
    _require_alike(fitted)
    first = fitted[0]
    opened = as_store(store)
    data = read_task(TaskSelection(**first.task), opened)
    sources = {member.space_id for member in fitted}
    reads = BOTH if len(sources) > 1 else SEQUENCES if SEQUENCES in sources else "vectors"
    source = get_source(opened, data, None if reads == SEQUENCES else first.space_id, reads=reads)
    rows = source.examples(data, data.rows("valid"), what="valid row")
    targets = encode(
        rows.y,
        target_type=data.target_type,
        n_rows=rows.features.shape[0],
        classes=_classes(first),
        name="the validation labels",
    )
    usable = targets.known
    if rows.features.keys is not None:
        usable &= ~isin_keys(rows.features.keys, data.keys[data.rows("train")])
    if not usable.any():
        raise InputError(
            f"No validation row of {first.task_name} has a class that the heads know; nothing to choose on."
        )
    valid = LabelledExamples(features=rows.features, targets=targets).subset(usable.nonzero()[0])
    names = [member.head_name for member in fitted]
    head_class = HybridHead if reads == BOTH else EnsembleHead
    head = head_class(members=names, method=method, seed=seed, target_type=data.target_type)
    head.join(names, [member.head for member in fitted], valid)
    joined = replace(first, head=head, head_name="hybrid" if reads == BOTH else "ensemble")
    if out is not None:
        joined.save(out)
    return joined


def _classes(fitted: FittedHead) -> NDArray[Any] | None:
    return None if fitted.head.target_type == "regression" else fitted.head.classes_


def _require_alike(fitted: Sequence[FittedHead]) -> None:
    if len(fitted) < 2:
        raise InputError(f"{len(fitted)} fitted heads were given; an ensemble joins two or more.")
    first = fitted[0]
    for other in fitted[1:]:
        if other.space_id not in (first.space_id, SEQUENCES):
            raise SpaceMismatchError(
                f"An ensemble joins heads of one space: {first.default_name} was fitted on {first.space_id}, and "
                f"{other.default_name} on {other.space_id}. Fit them on the same one (space=, --space)."
            )
        same_labels = (
            other.head.target_type == first.head.target_type
            and other.head.classes_.tolist() == first.head.classes_.tolist()
        )
        if not same_labels or other.train_sha256 != first.train_sha256:
            raise InputError(
                f"{first.default_name} and {other.default_name} were fitted on different rows or labels. An ensemble "
                "joins heads of the same task; fit them again on one."
            )
    names = [member.head_name for member in fitted]
    if len(set(names)) < len(names):
        raise InputError(f"The heads to join are {', '.join(names)}; expected different ones.")
