"""Matching entries of a file to proteins of a data set by their exact ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import InputError
from embedstore.store import Dataset
from embedstore.types import Digests

RULES = ("exact", "accession")
"""``exact``: an id is an id. ``accession``: an id ``sp|P69905|HBA_HUMAN`` of the data set is also ``P69905``."""

UNKNOWN_ID = "its id is not in the data set"
SEVERAL_SEQUENCES = "its id stands for several sequences of the data set"

_UNIPROT = re.compile(r"(?:sp|tr)\|([A-Z0-9-]+)\|[^|]*")
"""UniProt's FASTA header: https://www.uniprot.org/help/fasta-headers."""


class IdMatcher:
    """Ids of a data set, each with the protein that it stands for.

    Parameters
    ----------
    dataset
        Whose ids count.
    rule
        One of `RULES`.

    Attributes
    ----------
    keys
        Distinct keys of the data set, (N, 24) uint8; proteins are numbered by it.
    """

    def __init__(self, dataset: Dataset, rule: str = "exact") -> None:
        if rule not in RULES:
            raise InputError(f"Unknown rule {rule!r} for matching ids. Known: {', '.join(RULES)}.")
        self.keys, numbers = _unique_keys(dataset.digests)
        ids = dataset.ids()
        self._numbers = _unique_numbers(zip(ids, numbers.tolist(), strict=True))
        self._accessions = _unique_numbers(_accessions(ids, numbers.tolist())) if rule == "accession" else {}
        self._rule = rule

    def find(self, names: Sequence[str]) -> tuple[int, str]:
        """Number of the protein that has the first of these names that fits; -1 and the reason if there is none."""
        for name in names:
            for table in (self._numbers, self._accessions):
                number = table.get(name)
                if number is not None:
                    return number, "" if number >= 0 else SEVERAL_SEQUENCES
        return -1, UNKNOWN_ID

    def hint(self, names: Iterable[str]) -> str:
        """What to try where nothing matched, for the end of a message."""
        examples = ", ".join(repr(name) for name in list(self._numbers)[:3])
        hint = f"The ids of the data set look like {examples}."
        accessions = _unique_numbers(_accessions(list(self._numbers), [0] * len(self._numbers)))
        if self._rule == "exact" and any(name in accessions for name in names):
            hint += " Those of the file are their UniProt accessions: pass match='accession' (--match accession)."
        return hint


def _unique_keys(digests: Digests) -> tuple[Digests, NDArray[np.int64]]:
    """Distinct keys, and the number of each row's among them."""
    width = digests.shape[1]
    rows = np.ascontiguousarray(digests).view(f"V{width}").ravel()
    keys, numbers = np.unique(rows, return_inverse=True)
    return keys.view(np.uint8).reshape(-1, width), numbers.astype(np.int64)


def _accessions(ids: Sequence[str], numbers: Sequence[int]) -> Iterable[tuple[str, int]]:
    for id_, number in zip(ids, numbers, strict=True):
        if match := _UNIPROT.fullmatch(id_):
            yield match[1], number


def _unique_numbers(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Number by name; -1 where a name comes with several numbers."""
    table: dict[str, int] = {}
    for name, number in pairs:
        if table.setdefault(name, number) != number:
            table[name] = -1
    return table
