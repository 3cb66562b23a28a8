"""Proteins as graphs: of their atoms, or of their residues."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedstore.errors import InputError, MissingFileError
from heads.training.batches import Rows
from heads.training.tokens import N_CODES, Tokens, letters_of

Int64 = NDArray[np.int64]

_RESIDUES = re.compile(r"[A-Za-z*]+")
_PAIR = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


@dataclass(frozen=True, slots=True, eq=False)
class GraphBatch:
    """Graphs of n proteins, side by side and not joined.

    Attributes
    ----------
    nodes
        (V, F) float32.
    edges
        (2, E) int64, from and to; each bond or contact stands in both directions.
    edge_types
        (E,) int64.
    protein
        (V,) int64: which protein a node is of, ascending.
    n_proteins
        n.
    """

    nodes: torch.Tensor
    edges: torch.Tensor
    edge_types: torch.Tensor
    protein: torch.Tensor
    n_proteins: int

    def to(self, device: torch.device) -> GraphBatch:
        """The same on a device."""
        return GraphBatch(
            self.nodes.to(device),
            self.edges.to(device),
            self.edge_types.to(device),
            self.protein.to(device),
            self.n_proteins,
        )


class ResidueGraphs:
    """Residues as nodes; edges to those near along the chain, and to those that are said to touch.

    Parameters
    ----------
    n_nearest
        Along the chain, to each side.
    contacts
        Pairs of residues of each protein, (n, 2) int64 counted from 0, by its letters; None for no contacts.
    """

    def __init__(self, *, n_nearest: int, contacts: Mapping[str, Int64] | None = None) -> None:
        self._n_nearest, self._contacts = n_nearest, contacts
        offsets = [*range(-n_nearest, 0), *range(1, n_nearest + 1)]
        self.edge_features = np.eye(len(offsets) + 1, dtype=np.float32)
        """(types, types) float32: one for each distance along the chain, and one for a contact."""
        self.n_features = N_CODES - 1

    def __call__(self, tokens: Tokens, rows: Rows) -> GraphBatch:
        """The graphs of some rows."""
        lengths = tokens.lengths[rows]
        starts = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        protein = np.repeat(np.arange(len(rows)), lengths)
        place = np.arange(len(protein))
        pairs: list[Int64] = []
        types: list[Int64] = []
        for distance in range(1, self._n_nearest + 1):
            near = place[: max(0, len(place) - distance)]
            near = near[protein[near] == protein[near + distance]]
            both = np.concatenate([np.stack([near, near + distance]), np.stack([near + distance, near])], axis=1)
            pairs.append(both)
            types.append(np.repeat([self._n_nearest - distance, self._n_nearest + distance - 1], len(near)))
        if self._contacts is not None:
            for start, row in zip(starts[:-1], rows, strict=True):
                touching = self._of(tokens, int(row)).T + start
                pairs.append(np.concatenate([touching, touching[::-1]], axis=1))
                types.append(np.full(pairs[-1].shape[1], 2 * self._n_nearest))
        letters = tokens.joined(rows)
        return GraphBatch(
            torch.nn.functional.one_hot(torch.from_numpy(letters) - 1, self.n_features).float(),
            torch.from_numpy(np.concatenate([np.zeros((2, 0), np.int64), *pairs], axis=1)),
            torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *types])),
            torch.from_numpy(protein),
            n_proteins=len(rows),
        )

    def _of(self, tokens: Tokens, row: int) -> Int64:
        text = letters_of(tokens.codes[tokens.offsets[row] : tokens.offsets[row + 1]])
        contacts = (self._contacts or {}).get(text)
        if contacts is None:
            raise InputError(
                f"No contacts are given for a protein of {len(text)} residues ({text[:12]}...). Add a line for it to "
                "the file of contacts, empty if nothing touches."
            )
        return contacts


def read_contacts(path: str) -> dict[str, Int64]:
    """Read which residues touch: a line a protein, its letters, a tab, and pairs such as ``1-9 3-20``.

    Residues are counted from 1. A pair that is given twice, or turned around, is one contact.

    Raises
    ------
    MissingFileError
        If there is no such file.
    InputError
        For a line that is not of this form, a residue that the protein does not have, or a protein that is given
        again with other contacts.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingFileError(f"No file of contacts at {path}. Write one: letters, a tab, pairs such as `1-9 3-20`.")
    contacts: dict[str, Int64] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(file.read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        here = f"Line {number} of {path}"
        letters, tab, text = line.partition("\t")
        if not (tab and _RESIDUES.fullmatch(letters)):
            raise InputError(
                f"{here} begins with {line[:40]!r}; expected letters of residues, a tab, and pairs such as 1-9 3-20. "
                "Where nothing touches, end the line with the tab."
            )
        pairs = _pairs(text, len(letters), here)
        letters = letters.upper().replace("*", "X")
        if not np.array_equal(contacts.setdefault(letters, pairs), pairs):
            raise InputError(
                f"{here} gives other contacts than line {lines[letters]} for the same protein ({letters[:12]}...); "
                "expected one line a protein. Remove one."
            )
        lines.setdefault(letters, number)
    return contacts


def _pairs(text: str, n_residues: int, here: str) -> Int64:
    """Contacts of a line, each once and sorted, (n, 2) int64 from 0."""
    matches = [_PAIR.fullmatch(pair) for pair in text.split()]
    if None in matches:
        raise InputError(f"{here}: {text[:40]!r}; expected pairs such as 1-9 3-20.")
    pairs = np.array([match.groups() for match in matches if match is not None], np.int64).reshape(-1, 2) - 1
    if pairs.size and not (pairs.min() >= 0 and pairs.max() < n_residues):
        raise InputError(
            f"{here} names residue {int(pairs.max()) + 1} or 0 of a protein of {n_residues}; count from 1."
        )
    return np.unique(np.sort(pairs, axis=1), axis=0)
