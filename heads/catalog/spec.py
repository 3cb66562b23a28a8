"""A row of the head catalog."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """A row of the head catalog.

    Attributes
    ----------
    name
        What the head is called on the command line and in a saved head.
    target
        ``"module:Class"`` of a `heads.base.Head`.
    target_types
        What it predicts: some of `heads.tasks.targets.KINDS`.
    inputs
        What its rows may be: some of `heads.tasks.data.INPUTS`.
    reads
        ``"vectors"`` of a space, ``"sequences"``, or ``"both"``.
    small
        Arguments for a quick trial on a laptop, a few hundred proteins in seconds, where the defaults are made for
        large data: ``HEADS.load(name)(**row.small)``.
    summary
        One line for a list.
    citation
        Where the method was published.
    """

    name: str
    target: str
    target_types: tuple[str, ...] = ("class",)
    inputs: tuple[str, ...] = ("protein", "residue", "pair")
    reads: str = "vectors"
    small: Mapping[str, Any] = field(default_factory=dict)
    summary: str
    citation: str
