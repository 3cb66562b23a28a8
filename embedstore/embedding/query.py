"""Vectors of any proteins in a space: read from the store where it has them, else computed by the space's model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from embedstore.embedding.embedder import Embedder, embed_batches, is_storable, space_spec
from embedstore.embedding.windows import LongSequencePolicy
from embedstore.errors import InputError, NonFiniteError, SpaceMismatchError
from embedstore.models import MODELS, Model, load_model
from embedstore.sequences import digest
from embedstore.sequences.batching import plan_batches
from embedstore.store import Space
from embedstore.store.keys import as_digests
from embedstore.store.spaces import SpaceBase
from embedstore.types import Progress, ProgressCallback, Record, Vectors, null_progress

_log = logging.getLogger(__name__)


def load_space_model(space: Space, *, weights: str | Path | None = None, device: str = "auto") -> Model:
    """The model of a space, verified by its weights and tokens.

    It computes in the precision of the space, or in float32 where this device has not got that one (float16 is
    for GPUs): the vectors then differ by the rounding of the lower precision, and a warning is logged.

    Parameters
    ----------
    space
        A space of a store.
    weights
        Directory of the checkpoint; needed where the model is in no catalog.
    device
        Where to run it.

    Raises
    ------
    InputError
        If the model is in no catalog and ``weights`` is not given.
    SpaceMismatchError
        If its vectors would differ from those of this space (other weights, another residue policy), or if the space
        was imported, so that the model of its vectors is not verified.
    """
    _refuse_imported(space)
    name, precision = space.model, str(space.identity["precision"])
    layer = int(space.identity["layer"])
    if name in MODELS:
        load = partial(load_model, name, weights=weights, device=device, layer=layer)
    elif weights is None:
        raise InputError(
            f"Space {space.id} was made by {name!r}, which is in no catalog. "
            "Say where its checkpoint is (--weights DIR)."
        )
    else:
        load = partial(load_model, weights, family=str(space.identity["family"]), device=device, layer=layer)
    try:
        model = load(precision=precision)
    except InputError:
        if precision != "float16":
            raise
        model = load(precision="float32")
        _log.warning(
            "Space %s was computed in float16, which this device does not support; queries use float32.", space.id
        )
    check_model(space, model)
    return model


def _refuse_imported(space: Space) -> None:
    """Raise SpaceMismatchError for an imported space: a model of the same name may differ from the tool's."""
    if space.is_imported:
        raise SpaceMismatchError(
            f"Space {space.id} was imported from {space.identity['source_name']}; its model is stated as "
            f"{space.model!r} but not verified, so no vectors can be computed for it. Query proteins that it holds, or "
            "build a space of your own: `embedstore build`."
        )


_NAMES = ("model", "checkpoint", "revision")
"""Names of a model and of its source; the weights' hash identifies it."""


def check_model(space: Space, model: Model) -> None:
    """Raise SpaceMismatchError unless the model's vectors belong into this space.

    A checkpoint that was moved or renamed is still the same, and float32 serves a space of lower precision.
    """
    _refuse_imported(space)
    recorded = space.identity
    computed = space_spec(model, pooling=space.pooling, dtype=space.dtype.name, long=long_policy_of(space))
    ignored = {*_NAMES, "precision"} if computed["precision"] == "float32" else set(_NAMES)
    if "config_sha256" not in recorded:
        # Spaces of the first builds do not say it.
        ignored.add("config_sha256")
    differing = [name for name in sorted({*computed, *recorded} - ignored) if computed.get(name) != recorded.get(name)]
    if differing:
        differences = ", ".join(
            f"{name} {computed.get(name)!r} instead of {recorded.get(name)!r}" for name in differing
        )
        raise SpaceMismatchError(f"{model.name} does not give the vectors of space {space.id}: {differences}.")


def long_policy_of(space: SpaceBase) -> LongSequencePolicy:
    """What this space does with proteins that are too long for one pass."""
    return LongSequencePolicy.parse(str(space.identity["long"]))


def embed_records(
    space: Space,
    records: Sequence[Record],
    *,
    model: Model | None = None,
    progress: ProgressCallback = null_progress,
) -> Vectors:
    """Vectors of these records in a space: (n, D) in the dtype that it stores, rows in the order given.

    What the space holds is read from it. The rest is embedded by the space's model and not stored.

    Parameters
    ----------
    space
        A space of a store.
    records
        Proteins, of the store or not.
    model
        The space's model, where it is loaded already or needs more than its name; see `load_space_model`.
    progress
        Called after each batch, in residues.

    Raises
    ------
    SpaceMismatchError
        If the model is not the one of this space.
    InputError
        If a protein is longer than the space's policy takes; it is named.
    NonFiniteError
        If a vector cannot be stored in the space's dtype, so that a build would leave it out; it is named.
    """
    digests = as_digests([digest(record.residues) for record in records])
    rows = space.find(digests)
    out = np.empty((len(records), space.dim), space.dtype)
    out[rows >= 0] = space.take(digests[rows >= 0])
    missing = np.flatnonzero(rows < 0)
    if not len(missing):
        return out
    if model is None:
        model = load_space_model(space)
    else:
        check_model(space, model)
    lengths = np.array([len(records[row].residues) for row in missing.tolist()], np.int64)
    embedder = Embedder(model, [space.pooling], long_policy_of(space))
    is_long = np.array([embedder.exceeds_limit(length) for length in lengths.tolist()])
    if is_long.any() and embedder.long.kind != "window":
        longest = int(lengths.argmax())
        raise InputError(
            f"{records[missing[longest]].id!r} has {lengths[longest]:,} residues; space {space.id} takes at most "
            f"{embedder.long.limit:,} ({embedder.long}). Leave it out, or query parts of it."
        )
    done = 0
    short = np.flatnonzero(~is_long)
    batches = [short[batch] for batch in plan_batches(lengths[short], budget=model.batch_residues)]
    groups = [*np.flatnonzero(is_long)[:, None], *batches]
    sequences = [[records[row].residues for row in missing[batch].tolist()] for batch in groups]
    for batch, outputs in zip(groups, embed_batches(embedder, sequences), strict=True):
        rows_of_batch, vectors = missing[batch], outputs[space.pooling]
        assert isinstance(vectors, np.ndarray)  # noqa: S101 - for mypy: a vector a protein was asked for
        if not (is_valid := is_storable(vectors, space.dtype.name)).all():
            raise NonFiniteError(
                f"The vector of {records[rows_of_batch[np.argmin(is_valid)]].id!r} is not finite, is zero, or exceeds "
                f"{space.dtype.name}, in which space {space.id} is stored. Leave it out."
            )
        out[rows_of_batch] = vectors
        done += int(lengths[batch].sum())
        progress(Progress(stage="embed", done=done, total=int(lengths.sum()), unit="residues"))
    return out
