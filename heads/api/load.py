"""Fitted heads as directories: JSON and safetensors, no pickle."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from embedstore.errors import (
    InputError,
    MissingFileError,
    SpaceMismatchError,
    StoreCorruptError,
    StoreVersionError,
    StoreWriteError,
)
from heads.base import Head
from heads.calibration.risk_control import ValidationPredictions
from heads.catalog import HEADS
from heads.tasks.targets import KINDS

FORMAT_VERSION = 1
HEAD_FILE = "head.json"
ARRAYS_FILE = "arrays.safetensors"
VALIDATION_FILE = "proof.safetensors"
COST_FILE = "cost.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedHead:
    """A head that was fitted, and what it was fitted on.

    Attributes
    ----------
    head
        The fitted head.
    head_name
        Its name in the catalog.
    task_name
        Name of the task or of the data set, or the stem of the labelled file.
    task
        The fields of the `heads.tasks.TaskSelection`, to find the same rows again.
    data_set
        Name of the data set, or path of the labelled file.
    label_column, split_rule
        Where the labels came from, and how rows were split.
    space_id, space_identity
        The space whose vectors it eats.
    train_sha256
        Of the labelled training rows, those without a vector included; see `heads.tasks.training_fingerprint`.
    n_rows
        Rows used of ``train`` and ``valid``, rows seen of ``test``, rows left out by reason, under ``unseen`` the
        validation and test rows whose class no training row has, and under ``contradictory`` the distinct sequences
        with several labels in the training rows.
    search
        What a search for settings tried, where there was one: see `heads.api.tune.SearchResult`.
    fit_seconds
        How long the fit took; None for heads of older releases.
    validation
        Predictions on its validation rows, for risk control; None where there were none.
    """

    head: Head
    head_name: str
    task_name: str
    task: Mapping[str, Any]
    data_set: str
    label_column: str
    split_rule: str
    space_id: str
    space_identity: Mapping[str, Any]
    train_sha256: str
    n_rows: Mapping[str, int]
    search: Mapping[str, Any] | None = None
    fit_seconds: float | None = None
    validation: ValidationPredictions | None = None

    @property
    def default_name(self) -> str:
        """Name of the directory that it is saved in where none is given: ``<task or data set or file>-<head>``."""
        return f"{self.task_name}-{self.head_name}"

    def require_space(self, space_id: str) -> None:
        """Refuse vectors of another space.

        Raises
        ------
        SpaceMismatchError
            Naming both.
        """
        if space_id != self.space_id:
            raise SpaceMismatchError(
                f"This is a head of another space: it was fitted on {self.space_id}, and these vectors are "
                f"of {space_id}. Use vectors of {self.space_id}, or fit a head on {space_id}."
            )

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it as the directory `path`; one with a fitted head is replaced, anything else is left alone.

        Raises
        ------
        InputError
            If something that is no fitted head stands there.
        StoreWriteError
            If it cannot be written; nothing is left behind then.
        """
        target = Path(path)
        require_free(target)
        work = target.with_name(f".{target.name}.{uuid4().hex}")
        try:
            work.mkdir(parents=True)
            self._write(work)
            _replace(work, target)
        except (OSError, SafetensorError) as error:
            why = getattr(error, "strerror", None) or error
            raise StoreWriteError(
                f"The head could not be written to {target}: {why}. Free space or choose another place."
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return target

    def describe(self) -> dict[str, Any]:
        """What ``head.json`` says of it, less the classes and the arrays."""
        return {
            "head": self.head_name,
            "params": _plain(self.head.get_params()),
            "settings": _plain(self.head.settings()),
            "n_classes": len(self.head.classes_),
            "n_features": self.head.n_features_in_,
            "task_name": self.task_name,
            "task": dict(self.task),
            "data_set": self.data_set,
            "label_column": self.label_column,
            "split_rule": self.split_rule,
            "train_sha256": self.train_sha256,
            "n_rows": dict(self.n_rows),
            "search": self.search,
            "space": {"id": self.space_id, "identity": dict(self.space_identity)},
        }

    def _write(self, directory: Path) -> None:
        arrays = {name: np.ascontiguousarray(array) for name, array in self.head.arrays().items()}
        save_file(arrays, directory / ARRAYS_FILE)
        for name, text in self.head.texts().items():
            (directory / f"{name}.txt").write_text(text, encoding="utf-8")
        self.head.write_files(directory)
        if self.validation is not None:
            save_file(self.validation.arrays(), directory / VALIDATION_FILE)
        # Apart: the same fit writes the same bytes everywhere else.
        (directory / COST_FILE).write_text(json.dumps({"fit_seconds": self.fit_seconds}) + "\n", encoding="utf-8")
        record = {
            "format_version": FORMAT_VERSION,
            **self.describe(),
            "classes": self.head.classes_.tolist(),
            "arrays": {"file": ARRAYS_FILE, "sha256": _sha256(directory / ARRAYS_FILE)},
            "proof": None if self.validation is None else _sha256(directory / VALIDATION_FILE),
            "texts": {name: _sha256(directory / f"{name}.txt") for name in self.head.texts()},
            "versions": {"embedstore": _release(), "numpy": np.__version__, "python": platform.python_version()},
        }
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        (directory / HEAD_FILE).write_text(text + "\n", encoding="utf-8", errors="surrogateescape")


def require_free(path: str | PathLike[str]) -> None:
    """Refuse a place where something stands that is no fitted head.

    Raises
    ------
    InputError
        If there is such a thing.
    """
    if Path(path).exists() and not is_fitted_head(Path(path)):
        raise InputError(f"{path} is there and is no fitted head. Choose another name, or remove it.")


def is_fitted_head(path: str | PathLike[str]) -> bool:
    """Whether a directory is that of a fitted head."""
    return (Path(path) / HEAD_FILE).is_file()


def load(path: str | PathLike[str]) -> FittedHead:
    """Read a fitted head that `FittedHead.save` wrote.

    Raises
    ------
    MissingFileError
        If there is no fitted head at `path`.
    StoreVersionError
        If a newer release wrote it.
    StoreCorruptError
        If a file is not what was written.
    UnknownNameError
        If it is a head of a plug-in that is not installed.
    """
    directory = Path(path)
    if not is_fitted_head(directory):
        raise MissingFileError(
            f"No fitted head at {directory}: there is no {HEAD_FILE}. Fit one: `heads fit --task TASK --head HEAD`."
        )
    record = _read_record(directory)
    try:
        head: Head = HEADS.load(record["head"])(**record["params"])
        arrays = load_file(directory / ARRAYS_FILE)
        head.read_files(directory)
        return FittedHead(
            head=head.restore(np.array(record["classes"]), arrays, record["settings"], _read_texts(directory, record)),
            head_name=record["head"],
            task_name=record["task_name"],
            task=record["task"],
            data_set=record["data_set"],
            label_column=record["label_column"],
            split_rule=record["split_rule"],
            space_id=record["space"]["id"],
            space_identity=record["space"]["identity"],
            train_sha256=record["train_sha256"],
            n_rows=record["n_rows"],
            search=record.get("search"),
            fit_seconds=_read_seconds(directory),
            validation=_read_validation(directory, record),
        )
    except (KeyError, TypeError) as error:
        raise StoreCorruptError(
            f"{directory / HEAD_FILE} lacks or misnames a field: {error}. Fit the head again."
        ) from error


FittedLike: TypeAlias = FittedHead | str | PathLike[str]
"""A fitted head, or the directory of one."""


def as_fitted(fitted: FittedLike) -> FittedHead:
    """A fitted head; a path is loaded."""
    return fitted if isinstance(fitted, FittedHead) else load(fitted)


def _read_record(directory: Path) -> dict[str, Any]:
    try:
        text = (directory / HEAD_FILE).read_text(encoding="utf-8", errors="surrogateescape")
        record: dict[str, Any] = json.loads(text)
        version, expected = record["format_version"], record["arrays"]["sha256"] if "arrays" in record else None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(
            f"{directory / HEAD_FILE} is not what was written: {error}. Fit the head again."
        ) from error
    if version > FORMAT_VERSION:
        raise StoreVersionError(
            f"The head at {directory} has format {version}; this release reads up to {FORMAT_VERSION}. "
            "Upgrade: `pip install -U embedstore`."
        )
    arrays = directory / ARRAYS_FILE
    if not arrays.is_file() or _sha256(arrays) != expected:
        raise StoreCorruptError(f"{arrays} is missing or not the file that {HEAD_FILE} names. Fit the head again.")
    current: dict[str, Any] = _with_current_names(record)
    return current


def _with_current_names(value: Any) -> Any:
    """The record with the parameter names of today: ``target_type`` was called ``kind`` up to release 0.1."""
    if isinstance(value, dict):
        return {
            "target_type" if name == "kind" and item in KINDS else name: _with_current_names(item)
            for name, item in value.items()
        }
    return [_with_current_names(item) for item in value] if isinstance(value, list) else value


def _read_texts(directory: Path, record: Mapping[str, Any]) -> dict[str, str]:
    texts = {}
    for name, expected in record.get("texts", {}).items():
        file = directory / f"{name}.txt"
        if not file.is_file() or _sha256(file) != expected:
            raise StoreCorruptError(f"{file} is missing or not the file that {HEAD_FILE} names. Fit the head again.")
        texts[name] = file.read_text(encoding="utf-8")
    return texts


def _read_seconds(directory: Path) -> float | None:
    file = directory / COST_FILE
    try:
        return float(json.loads(file.read_text(encoding="utf-8"))["fit_seconds"]) if file.is_file() else None
    except (ValueError, KeyError, TypeError):
        return None


def _read_validation(directory: Path, record: Mapping[str, Any]) -> ValidationPredictions | None:
    expected = record.get("proof")
    if expected is None:
        return None
    file = directory / VALIDATION_FILE
    if not file.is_file() or _sha256(file) != expected:
        raise StoreCorruptError(f"{file} is missing or not the file that {HEAD_FILE} names. Fit the head again.")
    return ValidationPredictions(**load_file(file))


def _replace(work: Path, target: Path) -> None:
    """Put a finished directory in the place of another: for a moment there is none, never half a one."""
    if not target.exists():
        work.rename(target)
        return
    old = work.with_name(f"{work.name}.old")
    target.rename(old)
    try:
        work.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them: numpy scalars, tuples and paths become numbers, lists and texts."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        plain = value.item() if isinstance(value, np.generic) else value
        plain = fspath(plain) if isinstance(plain, PathLike) else plain
        out[name] = list(plain) if isinstance(plain, tuple) else plain
    return out


def _release() -> str:
    try:
        return version("embedstore")
    except PackageNotFoundError:
        return "unknown"
