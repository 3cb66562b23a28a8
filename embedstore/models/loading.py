"""Loading a model by catalog name or from a directory."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import cast

from embedstore.errors import InputError, MissingFileError, WeightsUnavailableError
from embedstore.models.base import Model, ModelSpec
from embedstore.models.catalog import FAMILIES, MODELS
from embedstore.registry import load_target, unknown_name


def load_model(
    name_or_path: str | PathLike[str],
    *,
    family: str | None = None,
    weights: str | PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Model:
    """Load a model by catalog name, or a checkpoint directory as a given family.

    No weights are read yet: the first :meth:`~embedstore.models.Model.embed` reads them.

    Parameters
    ----------
    name_or_path
        A name from :data:`embedstore.models.MODELS`, or, together with ``family``, a directory.
    family
        ``"t5"``, ``"bert"`` or ``"esm"``: how to read the directory. Never guessed from a name; the directory's
        ``config.json`` must agree.
    weights
        A directory that holds the named model's checkpoint, in place of the hub and its cache.
    device
        ``"auto"`` (CUDA if there is one, else CPU) or a torch device: ``"cpu"``, ``"cuda:1"``.
    precision
        ``"float32"``, ``"bfloat16"``, ``"float16"`` (GPU only) or ``"auto"``: on a CPU bfloat16 if it computes that
        natively and else float32, on a GPU float16.

    Raises
    ------
    UnknownNameError
        If there is no such model or family.
    InputError
        If the directory holds another kind of model, or the arguments do not go together.
    MissingFileError
        If the directory does not exist.
    WeightsUnavailableError
        If the checkpoint is neither on disk nor reachable.

    Examples
    --------
    >>> model = load_model("kmer")
    >>> model.embed([b"MKVLAT", b"W"]).shape
    (2, 1024)
    """
    if family is None:
        spec = _catalog_row(name_or_path)
        directory = None if weights is None else _existing_directory(weights)
        if directory is not None and spec.checkpoint is not None:
            _require_config(directory)
        target = load_target(spec.target)
        return cast(Model, target(spec, directory=directory, device=device, precision=precision))
    if weights is not None:
        raise InputError(
            "Both family= (--family) and weights= (--weights) are given. Pass a directory with the one, or a name with "
            "the other."
        )
    if family not in FAMILIES:
        raise unknown_name("model family", family, list(FAMILIES))
    directory = _existing_directory(name_or_path)
    _require_config(directory)
    target = load_target(FAMILIES[family])
    return cast(Model, target(target.spec_of(directory), directory=directory, device=device, precision=precision))


def _catalog_row(name: str | PathLike[str]) -> ModelSpec:
    if str(name) not in MODELS and Path(name).is_dir():
        raise InputError(
            f"{str(name)!r} is a directory and no catalog name. Say which family it is with family= (--family): "
            f"{', '.join(FAMILIES)}."
        )
    return MODELS[str(name)]


def _existing_directory(path: str | PathLike[str]) -> Path:
    directory = Path(path).absolute()
    if not directory.is_dir():
        raise MissingFileError(f"No directory at {directory}; expected one with a model checkpoint.")
    return directory


def _require_config(directory: Path) -> None:
    """Look before torch is imported, which takes seconds."""
    if not (directory / "config.json").is_file():
        raise WeightsUnavailableError(
            f"No config.json in {directory}; expected a checkpoint directory as transformers writes it. "
            "Pass the folder that `hf download` printed, or download the checkpoint again."
        )
