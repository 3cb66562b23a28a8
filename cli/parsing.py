"""``name=value`` from the command line: settings of a head, what to choose by, and amounts of memory."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embedstore.errors import InputError, MissingFileError


def parse_params(texts: Sequence[str]) -> dict[str, Any]:
    """Names and values; a value that reads as JSON (a number, true, null) is that, anything else is text.

    >>> parse_params(["k=5", "metric=cosine"])
    {'k': 5, 'metric': 'cosine'}
    """
    params: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InputError(f"--param {text!r} is not of the form name=value, such as --param k=5.")
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value
    return params


def parse_head_params(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings of several heads, ``head.name=value``.

    >>> parse_head_params(["knn.k=5", "mlp.epochs=3"])
    {'knn': {'k': 5}, 'mlp': {'epochs': 3}}
    """
    params: dict[str, dict[str, Any]] = {}
    for text in texts:
        head, dot, rest = text.partition(".")
        if not dot or "=" in head:
            raise InputError(f"--param {text!r} is not of the form head.name=value, such as --param knn.k=5.")
        params.setdefault(head, {}).update(parse_params([rest]))
    return params


def parse_numbers(text: str, *, option: str) -> list[float]:
    """Numbers that commas part.

    >>> parse_numbers("0.1,0.3,1", option="--curve"), parse_numbers("", option="--curve")
    ([0.1, 0.3, 1.0], [])
    """
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"{option} is {text!r}; expected numbers with commas between them.") from None


def parse_where(texts: Sequence[str], ids: Path | None = None) -> dict[str, list[str]] | None:
    """Names and their values, and the ids of a file, one a line; None where nothing was given.

    >>> parse_where(["split=train", "split=dev", "taxon=9606"])
    {'split': ['train', 'dev'], 'taxon': ['9606']}
    """
    where: dict[str, list[str]] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise InputError(f"--where {text!r} is not of the form name=value, such as --where split=train.")
        where.setdefault(name, []).append(value)
    if ids is not None:
        if not ids.is_file():
            raise MissingFileError(f"There is no file {ids} with ids, one a line.")
        lines = ids.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        where.setdefault("id", []).extend(line for line in lines if line)
    return where or None


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_bytes(text: str) -> int:
    """Bytes of an amount of memory.

    >>> parse_bytes("1.5GB"), parse_bytes("512M"), parse_bytes("4096")
    (1500000000, 512000000, 4096)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    if not match:
        raise InputError(f"{text!r} is no amount of memory. Give a number and a unit: 512MB, 4GB.")
    return round(float(match[1]) * _UNITS[match[2]])
