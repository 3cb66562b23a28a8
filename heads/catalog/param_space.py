"""What a search may try for an argument of a head: declared on the head, read by whatever searches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatRange:
    """Any number from `low` to `high`; on a logarithmic scale where `log`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IntRange:
    """Any whole number from `low` to `high`; on a logarithmic scale where `log`."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values, such as JSON can hold."""

    options: tuple[Any, ...]


Range: TypeAlias = FloatRange | IntRange | Choice

EpochCallback: TypeAlias = Callable[[int, float], None]
"""Called with the number of epochs done and the validation loss."""
