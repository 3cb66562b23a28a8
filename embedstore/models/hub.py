"""Finding a checkpoint: in a directory, in the hub's cache, or on the hub.

The hub's client is imported on use: it takes a while, and a checkpoint in a directory does not need it.
"""

from __future__ import annotations

from pathlib import Path

from embedstore.errors import WeightsUnavailableError
from embedstore.models.base import ModelSpec
from embedstore.models.checkpoint import Checkpoint, open_checkpoint, weight_files

_SMALL_FILES = (
    "config.json",
    "tokenizer*",
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.txt",
    "spiece.model",
)


def find_checkpoint(spec: ModelSpec, directory: Path | None) -> Checkpoint:
    """The checkpoint of a catalog entry: in ``directory`` if given, else as :func:`fetch_checkpoint` finds it.

    Raises
    ------
    WeightsUnavailableError
        If it cannot be found; the message says how to get it.
    """
    if directory is not None:
        return open_checkpoint(directory)
    if spec.checkpoint is None:
        raise WeightsUnavailableError(
            f"Model {spec.name!r} names no checkpoint and no directory was given. "
            "Pass its directory as weights= (--weights)."
        )
    return fetch_checkpoint(spec.checkpoint, spec.revision, model=spec.name)


def fetch_checkpoint(repository: str, revision: str | None = None, *, model: str | None = None) -> Checkpoint:
    """The checkpoint of a repository: in the hub's cache, else from the hub.

    Parameters
    ----------
    repository
        Hub id, ``owner/name``.
    revision
        Branch, tag or commit.
    model
        Catalog name that it stands for, if any.

    Raises
    ------
    WeightsUnavailableError
        If it cannot be found; the message says how to get it.
    """
    from huggingface_hub import constants

    # The cache first: a run on a cluster must not need the network for what it already has.
    cached = _snapshot(repository, revision, _SMALL_FILES, local_only=True)
    if cached is not None and weight_files(cached):
        return open_checkpoint(cached)
    if not constants.HF_HUB_OFFLINE:
        fetched = _fetch(repository, revision)
        if fetched is not None:
            return open_checkpoint(fetched)
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub could not be reached or refused"
    subject = "this id" if model is None else f"model {model!r}"
    place = "in place of the id" if model is None else "as weights= (--weights)"
    raise WeightsUnavailableError(
        f"No weights for {subject}: {repository} (revision {revision or 'main'}) is not in the cache at "
        f"{constants.HF_HUB_CACHE}, and {reason}. Where there is a network, run `hf download {repository}`, "
        f"bring the folder that it prints to this machine, and pass it {place}."
    )


def _fetch(repository: str, revision: str | None) -> Path | None:
    """Download what one model needs; safetensors where there are any, so that no pickle is fetched."""
    for patterns in (("model*.safetensors", "model.safetensors.index.json"), ("pytorch_model*.bin*",)):
        directory = _snapshot(repository, revision, (*_SMALL_FILES, *patterns), local_only=False)
        if directory is None or weight_files(directory):
            return directory
    return directory


def _snapshot(repository: str, revision: str | None, patterns: tuple[str, ...], *, local_only: bool) -> Path | None:
    """The hub's folder for a revision, or None where neither cache nor hub has it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or requests', by release

    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=list(patterns), local_files_only=local_only)
        )
    except (OSError, HTTPError):  # not cached, no network, no such repository, gated
        return None
