"""Bringing a checkpoint from the hub or its cache."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # httpx's or requests', by release

from embedstore.errors import WeightsUnavailableError
from embedstore.models.checkpoint import Checkpoint, open_checkpoint, weight_files

_SMALL_FILES = (
    "config.json",
    "tokenizer*",
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.txt",
    "spiece.model",
)


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
        If it is nowhere to be had; the message says how to get it.
    """
    # The cache first: a run on a cluster must not need the network for what it already has.
    cached = _snapshot(repository, revision, _SMALL_FILES, local_only=True)
    if cached is not None and weight_files(cached):
        return open_checkpoint(cached)
    if not constants.HF_HUB_OFFLINE:
        fetched = _fetch(repository, revision)
        if fetched is not None:
            return open_checkpoint(fetched)
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub could not be reached or refused"
    asked = "this id" if model is None else f"model {model!r}"
    place = "in place of the id" if model is None else "as weights= (--weights)"
    raise WeightsUnavailableError(
        f"No weights for {asked}: {repository} (revision {revision or 'main'}) is not in the cache at "
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
    try:
        found = snapshot_download(
            repository, revision=revision, allow_patterns=list(patterns), local_files_only=local_only
        )
    except (OSError, HTTPError):  # not cached, no network, no such repository, gated: all "not to be had"
        return None
    return Path(found)
