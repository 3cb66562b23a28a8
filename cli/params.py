"""``--param name=value``: settings of a head from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from embedstore.errors import InputError


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
