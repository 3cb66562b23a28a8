"""The graph of a protein's heavy atoms, put together from RDKit's graphs of single residues."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from heads.networks.graphs import GraphBatch, Int64
from heads.networks.optional import require_graph
from heads.training.batches import Rows
from heads.training.tokens import N_CODES, STANDARD, Tokens, letters_of

STAND_INS = {"B": "D", "J": "L", "O": "K", "U": "C", "X": "G", "Z": "E"}
"""Whose atoms stand for letters that are none of the 20: the nearest kin, and of an unknown residue the backbone."""

_ELEMENTS = ("C", "N", "O", "S")
_BONDS = ("SINGLE", "DOUBLE", "AROMATIC")
N_FEATURES = len(_ELEMENTS) + 5 + 5 + 3
N_BOND_TYPES = 4 * len(_BONDS)
PLACES = ("first", "inner", "last", "only")


class _Templates(NamedTuple):
    """Atoms and bonds of each letter at each place of a chain, end to end; entry ``place * 27 + code``."""

    nodes: NDArray[np.float32]
    node_starts: Int64
    n_nodes: Int64
    edges: Int64
    edge_types: Int64
    edge_starts: Int64
    n_edges: Int64
    nitrogen: Int64
    carbon: Int64


def atom_features(atom: Any) -> list[float]:
    """What is known of an atom: element, heavy neighbours, hydrogens, hybridisation, aromaticity, ring.

    As DGL-LifeSci's canonical features, less what no residue has (other elements, charges, radicals).
    """
    marks = [atom.GetSymbol() == symbol for symbol in _ELEMENTS]
    marks += [atom.GetDegree() == n for n in range(5)]
    marks += [atom.GetTotalNumHs() == n for n in range(5)]
    marks += [str(atom.GetHybridization()) == "SP2", atom.GetIsAromatic(), atom.IsInRing()]
    return [float(mark) for mark in marks]


def bond_type(bond: Any) -> int:
    """Number of a bond's kind: single, double or aromatic; conjugated; in a ring."""
    return 4 * _BONDS.index(str(bond.GetBondType())) + 2 * int(bond.GetIsConjugated()) + int(bond.IsInRing())


def bond_features() -> NDArray[np.float32]:
    """What each kind of bond is, (12, 5) float32: three indicators, conjugated, in a ring."""
    numbers = np.arange(N_BOND_TYPES)
    kinds = np.eye(len(_BONDS), dtype=np.float32)[numbers // 4]
    return np.concatenate([kinds, np.stack([numbers // 2 % 2, numbers % 2], axis=1)], axis=1).astype(np.float32)


class AtomGraphs:
    """Heavy atoms as nodes and bonds as edges: the graph of the SMILES that RDKit writes for a sequence.

    Residues are looked up and joined, without a loop over atoms: the same graph as RDKit's `MolFromSequence` gives.
    """

    n_features = N_FEATURES

    def __init__(self) -> None:
        self._templates = _read_templates()
        self.edge_features = bond_features()

    def __call__(self, tokens: Tokens, rows: Rows) -> GraphBatch:
        """The graphs of some rows."""
        templates = self._templates
        lengths = tokens.lengths[rows]
        ends = lengths.cumsum()
        place = np.ones(int(ends[-1]), np.int64)
        place[ends - lengths], place[ends - 1] = 0, 2
        place[(ends - 1)[lengths == 1]] = 3
        entry = place * N_CODES + tokens.joined(rows)
        n_nodes = templates.n_nodes[entry]
        starts = n_nodes.cumsum() - n_nodes
        nodes = templates.nodes[_spans(templates.node_starts[entry], n_nodes)]
        n_edges = templates.n_edges[entry]
        edges = _spans(templates.edge_starts[entry], n_edges)
        inner = templates.edges[:, edges] + np.repeat(starts, n_edges)
        # A peptide bond joins each residue but the last of a protein to the next.
        left = np.flatnonzero((place == 0) | (place == 1))
        carbon, nitrogen = starts + templates.carbon[entry], starts + templates.nitrogen[entry]
        peptide = np.stack([carbon[left], nitrogen[left + 1]])
        types = [templates.edge_types[edges], np.full(2 * len(left), _PEPTIDE)]
        return GraphBatch(
            torch.from_numpy(nodes),
            torch.from_numpy(np.concatenate([inner, peptide, peptide[::-1]], axis=1)),
            torch.from_numpy(np.concatenate(types)),
            torch.from_numpy(np.repeat(np.repeat(np.arange(len(rows)), lengths), n_nodes)),
            n_proteins=len(rows),
        )


_PEPTIDE = 2
"""Single, conjugated, in no ring."""


def _spans(starts: Int64, sizes: Int64) -> Int64:
    """Numbers ``start .. start + size - 1`` of each span, end to end."""
    before = sizes.cumsum() - sizes
    return np.arange(int(sizes.sum())) + np.repeat(starts - before, sizes)


@cache
def _read_templates() -> _Templates:
    chem = require_graph("rdkit.Chem")
    nodes: list[list[float]] = []
    edges: list[tuple[int, int, int]] = []
    table = np.zeros((6, len(PLACES) * N_CODES), np.int64)
    for place, (before, after) in enumerate((("", "G"), ("G", "G"), ("G", ""), ("", ""))):
        for code in range(1, N_CODES):
            letter = letters_of(np.array([code]))
            letter = letter if letter in STANDARD else STAND_INS[letter]
            molecule = chem.MolFromSequence(before + letter + after)
            atoms = {
                atom.GetIdx(): atom
                for atom in molecule.GetAtoms()
                if atom.GetPDBResidueInfo().GetResidueNumber() == len(before) + 1
            }
            local = {number: position for position, number in enumerate(atoms)}
            names = {atom.GetPDBResidueInfo().GetName().strip(): local[number] for number, atom in atoms.items()}
            own = [
                (local[bond.GetBeginAtomIdx()], local[bond.GetEndAtomIdx()], bond_type(bond))
                for bond in molecule.GetBonds()
                if bond.GetBeginAtomIdx() in local and bond.GetEndAtomIdx() in local
            ]
            both = own + [(to, from_, kind) for from_, to, kind in own]
            table[:, place * N_CODES + code] = (
                len(nodes), len(atoms), len(edges), len(both), names["N"], names["C"]
            )  # fmt: skip
            nodes += [atom_features(atom) for atom in atoms.values()]
            edges += both
    flat = np.array(edges, np.int64)
    node_starts, n_nodes, edge_starts, n_edges, nitrogen, carbon = table
    return _Templates(
        nodes=np.array(nodes, np.float32),
        node_starts=node_starts,
        n_nodes=n_nodes,
        edges=flat[:, :2].T,
        edge_types=flat[:, 2],
        edge_starts=edge_starts,
        n_edges=n_edges,
        nitrogen=nitrogen,
        carbon=carbon,
    )
