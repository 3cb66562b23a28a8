"""What a network may be told: each check names the parameter, what was given and what is expected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from embedstore.errors import InputError


def require_whole(*, least: int = 1, **given: object) -> None:
    """Refuse what is no whole number from `least` on.

    Raises
    ------
    InputError
        Naming the first.
    """
    _require(given, lambda value: _is_whole(value, least), f"a whole number from {least} on")


def require_sizes(*, empty: bool = False, **given: object) -> None:
    """Refuse what is no list or tuple of whole numbers from 1 on; one of nothing too, unless it may be `empty`.

    Raises
    ------
    InputError
        Naming the first.
    """

    def fits(value: Any) -> bool:
        return isinstance(value, list | tuple) and (empty or bool(value)) and all(_is_whole(one, 1) for one in value)

    _require(given, fits, f"a list of whole numbers from 1 on{', or none' if empty else ''}, such as [64, 32]")


def require_above_zero(*, most: float | None = None, **given: object) -> None:
    """Refuse what is no number above 0, or more than `most`.

    Raises
    ------
    InputError
        Naming the first.
    """
    limit = math.inf if most is None else most
    expected = "a number above 0" if most is None else f"a number above 0, at most {most:g}"
    _require(given, lambda value: _is_number(value) and 0 < value <= limit, expected)


def require_seconds(**given: object) -> None:
    """Refuse what is no number from 0 on.

    Raises
    ------
    InputError
        Naming the first.
    """
    _require(given, lambda value: _is_number(value) and value >= 0, "a number of seconds from 0 on")


def require_share(**given: object) -> None:
    """Refuse what is no number from 0 to below 1.

    Raises
    ------
    InputError
        Naming the first.
    """
    _require(given, lambda value: _is_number(value) and 0 <= value < 1, "a number from 0 to below 1")


def _require(given: Mapping[str, object], fits: Callable[[Any], bool], expected: str) -> None:
    for name, value in given.items():
        if not fits(value):
            raise InputError(f"{name} is {value!r}; expected {expected}.")


def _is_whole(value: Any, least: int) -> bool:
    # True is a whole number to Python, and none to who wrote it.
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return number and math.isfinite(value)
