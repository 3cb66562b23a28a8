"""Where a training stands, on disk: safetensors and JSON, put in place at once, so that a kill leaves the last one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from embedstore.errors import InputError, StoreCorruptError, StoreWriteError

_NAME = "checkpoint"
_TENSORS, _RECORD = "state.safetensors", "state.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """Tensors by name (weights, the best ones so far, the optimiser's, generators) and what JSON holds."""

    tensors: dict[str, torch.Tensor]
    record: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the last one, and put it in its place.

    Raises
    ------
    StoreWriteError
        If it cannot be written; the last one stays.
    """
    work, target = folder / f".{_NAME}.{uuid4().hex}", folder / _NAME
    try:
        work.mkdir(parents=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        save_file(tensors, work / _TENSORS)
        (work / _RECORD).write_text(json.dumps(checkpoint.record), encoding="utf-8")
        for path in (work / _TENSORS, work / _RECORD, work):
            _sync(path)
        old = folder / f".{_NAME}.old"
        # A kill between the two renames leaves the old one under its other name, which is read then.
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        work.rename(target)
        _sync(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise StoreWriteError(
            f"The checkpoint in {folder} could not be written: {error.strerror or error}. Free space or choose another "
            "place (out=, --out)."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def load_checkpoint(folder: Path, *, fingerprint: str) -> Checkpoint | None:
    """The last checkpoint of a folder, or None where there is none.

    Raises
    ------
    InputError
        If it is one of another training.
    StoreCorruptError
        If it cannot be read.
    """
    found = [path for path in (folder / _NAME, folder / f".{_NAME}.old") if (path / _RECORD).is_file()]
    if not found:
        return None
    try:
        record: dict[str, Any] = json.loads((found[0] / _RECORD).read_text(encoding="utf-8"))
        tensors = load_file(found[0] / _TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise StoreCorruptError(
            f"The checkpoint at {found[0]} cannot be read: {error}. Start anew: remove {folder}."
        ) from error
    if record.get("fingerprint") != fingerprint:
        raise InputError(
            f"The unfinished training in {folder} has other settings, another base or other training rows. Choose "
            "another place (out=, --out), or start anew (restart=True, --restart)."
        )
    return Checkpoint(tensors=tensors, record=record)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
