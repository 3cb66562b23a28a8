"""Where a training stands, in one file: safetensors with JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from embedstore.errors import InputError, StoreCorruptError, StoreWriteError
from embedstore.store.layout import fsync_path

CHECKPOINT_FILE = "training.safetensors"


class Checkpoint:
    """A directory that a training is resumed from.

    Parameters
    ----------
    directory
        Made where it is not there.
    identity
        Hash of data and settings: a training goes on from its own checkpoint alone.
    """

    def __init__(self, directory: Path, identity: str) -> None:
        self._file, self._identity = directory / CHECKPOINT_FILE, identity

    def save(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        """Put a new state in the place of the last; a kill or a power loss leaves the one or the other whole.

        Raises
        ------
        StoreWriteError
            If it cannot be written.
        """
        work = self._file.with_name(f".{uuid4().hex}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            header = {"identity": self._identity, "state": json.dumps(state)}
            save_file({name: one.detach().cpu().contiguous() for name, one in tensors.items()}, work, metadata=header)
            fsync_path(work)
            work.replace(self._file)
            fsync_path(self._file.parent)
        except (OSError, SafetensorError) as error:
            why = getattr(error, "strerror", None) or error
            raise StoreWriteError(
                f"The checkpoint could not be written to {self._file}: {why}. Free space or choose another place."
            ) from error
        finally:
            work.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """The last state, or None where there is none.

        Raises
        ------
        InputError
            If it is of another training.
        StoreCorruptError
            If it is no checkpoint.
        """
        if not self._file.exists():
            return None
        try:
            with safe_open(self._file, framework="pt") as file:
                header = file.metadata() or {}
                if header["identity"] != self._identity:
                    raise InputError(
                        f"{self._file} is the checkpoint of another training: its data or settings differ. "
                        "Choose another directory as checkpoint, or remove it."
                    )
                return {name: file.get_tensor(name) for name in file.keys()}, json.loads(header["state"])  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise StoreCorruptError(f"{self._file} is no checkpoint: {error}. Remove it to start anew.") from error
