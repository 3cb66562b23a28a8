"""Folders of fine-tuned models: a manifest, and an adapter on a verified base, or full weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

from embedstore.catalog import load_target
from embedstore.errors import (
    FileFormatError,
    InputError,
    SpaceMismatchError,
    StoreVersionError,
    WeightsUnavailableError,
)
from embedstore.models.base import Model
from embedstore.models.catalog import FAMILIES, MODELS

FINETUNED_FILE = "finetuned.json"
"""The manifest of a folder that `heads finetune` wrote."""

FORMAT_VERSION = 1

HOLDINGS = ("base", "adapter", "full")
"""What a folder holds of the encoder: nothing, since it was frozen; an adapter; all its weights."""

_VERIFIED = ("weights_sha256", "config_sha256", "tokens_sha256")
_OF_SPEC = ("max_residues", "window_residues", "half_precision", "licence", "citation")


class LoadModel(Protocol):
    """`embedstore.models.load_model`, which calls :func:`load_finetuned` and is called by it for the base."""

    def __call__(
        self,
        name_or_path: str,
        *,
        family: str | None = ...,
        weights: Path | str | None = ...,
        device: str = ...,
        precision: str = ...,
        layer: int | None = ...,
    ) -> Model:
        """Load a model."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What ``finetuned.json`` says.

    Attributes
    ----------
    name
        What the model is called.
    family
        How its checkpoint is read, a name in `embedstore.models.catalog.FAMILIES`.
    method
        How it was trained.
    holds
        One of `HOLDINGS`.
    layer
        The states are taken after this layer.
    base
        The model that it was trained from: ``name_or_path`` and ``weights`` as it was loaded, and its identity.
    spec
        What the base's catalog row says of lengths, precision, letters and licence.
    files
        SHA-256 of each file of weights, by name.
    """

    name: str
    family: str
    method: str
    holds: str
    layer: int
    base: dict[str, Any]
    spec: dict[str, Any]
    files: dict[str, str]

    def write(self, directory: Path) -> None:
        """Write it into a folder."""
        text = json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=2)
        (directory / FINETUNED_FILE).write_text(text + "\n", encoding="utf-8")


def base_of(model: Model) -> dict[str, Any]:
    """What a manifest keeps of the model that is trained from."""
    options = model.load_options or {}
    return {"name_or_path": options.get("name_or_path"), "weights": options.get("weights"), **model.identity()}


def spec_fields(model: Any) -> dict[str, Any]:
    """What a manifest keeps of the catalog row of an encoder model."""
    return {**{name: getattr(model.spec, name) for name in _OF_SPEC}, "unknown_to_x": model.spec.unknown_to_x.decode()}


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a folder.

    Raises
    ------
    FileFormatError
        If it is not one.
    StoreVersionError
        If a newer release wrote it.
    """
    path = directory / FINETUNED_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = int(record.pop("format_version"))
        if version > FORMAT_VERSION:
            raise StoreVersionError(
                f"The fine-tuned model at {directory} has format {version}; this release reads up to {FORMAT_VERSION}. "
                "Upgrade: `pip install -U embedstore`."
            )
        manifest = Manifest(**record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{path} is not what was written: {error}. Fine-tune the model again.") from error
    if manifest.holds not in HOLDINGS or manifest.family not in FAMILIES:
        raise FileFormatError(
            f"{path} says holds {manifest.holds!r} and family {manifest.family!r}; expected one of "
            f"{', '.join(HOLDINGS)} and one of {', '.join(FAMILIES)}. Fine-tune the model again."
        )
    return manifest


def load_finetuned(
    directory: Path,
    load_base: LoadModel,
    *,
    family: str | None,
    weights: Path | None,
    device: str,
    precision: str,
    layer: int | None = None,
) -> Model:
    """The model of a folder; called by :func:`embedstore.models.load_model`.

    Parameters
    ----------
    directory
        The folder.
    load_base
        `load_model`.
    family
        Checked to be the manifest's, where given.
    weights
        Where the base's checkpoint is, if neither the catalog nor the place that it was trained from has it.
    device, precision
        As `load_model` takes them.
    layer
        Checked to be the manifest's, where given.

    Raises
    ------
    InputError
        For another family or layer than the manifest's, or a base for a folder that needs none.
    SpaceMismatchError
        If the base is not the one that it was trained from.
    WeightsUnavailableError
        If files are missing or changed, or the base is nowhere to be had.
    """
    manifest = read_manifest(directory)
    for what, requested, recorded in (("family", family, manifest.family), ("layer", layer, manifest.layer)):
        if requested not in (None, recorded):
            raise InputError(
                f"{what} is {requested!r}, and the fine-tuned model at {directory} has {what} {recorded!r}. "
                f"Leave {what}= (--{what}) out."
            )
    _check_files(directory, manifest)
    options = {"device": device, "precision": precision, "layer": manifest.layer}
    if manifest.holds == "full":
        if weights is not None:
            raise InputError(
                f"The fine-tuned model at {directory} holds all its weights and needs no base. Leave weights= "
                "(--weights) out."
            )
        return _full(directory, manifest, options)
    model = _base(directory, manifest, load_base, weights, options)
    if manifest.holds == "adapter":
        from embedstore.models.adapters import read_adapter
        from embedstore.models.encoder_model import EncoderModel

        encoder_model = cast(EncoderModel, model)
        encoder_model.adapter = read_adapter(directory)
        encoder_model.name = manifest.name
    return model


def _full(directory: Path, manifest: Manifest, options: dict[str, Any]) -> Model:
    target = load_target(FAMILIES[manifest.family])
    letters = str(manifest.spec["unknown_to_x"]).encode()
    fields = {name: manifest.spec[name] for name in _OF_SPEC} | {"unknown_to_x": letters}
    spec = replace(target.spec_of(directory, name=manifest.name), **fields)
    return cast(Model, target(spec, directory=directory, **options))


def _base(
    directory: Path, manifest: Manifest, load_base: LoadModel, weights: Path | None, options: dict[str, Any]
) -> Model:
    base = manifest.base
    name, base_directory = str(base["name_or_path"]), weights or base["weights"]
    if name in MODELS:
        usable = base_directory if base_directory is not None and Path(base_directory).is_dir() else None
        model = load_base(name, weights=weights or usable, **options)
    else:
        place = str(weights or name)
        if weights is None and not Path(place).is_dir() and Path(place).is_absolute():
            raise WeightsUnavailableError(
                f"The fine-tuned model at {directory} was trained from a checkpoint at {place}, which is gone. Say "
                "where it is now (weights=, --weights)."
            )
        model = load_base(place, family=manifest.family, **options)
    identity = model.identity()
    differing = [key for key in _VERIFIED if identity.get(key) != base.get(key)]
    if differing:
        key = differing[0]
        raise SpaceMismatchError(
            f"The fine-tuned model at {directory} was trained from {base['model']!r} with {key} {base.get(key)}; the "
            f"checkpoint that was found has {identity.get(key)}. Pass the right base (weights=, --weights)."
        )
    return model


def _check_files(directory: Path, manifest: Manifest) -> None:
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.is_file() or sha256_of(path) != expected:
            raise WeightsUnavailableError(
                f"{path} is missing or not the file that {FINETUNED_FILE} names. Copy the folder again, or fine-tune "
                "the model again."
            )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
