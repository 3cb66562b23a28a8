"""Graphs of proteins are RDKit's, and those of residues what was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedstore.errors import InputError, MissingFileError, MissingPackageError
from heads.catalog import HEADS
from heads.networks import optional
from heads.networks.graphs import ResidueGraphs, read_contacts
from heads.training.tokens import STANDARD, encode_residues

ALL = np.arange(100)


def test_atom_graphs_are_those_of_rdkit_and_of_its_smiles() -> None:
    """Guard the joined templates: atoms, bonds and what is known of them, in chains and for one residue alone."""
    chem = pytest.importorskip("rdkit.Chem")
    from heads.networks.atoms import AtomGraphs, atom_features, bond_type

    texts = [STANDARD, STANDARD[::-1] + "PPWG", "M", "WP", *STANDARD]
    batch = AtomGraphs()(encode_residues(texts), ALL[: len(texts)])
    for number, text in enumerate(texts):
        here = np.flatnonzero(batch.protein.numpy() == number)
        molecule = chem.MolFromSequence(text)
        expected = np.array([atom_features(atom) for atom in molecule.GetAtoms()], np.float32)
        np.testing.assert_array_equal(batch.nodes.numpy()[here], expected)
        bonds = {
            (*ends, bond_type(bond))
            for bond in molecule.GetBonds()
            for ends in (
                (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()),
                (bond.GetEndAtomIdx(), bond.GetBeginAtomIdx()),
            )
        }
        edges, types = batch.edges.numpy(), batch.edge_types.numpy()
        own = np.isin(edges[0], here)
        found = {
            (*pair, kind) for *pair, kind in zip(*(edges[:, own] - here[0]).tolist(), types[own].tolist(), strict=True)
        }
        assert found == bonds
        smiles = chem.MolFromSmiles(chem.MolToSmiles(molecule))
        again = Counter(tuple(atom_features(atom)) for atom in smiles.GetAtoms())
        assert again == Counter(map(tuple, expected.tolist()))


def test_letters_that_are_no_residue_have_the_atoms_of_their_stand_in() -> None:
    pytest.importorskip("rdkit.Chem")
    from heads.networks.atoms import AtomGraphs

    found, expected = (AtomGraphs()(encode_residues([text]), ALL[:1]) for text in ("ABXZ*UJO", "ADGEGCLK"))
    np.testing.assert_array_equal(found.nodes, expected.nodes)
    np.testing.assert_array_equal(found.edges, expected.edges)


def test_residues_are_joined_to_those_near_and_to_no_other_protein() -> None:
    batch = ResidueGraphs(n_nearest=2)(encode_residues(["ACD", "M", "KL"]), ALL[:3])
    distance = {0: -2, 1: -1, 2: 1, 3: 2}
    found = {
        (a, b, distance[kind]) for (a, b), kind in zip(batch.edges.T.tolist(), batch.edge_types.tolist(), strict=True)
    }
    near = {(0, 1), (1, 2), (0, 2), (4, 5)}
    assert {(a, b) for a, b, _ in found} == near | {(b, a) for a, b in near}
    assert all(abs(kind) == abs(a - b) for a, b, kind in found)
    assert len({kind for a, b, kind in found if a < b}) == 2
    assert not {kind for a, b, kind in found if a < b} & {kind for a, b, kind in found if a > b}


@pytest.mark.parametrize(("texts", "n_nearest"), [(["GG"], 3), (["MKV"], 4), (["M"], 2), (["M", "KL"], 8)])
def test_a_protein_shorter_than_the_neighbourhood_is_a_graph(texts: list[str], n_nearest: int) -> None:
    """Guard distances beyond all residues of a batch: each residue is joined to all others of its protein."""
    batch = ResidueGraphs(n_nearest=n_nearest)(encode_residues(texts), ALL[: len(texts)])
    assert batch.edges.shape[1] == sum(len(text) * (len(text) - 1) for text in texts)
    assert len(batch.protein) == sum(map(len, texts))


def test_contacts_come_from_a_file_and_are_asked_for(tmp_path: Path, proteins: Callable[..., Any]) -> None:
    file = tmp_path / "contacts.tsv"
    file.write_text("ACDEF\t1-5 2-4\nMKV\t\n")
    contacts = read_contacts(str(file))
    batch = ResidueGraphs(n_nearest=1, contacts=contacts)(encode_residues(["MKV", "ACDEF"]), ALL[:2])
    touching = batch.edges[:, batch.edge_types == 2].T.tolist()
    assert sorted(touching) == [[3, 7], [4, 6], [6, 4], [7, 3]]
    with pytest.raises(InputError, match=r"No contacts are given for a protein of 2 residues \(MK"):
        ResidueGraphs(n_nearest=1, contacts=contacts)(encode_residues(["MK"]), ALL[:1])
    file.write_text("ACDEF\t1-6\n")
    with pytest.raises(InputError, match=r"Line 1 of .* names residue 6 or 0 of a protein of 5"):
        read_contacts(str(file))
    file.write_text("ACDEF\tone\n")
    with pytest.raises(InputError, match=r"Line 1 of .*expected pairs such as 1-9"):
        read_contacts(str(file))
    with pytest.raises(MissingFileError, match="No file of contacts"):
        read_contacts(str(tmp_path / "nothing"))
    X, y = proteins(8)
    with pytest.raises(InputError, match="contacts are given and graph is 'atoms'"):
        HEADS.load("gcn")(contacts=str(file)).fit(X, y)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ACDEF\t1-5\nMKV 1-3\n", r"Line 2 of .* begins with 'MKV 1-3'; expected letters of residues, a tab"),
        ("MKV\n", r"Line 1 of .* begins with 'MKV'; expected .*end the line with the tab"),
        ("MK-V\t1-3\n", r"Line 1 of .* begins with 'MK-V\\t1-3'; expected letters of residues"),
        ("\t1-3\n", r"Line 1 of .* begins with '\\t1-3'; expected letters of residues"),
        ("ACDEF\t1 5\n", r"Line 1 of .*: '1 5'; expected pairs such as 1-9"),
        ("ACDEF\t1-5\nMKV\t\nacdef\t\n", r"Line 3 of .* other contacts than line 1 for the same protein \(ACDEF"),
    ],
)
def test_a_file_of_contacts_that_is_of_another_form_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """Guard against a protein that would have no contacts, or those of another line, without a word."""
    file = tmp_path / "contacts.tsv"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_contacts(str(file))


def test_a_contact_that_is_given_twice_is_one(tmp_path: Path) -> None:
    file = tmp_path / "contacts.tsv"
    file.write_text("MKLV\t2-4 1-2 2-1\nMK*V\t\nmklv\t1-2 4-2\n")
    found = {letters: pairs.tolist() for letters, pairs in read_contacts(str(file)).items()}
    assert found == {"MKLV": [[0, 1], [1, 3]], "MKXV": []}


def test_atom_graphs_tell_families_apart(proteins: Callable[..., Any]) -> None:
    """Guard the paper's own graph, end to end; chance is a half."""
    pytest.importorskip("rdkit.Chem")
    params = {**HEADS["gcn"].small, "graph": "atoms", "hidden": 16, "epochs": 15, "batch_size": 8}
    head = HEADS.load("gcn")(**params).fit(*proteins(48, n_families=2), *proteins(16, seed=1, n_families=2))
    X, y = proteins(20, seed=2, n_families=2)
    assert (head.predict(X) == y).mean() >= 0.8


@pytest.mark.parametrize("name", ["gcn", "gat", "mpnn", "neural_fp", "attentive_fp", "graph_transformer"])
def test_a_graph_of_atoms_does_not_depend_on_its_batch(name: str, proteins: Callable[..., Any]) -> None:
    pytest.importorskip("rdkit.Chem")
    params = {**HEADS[name].small, "graph": "atoms", "hidden": 8, "epochs": 1}
    head = HEADS.load(name)(**params).fit(*proteins(8))
    X = [*proteins(3, seed=1).X, "M"]
    whole = head.predict_proba(X)
    alone = np.concatenate([head.predict_proba([text]) for text in X[::-1]])[::-1]
    np.testing.assert_allclose(alone, whole, rtol=1e-4, atol=1e-5)


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module.partition(".")[0])

    monkeypatch.setattr(optional, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"need the package rdkit.*pip install 'embedstore\[graph\]'"):
        optional.require_graph("rdkit.Chem")
