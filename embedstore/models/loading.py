"""Loading a model by catalog name, from a directory or from the hub."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any, cast

from embedstore.catalog import load_target, suggest_arguments, unknown_name
from embedstore.errors import InputError, MissingFileError, WeightsUnavailableError
from embedstore.models.base import Model, ModelSpec
from embedstore.models.catalog import FAMILIES, MODELS
from embedstore.models.finetuned import FINETUNED_FILE, load_finetuned
from embedstore.models.hub import fetch_checkpoint

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@suggest_arguments
def load_model(
    name_or_path: str | PathLike[str],
    *,
    family: str | None = None,
    weights: str | PathLike[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    layer: int | None = None,
) -> Model:
    """Load a model by catalog name, or a checkpoint from elsewhere as a given family.

    No weights are read yet: the first :meth:`~embedstore.models.Model.embed` reads them.

    Parameters
    ----------
    name_or_path
        A name from :data:`embedstore.models.MODELS`; or, together with ``family``, a directory or the id of a
        repository on the hub, such as ``"facebook/esm2_t6_8M_UR50D"``. Or the folder of a fine-tuned model, which says
        its family itself.
    family
        How to read the checkpoint, a name in :data:`embedstore.models.catalog.FAMILIES`. Never guessed from a name;
        the checkpoint's ``config.json`` must agree.
    weights
        A directory that holds the named model's checkpoint, or the base of a fine-tuned one, in place of the hub and
        its cache.
    device
        ``"auto"`` (CUDA if there is one, else CPU) or a torch device: ``"cpu"``, ``"cuda:1"``.
    precision
        ``"float32"``, ``"bfloat16"``, ``"float16"`` (GPU only) or ``"auto"``: on a CPU bfloat16 if it computes that
        natively and else float32, on a GPU what the model's card allows.
    layer
        Take the states after this layer, counted from 1; 0 is what enters the first, negative numbers count from the
        end. By default the last, after its final normalisation.

    Raises
    ------
    UnknownNameError
        If there is no such model or family.
    InputError
        If the checkpoint holds another kind of model, there is no such layer, or the arguments do not go together.
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
    options: dict[str, Any] = {"device": device, "precision": precision}
    if layer is not None:
        options["layer"] = layer
    if str(name_or_path) not in MODELS and (Path(name_or_path) / FINETUNED_FILE).is_file():
        folder = Path(name_or_path).absolute()
        directory = None if weights is None else _existing_directory(weights)
        model = load_finetuned(folder, load_model, family=family, weights=directory, **options)
        source = {"name_or_path": str(folder), "weights": None if directory is None else str(directory)}
    elif family is None:
        spec = _catalog_row(name_or_path)
        directory = None if weights is None else _existing_directory(weights)
        if directory is not None and spec.checkpoint is not None:
            _require_config(directory)
        model = cast(Model, load_target(spec.target)(spec, directory=directory, **options))
        source = {"name_or_path": spec.name, "weights": None if directory is None else str(directory)}
    else:
        if weights is not None:
            raise InputError(
                "Both family= (--family) and weights= (--weights) are given. Pass a directory with the one, or a name "
                "with the other."
            )
        if family not in FAMILIES:
            raise unknown_name("model family", family, list(FAMILIES))
        model, name = _from_elsewhere(name_or_path, family, options)
        source = {"name_or_path": name, "family": family}
    # As resolved: "auto" may mean something else on another machine.
    resolved = {"precision": getattr(model, "precision", precision), "layer": getattr(model, "layer", layer)}
    model.load_options = {name: value for name, value in {**source, **resolved}.items() if value is not None}
    return model


def _from_elsewhere(name_or_path: str | PathLike[str], family: str, options: dict[str, Any]) -> tuple[Model, str]:
    """A model that is in no catalog, and the name or path that it was found under."""
    text = str(name_or_path)
    if _is_hub_id(text):
        directory, name, repository = fetch_checkpoint(text).directory, text.partition("/")[2], text
    else:
        directory = _existing_directory(name_or_path)
        _require_config(directory)
        name, text, repository = directory.name, str(directory), None
    target = load_target(FAMILIES[family])
    spec = target.spec_of(directory, name=name, checkpoint=repository)
    return cast(Model, target(spec, directory=directory, **options)), text


def _is_hub_id(name: str) -> bool:
    """Whether a name is owner/repository; a directory of that name goes first."""
    return _HUB_ID.fullmatch(name) is not None and not Path(name).is_dir()


def _catalog_row(name_or_path: str | PathLike[str]) -> ModelSpec:
    name = str(name_or_path)
    if name not in MODELS:
        families = f"Say which family it is with family= (--family): {', '.join(FAMILIES)}."
        if Path(name).is_dir():
            raise InputError(f"{name!r} is a directory and no catalog name. {families}")
        if _is_hub_id(name):
            known = [row.name for row in MODELS.values() if row.checkpoint == name]
            hint = f"It is the checkpoint of model {known[0]!r}: pass that name." if known else families
            raise InputError(f"{name!r} is no catalog name but a repository of the hub or a missing directory. {hint}")
    return MODELS[name]


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
