"""Poolings: from one vector a residue to one vector a protein."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from embedstore.registry import unknown_name


class ResidueStates(Protocol):
    """(L, D) float32, residues only: a numpy array or a torch tensor, wherever it lives."""

    def mean(self, axis: int, /) -> Any:
        """The mean over an axis."""
        ...


Pooling: TypeAlias = Callable[[ResidueStates], Any]
"""(L, D) float32 -> (D,) float32, of the same kind and on the same device."""


def mean(states: ResidueStates) -> Any:
    """The mean over residues.

    The caller hands over float32 rows of residues alone: no CLS, SEP, EOS or padding.

    >>> import numpy as np
    >>> mean(np.array([[0.0, 2.0], [4.0, 4.0]], dtype=np.float32))
    array([2., 3.], dtype=float32)
    """
    return states.mean(0)


POOLINGS: dict[str, Pooling] = {"mean": mean}
"""Every pooling by name; a new one is a function above and a row here."""


def find_pooling(name: str) -> Pooling:
    """The pooling called ``name``.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    if name not in POOLINGS:
        raise unknown_name("pooling", name, POOLINGS)
    return POOLINGS[name]
