"""Poolings: from one vector a residue to one vector a protein."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from embedstore.catalog import unknown_name
from embedstore.errors import InputError


class ResidueStates(Protocol):
    """(L, D) float32: a numpy array or a torch tensor, wherever it lives."""

    def __len__(self) -> int:
        """L."""
        ...

    def __getitem__(self, row: int, /) -> Any:
        """One row."""
        ...

    def mean(self, axis: int, /) -> Any:
        """The mean over an axis."""
        ...

    def max(self, axis: int, /) -> Any:
        """The maximum over an axis; torch gives indices beside it."""
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


def maximum(states: ResidueStates) -> Any:
    """The largest value of each dimension over residues, which the caller hands over as for :func:`mean`.

    >>> import numpy as np
    >>> maximum(np.array([[0.0, 4.0], [2.0, -1.0]], dtype=np.float32))
    array([2., 4.], dtype=float32)
    """
    # What numpy calls max is amax in torch, whose own max gives a pair.
    return getattr(states, "amax", states.max)(0)


def first(states: ResidueStates) -> Any:
    """The state of the special token before the residues (CLS), which the caller hands over as (1, D).

    It is no function of the residues' states: of a long protein that was embedded in windows, each window has its own,
    and who joins the windows averages them.

    Raises
    ------
    InputError
        For more rows than one: those would be residues.

    >>> import numpy as np
    >>> first(np.array([[0.5, 2.0]], dtype=np.float32))
    array([0.5, 2. ], dtype=float32)
    """
    if len(states) != 1:
        raise InputError(
            f"Pooling 'first' got {len(states)} rows; expected one, the state of the special token before the "
            "residues. Ask the model for it: embed_each(sequences, ['first'])."
        )
    return states[0]


POOLINGS: dict[str, Pooling] = {"mean": mean, "max": maximum, "first": first}
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
