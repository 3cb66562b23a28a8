"""The convolutional head: packed proteins are convolved as padded ones are, and neighbours matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from embedstore.errors import InputError
from heads.base import Head
from heads.features.base import ArrayFeatures
from heads.testing.head_contract import HeadContract
from heads.vectors.cnn import ConvolutionHead
from heads.vectors.packed_conv import convolve, only_residues, pack


@dataclass(frozen=True, slots=True, eq=False)
class WholeProteins(ArrayFeatures):
    """Proteins of 9 rows each, in memory."""

    @property
    def offsets(self) -> NDArray[np.int64]:  # type: ignore[override]
        return np.arange(0, len(self.vectors) + 1, 9)

    def batches(self, n_rows: int, *, seed: int):
        per_batch = max(1, n_rows // 9)
        order = np.random.default_rng(seed).permutation(len(self.vectors) // 9)
        for start in range(0, len(order), per_batch):
            chosen = np.sort(order[start : start + per_batch])
            rows = (chosen[:, None] * 9 + np.arange(9)).ravel()
            yield rows, self.vectors[rows]


def _neighbours(n_proteins: int, seed: int) -> tuple[WholeProteins, NDArray[np.str_]]:
    """Each residue's label is the letter three places before it in its protein; none at its start."""
    rng = np.random.default_rng(seed)
    letters = rng.integers(0, 3, (n_proteins, 9))
    y = np.full((n_proteins, 9), "", dtype="<U1")
    y[:, 3:] = np.array(["a", "b", "c"])[letters[:, :-3]]
    X = np.eye(3, 8)[letters.ravel()] + 0.1 * rng.normal(size=(n_proteins * 9, 8))
    return WholeProteins(X.astype(np.float32)), y.ravel()


def test_packed_proteins_give_what_a_padded_convolution_gives() -> None:
    rng = np.random.default_rng(0)
    lengths = [5, 1, 12, 3]
    proteins = [rng.normal(size=(n, 6)).astype(np.float32) for n in lengths]
    first = torch.nn.Conv1d(6, 4, 7, padding=3)
    second = torch.nn.Conv1d(4, 3, 7, padding=3)
    starts = np.cumsum([0, *lengths[:-1]])
    with torch.inference_mode():
        packed = pack(np.concatenate(proteins), starts, 3)
        hidden = torch.relu(convolve(packed.values, first.weight.permute(2, 1, 0), first.bias))
        found = convolve(only_residues(hidden, packed.places), second.weight.permute(2, 1, 0), second.bias)
        expected = [second(torch.relu(first(torch.from_numpy(one.T)[None])))[0].T for one in proteins]
    np.testing.assert_allclose(found[packed.places], torch.cat(expected), atol=1e-5)


def test_what_stands_beside_a_residue_is_learned_and_no_other_protein_is_seen() -> None:
    X, y = _neighbours(200, 1)
    head = ConvolutionHead(max_epochs=15).fit(X, y, *_neighbours(30, 2))
    test, true = _neighbours(60, 3)
    known = true != ""
    assert (head.predict(test)[known] == true[known]).mean() > 0.97
    alone = np.concatenate([head.predict_proba(WholeProteins(test.vectors[at : at + 9])) for at in range(0, 90, 9)])
    np.testing.assert_allclose(alone, head.predict_proba(test)[:90], atol=1e-5)


def test_balanced_classes_find_the_rare_one() -> None:
    rng = np.random.default_rng(4)
    y = np.where(rng.random(1800) < 0.05, "rare", "often")
    X = WholeProteins((rng.normal(size=(1800, 4)) + 0.8 * (y == "rare")[:, None]).astype(np.float32))
    found = {rule: ConvolutionHead(class_weight=rule, max_epochs=3).fit(X, y).predict(X) for rule in (None, "balanced")}
    assert (found["balanced"] == "rare").sum() > 1.5 * (found[None] == "rare").sum()


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"width": 6}, "width is 6; expected an odd"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"patience": 0}, "patience is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        ConvolutionHead(**setting).fit(*_neighbours(5, 1))


class TestTheBattery(HeadContract):
    """Rows without neighbours are proteins of one residue: the battery for heads of vectors holds for them."""

    @pytest.fixture
    def head(self) -> Head:
        return ConvolutionHead(max_epochs=15, patience=2)
