"""Where a head's rows come from: a space of vectors, or the sequences themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from embedstore.store.spaces import ResidueSpace, Space

SEQUENCES = "sequences"
"""What stands for the space of a head that reads sequences; no space has such a name, which ends with a hash."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """In place of a space, for heads that read sequences: nothing has to be built first."""

    @property
    def id(self) -> str:
        """`SEQUENCES`."""
        return SEQUENCES

    @property
    def identity(self) -> Mapping[str, Any]:
        """Nothing decides residues but the residues."""
        return {}


Source: TypeAlias = Space | ResidueSpace | Sequences
"""What gives a head its rows."""
