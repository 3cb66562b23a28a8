"""Folders of ``.pt`` files as fair-esm's ``scripts/extract.py`` writes them: one a protein.

Each is a dict with ``label`` (the whole FASTA header) and, by layer, ``mean_representations`` (D,),
``representations`` (L, D) or ``bos_representations`` (D,). Source: github.com/facebookresearch/esm.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from embedstore.errors import FileFormatError, InputError
from embedstore.exchange.readers.base import Item, SourceOptions, as_array, unreadable

KEYS = {"mean": "mean_representations", "residues": "representations", "bos": "bos_representations"}
"""What extract.py writes, by the pooling that it is."""

TRUNCATED_AT = 1022
"""extract.py truncates longer proteins to this many residues by default, without a note in the file."""


def open_esm(path: Path, format: str, options: SourceOptions) -> EsmSource:  # noqa: A002
    """Open a folder of ``.pt`` files, or one of them.

    Raises
    ------
    FileFormatError
        If there is none, or the first is not what extract.py writes.
    InputError
        If the files hold several kinds or layers, and ``options`` does not choose.
    """
    # Labels with a slash made subfolders.
    files = sorted(path.rglob("*.pt")) if path.is_dir() else [path]
    if not files:
        raise FileFormatError(f"{path} holds no .pt files; expected what fair-esm's extract.py writes. Check the path.")
    first = _load(files[0])
    poolings = [pooling for pooling, key in KEYS.items() if first.get(key)]
    pooling = _choose("pooling", options.pooling, poolings, path)
    layer = _choose("layer", options.layer, sorted(first[KEYS[pooling]]), path)
    return EsmSource(path, format, files, pooling, layer)


def _choose(what: str, requested: Any, available: list[Any], path: Path) -> Any:
    listed = ", ".join(map(str, available)) or "none"
    if requested is None and len(available) == 1:
        return available[0]
    if requested not in available:
        problem = f"has no {what} {requested!r}" if requested is not None else f"has more than one {what}"
        raise InputError(f"{path} {problem}; it has {listed}. Choose one: {what}= (--{what}).")
    return requested


class EsmSource:
    """Files of one kind and layer; ids are the labels inside, or their first word, as of any FASTA header."""

    def __init__(self, root: Path, format: str, files: list[Path], pooling: str, layer: int) -> None:  # noqa: A002
        self.root = root
        self.format = format
        self.files = files
        self.pooling: str | None = pooling
        self.layer: int | None = layer
        self.n_items: int | None = len(files)
        # A matrix shows by its rows that it was cut; a mean does not.
        self.cut_at: int | None = TRUNCATED_AT if pooling == "mean" else None

    def __iter__(self) -> Iterator[Item]:
        """Stream the files in the order of their paths."""
        for file in self.files:
            document = _load(file)
            label = str(document["label"])
            names = tuple(dict.fromkeys([label, *label.split()[:1]]))
            tensor = (document.get(KEYS[str(self.pooling)]) or {}).get(self.layer)
            if isinstance(tensor, torch.Tensor):
                yield Item(names=names, read=partial(_numbers, tensor))
            else:
                problem = f"has no {self.pooling} of layer {self.layer} in {file.name}"
                yield Item(names=names, read=unreadable(problem), problem=problem)


def _numbers(tensor: torch.Tensor) -> Any:
    # NumPy has no bfloat16; float32 holds each of its values.
    return as_array((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy())


def _load(file: Path) -> dict[str, Any]:
    """The document of a file, with nothing in it executed."""
    try:
        document = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FileFormatError(
            f"{file} holds more than tensors and plain values, which could run code when loaded: it is refused. "
            "Expected what fair-esm's extract.py writes."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise FileFormatError(
            f"{file} cannot be read as a .pt file ({why}). It may be cut short: make or get it again."
        ) from error
    if not isinstance(document, dict) or "label" not in document or not set(KEYS.values()) & set(document):
        raise FileFormatError(
            f"{file} is not what fair-esm's extract.py writes; expected a dict with 'label' and one of "
            f"{', '.join(KEYS.values())}."
        )
    return document
